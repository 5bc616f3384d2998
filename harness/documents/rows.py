"""The rows of a report, and the verdict that follows from the figures of each.

Objectives, integrity rows and faults hold no verdict: it is worked out when it is asked for. Checks and
findings hold the one that they were given, for their figures do not always settle it. A document whose
verdicts are at odds with its figures is refused.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, computed_field, model_validator

from harness.documents.base import Count, Example, Interval, Many, Model, Moment, Number
from harness.documents.shown import Timeline
from harness.documents.verdict import RowVerdict, Verdict, judge_interval, worst

Outcome = Literal["passed", "failed", "skipped", "inconclusive", "error"]


class Judged(Model, ABC):
    """Something whose verdict follows from its figures."""

    @property
    @abstractmethod
    def verdict(self) -> RowVerdict:
        """What its figures say."""

    @property
    @abstractmethod
    def called(self) -> str:
        """How it is named in an error."""

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_another_verdict(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(content, Mapping):
            return handler(content)
        row = handler({key: value for key, value in content.items() if key != "verdict"})
        stated = content.get("verdict", row.verdict)
        if stated != row.verdict:
            raise ValueError(f"{row.called} says {stated}, but its figures say {row.verdict}")
        return row


class Ceiling(Model):
    """What no sample may be over; seconds."""

    threshold: float
    #: Samples that are over it also with the harness's lag taken off.
    violations: Count
    #: The longest, as it was measured.
    measured: Number

    @property
    def exceeded(self) -> bool:
        """Whether the longest is over it, if only by what lag may have added."""
        return self.measured is not None and self.measured > self.threshold


class ObjectiveRow(Judged):
    """A promise, what was measured of it, and how sure that is. Seconds, or percent."""

    name: str
    title: str
    metric: str
    kind: Literal["quantile", "rate", "census"]
    quantile: Annotated[float, Field(gt=0, lt=1)] | None
    unit: Literal["s", "%"]
    comparison: Literal["<", ">"]
    threshold: float
    source: str
    #: None: a census, which has no sampling error.
    confidence: float | None
    #: Intra-cluster correlation that a rate is at least given; None: not a rate.
    assumed_icc: float | None = None
    measured: Number = None
    interval: Interval = (None, None)
    samples: Count = 0
    clusters: Count = 0
    #: How many independent samples these are worth.
    effective_samples: Annotated[float, Field(ge=0)] = 0.0
    design_effect: Annotated[float, Field(ge=1)] = 1.0
    #: In all, for a decision at the measured value; None: decided, or no number would.
    samples_needed: int | None = None
    #: The interval is widened by it at both ends before it is judged.
    clock_error: Annotated[float, Field(ge=0)] = 0.0
    #: What of the clocks' error is because the witness of moves looks now and then; of a rate, how far off
    #: times may be. Seconds.
    resolution: Annotated[float, Field(ge=0)] = 0.0
    #: Of a rate: samples that may as well be the other way round, by that resolution.
    undecided: Count = 0
    #: What lag of the harness may have added: the lower end is widened by it too.
    lag_error: Annotated[float, Field(ge=0)] = 0.0
    ceiling: Ceiling | None = None
    #: Why it is not judged.
    doubts: Many[str] = ()
    #: Why it is not applicable: what the run does without by choice.
    absent: str | None = None
    #: Why it is no pass.
    reason: str = ""
    #: What is measured, how, and what was left out.
    explanation: str = ""
    worst: Annotated[Many[Example], Field(max_length=10)] = ()

    @property
    def called(self) -> str:
        return f"objective {self.name!r}"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> RowVerdict:
        if self.absent and not self.samples:
            return "not applicable"
        low, high = self.interval
        if self.doubts or not self.samples:
            return "inconclusive"
        if self.ceiling and self.ceiling.violations:
            return "fail"
        if low is None or high is None:
            return "inconclusive"
        # Clocks may err either way. Lag only makes latencies longer: the truth may be lower, never higher.
        low, high = low - self.clock_error - self.lag_error, high + self.clock_error
        found = judge_interval(low, high, self.comparison, self.threshold)
        return "inconclusive" if found == "pass" and self.ceiling and self.ceiling.exceeded else found


class IntegrityRow(Judged):
    """What must never happen, and how often it did: one case fails, doubts or not."""

    name: str
    title: str
    violations: Count = 0
    looked_at: Count = 0
    explanation: str = ""
    doubts: Many[str] = ()
    #: Why it is not applicable: what the system does without.
    absent: str | None = None
    examples: Annotated[Many[Example], Field(max_length=10)] = ()

    @property
    def called(self) -> str:
        return f"integrity row {self.name!r}"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> RowVerdict:
        if self.violations:
            return "fail"
        if self.absent and not self.looked_at:
            return "not applicable"
        # Nothing was found where nothing was looked at.
        return "inconclusive" if self.doubts or not self.looked_at else "pass"


class DriftRow(Judged):
    """What must not grow while a run goes on, and by how much an hour it does.

    It counts where it fails; what a run is too short to tell does not make the run inconclusive.
    """

    name: str
    title: str
    unit: Literal["s", "MB", "files", "connections", "events"]
    #: Growth an hour that is allowed.
    limit: Annotated[float, Field(gt=0)]
    #: A run shorter than this fails only by what has grown by more than an hour's limit already.
    least_s: Annotated[float, Field(ge=0)]
    source: str
    #: Growth an hour.
    measured: Number = None
    interval: Interval = (None, None)
    #: How long the steady state was that it was seen in.
    seconds: Annotated[float, Field(ge=0)] = 0.0
    #: By so much, in all, lag of the harness may have grown instead.
    lag_error: Annotated[float, Field(ge=0)] = 0.0
    #: Whose reading it is, of several.
    actor: str = ""
    doubts: Many[str] = ()

    @property
    def called(self) -> str:
        return f"drift {self.name!r}"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> Verdict:
        low, high = self.interval
        if self.doubts or low is None or high is None:
            return "inconclusive"
        long_enough = self.seconds >= self.least_s
        hours = self.seconds / 3600
        if low * hours - self.lag_error > self.limit * (hours if long_enough else 1):
            return "fail"
        return "pass" if high <= self.limit and long_enough else "inconclusive"

    @property
    def needed_s(self) -> float | None:
        """How long a steady state would decide, if it went on like this; None: not known, or for ever."""
        low, high = self.interval
        if self.measured is None or low is None or high is None or self.measured == self.limit:
            return None
        # The interval of a slope narrows with the time to the power of 3/2.
        wide = max(high - self.measured, self.measured - low) / abs(self.limit - self.measured)
        return max(self.least_s, self.seconds * math.pow(wide, 2 / 3))


class CheckRow(Model):
    """One way in which the measurement could be wrong."""

    name: str
    title: str
    verdict: Literal["pass", "inconclusive"]
    measured: Number
    unit: str
    limit: float | None
    explanation: str
    #: Witnesses that it puts in doubt.
    witnesses: Many[str] = ()
    #: Metrics and integrity rows that rest on these; *: all.
    touches: Many[str]

    def doubts(self, name: str) -> bool:
        """Whether it puts a metric or an integrity row in doubt, where it is no pass."""
        return bool({"*", name} & set(self.touches))


class Finding(Model):
    """What came of something expected of a fault."""

    name: str
    verdict: Verdict
    #: None: never, or nothing was there to measure.
    measured: float | None = None
    threshold: float | None = None
    unit: str = ""
    explanation: str = ""
    examples: Many[Example] = ()
    #: It counts what must never happen: one case fails the run.
    integrity: bool = False

    def derived(self, *, of_load: bool) -> Verdict:
        """Return what its figures say; its own verdict where they say nothing.

        An expectation of a fault of the load is a time that must be under its threshold.
        """
        if not of_load:
            return "fail" if self.integrity and self.measured else self.verdict
        if self.measured is None or self.threshold is None:
            # Never, or nobody can tell: no figure says which.
            return "fail" if self.verdict == "fail" else "inconclusive"
        return "pass" if self.measured < self.threshold else "fail"


class Injected(Model):
    """A fault, as its scenario tells of it."""

    name: str
    place: str = ""
    started_at: Moment | None = None
    ended_at: Moment | None = None
    expectations: Many[Finding] = ()
    detected_after_s: float | None = None
    recovered_after_s: float | None = None
    error: str | None = None

    @property
    def of_load(self) -> bool:
        """Whether it was on during the load itself, and no scenario's outcome speaks for it."""
        return False

    @property
    def unmet(self) -> list[Finding]:
        """The expectations that are no pass."""
        return [row for row in self.expectations if row.verdict != "pass"]

    @model_validator(mode="after")
    def _refuse_another_verdict(self) -> Self:
        for row in self.expectations:
            if (derived := row.derived(of_load=self.of_load)) != row.verdict:
                called = f"fault {self.name!r}, {row.name!r},"
                raise ValueError(f"{called} says {row.verdict}, but its figures say {derived}")
        return self


class Fault(Injected):
    """A fault, of the load itself or of a scenario."""

    #: Id of the scenario that caused it; None: it was on during the load.
    scenario: str | None = None

    @property
    def of_load(self) -> bool:
        return self.scenario is None

    @property
    def decisive(self) -> list[Finding]:
        """The expectations that make the run no pass: of a scenario's, only broken integrity does."""
        if self.of_load:
            return self.unmet
        return [row for row in self.unmet if row.integrity and row.verdict == "fail"]

    @property
    def verdict(self) -> Verdict:
        """What it means for the run. A scenario's counts through its scenario, of which some may fail."""
        return worst(row.verdict for row in self.decisive)


class ScenarioRow(Model):
    """What came of a failure scenario."""

    id: str
    outcome: Outcome
    #: None: it did not finish.
    seconds: float | None = None
    message: str | None = None
    #: The command to reproduce it.
    command: str | None = None
    timeline: Timeline | None = None
