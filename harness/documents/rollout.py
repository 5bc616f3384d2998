"""rollout.json: the steps of a rollout, what was known of each checkpoint, and the way back if it took it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, computed_field

from harness.documents.base import Count, Document, Many, Model, Moment, Number
from harness.documents.rows import Finding, Judged
from harness.documents.verdict import RowVerdict

NAME: Final = "rollout.json"
SCHEMA: Final = "stormwatch.rollout/1"

Outcome = Literal["completed", "rolled back", "held", "rollback failed"]


class Checkpoint(Judged):
    """What is known of a checkpoint of a version; inconclusive: not yet."""

    name: str
    title: str
    #: A share that is limited; what must never happen; what must not grow, and holds nothing up.
    kind: Literal["share", "never", "growth"]
    #: Of the samples that may be bad: beyond a threshold, failed, late, lost.
    limit: Annotated[float, Field(ge=0, le=1)] = 0.0
    samples: Count = 0
    bad: Count = 0
    #: How many independent samples these are worth.
    effective: Annotated[float, Field(ge=0)] = 0.0
    #: The largest share that is not ruled out; valid however often it is looked at.
    upper: Number = None
    #: Evidence that the limit is broken, and that it is kept; 1 where nothing is known. Seconds in which the
    #: version beside it broke the limit too are left out.
    against: Number = 1.0
    in_favour: Number = 1.0
    #: Evidence that it is broken by more than by the version beside it, over all.
    worse: Number = 1.0
    #: How much of it is enough for a fail, and for a pass.
    fails_at: Annotated[float, Field(gt=1)] = 20.0
    passes_at: Annotated[float, Field(gt=1)] = 20.0
    #: How many samples would be enough, if the rest is like these; None: not known.
    needed: Count | None = None
    #: Since when it has been bad, if it is.
    bad_since: Moment | None = None
    doubts: Many[str] = ()
    absent: str | None = None
    explanation: str = ""

    @property
    def called(self) -> str:
        return f"checkpoint {self.name!r}"

    @property
    def shared(self) -> bool:
        """Whether the limit is broken, and the version beside it is no better."""
        return self.verdict != "fail" and not self.doubts and (self.against or 0) >= self.fails_at

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> RowVerdict:
        if self.kind != "share" and self.bad:
            return "fail"
        if self.absent and not self.samples:
            return "not applicable"
        if self.kind == "growth":
            return "pass"
        if self.doubts or not self.samples:
            return "inconclusive"
        return "pass" if self.kind == "never" else self._tested

    @property
    def _tested(self) -> RowVerdict:
        if min(self.against or 0, self.worse or 0) >= self.fails_at:
            return "fail"
        return "pass" if (self.in_favour or 0) >= self.passes_at else "inconclusive"


class StepRow(Model):
    """A step: how much of the traffic was new, and what was known at its end."""

    share: Annotated[float, Field(ge=0, le=1)]
    started_at: Moment
    ended_at: Moment | None = None
    looks: Count = 0
    decision: Literal["go on", "roll back", "hold", "interrupted"] = "hold"
    why: str = ""
    new: Many[Checkpoint] = ()
    old: Many[Checkpoint] = ()


class Hook(Model):
    """A command of the team's."""

    command: str
    seconds: Annotated[float, Field(ge=0)]
    #: Why it failed; empty: it did not.
    error: str = ""


class Rollback(Model):
    """The way back to the old version."""

    why: str
    #: The first event of what broke the checkpoint, as far as it can be told.
    bad_since: Moment
    decided_at: Moment
    #: When the first new item went to the old version again.
    switched_at: Moment
    #: When the last player of an item of the new version was served by it.
    last_served_at: Moment | None
    limit_s: float
    #: Items of the new version that did not come to their end in time: their players were taken off.
    cut_off: Count = 0
    hooks: Many[Hook] = ()
    #: What is not well afterwards; nothing: it is proved that all is.
    proof: Many[Finding] = ()
    proved: bool
    #: Where the traffic is now.
    traffic: str
    #: From the bad event, and from the decision, to the last player.
    from_bad_s: Number = None
    from_decision_s: Number = None

    @property
    def failed(self) -> list[str]:
        """Why it is no good rollback; nothing: it is one."""
        told = [f"{hook.command}: {hook.error}" for hook in self.hooks if hook.error]
        told += [f"{one.name}: {one.explanation}" for one in self.proof]
        if not self.proved and not told:
            told.append("nobody could tell whether all is well again")
        if self.from_bad_s is not None and self.from_bad_s > self.limit_s:
            told.append(f"it took {self.from_bad_s:.0f} s, the limit is {self.limit_s:g} s")
        return told


class RolloutDocument(Document):
    """A rollout, from its first step to its outcome."""

    schema_id: Literal["stormwatch.rollout/1"] = Field(SCHEMA, alias="schema")
    run: str
    started_at: Moment
    finished_at: Moment
    old: str
    new: str
    outcome: Outcome
    why: str
    method: str
    false_alarms: float
    #: Integrity violations of the old version's items over the whole rollout.
    old_violations: Count
    interrupted: bool = False
    steps: Many[StepRow]
    rollback: Rollback | None = None
