"""Carries out a rollout: step by step forward, or back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Literal

from harness.documents.rollout import (
    Checkpoint,
    Hook,
    Outcome,
    Rollback,
    RolloutDocument,
    StepRow,
)
from harness.documents.rows import Finding
from harness.experiment.results import Inconclusive
from harness.experiment.setup import Setup
from harness.experiment.watch import Watch
from harness.files import DocumentError
from harness.history import HistoryError, RunFolder, now_ns
from harness.history.run import moment, utc_now
from harness.judge.evidence import NS
from harness.judge.judgement import Judgement
from harness.process import ProcessError
from harness.rollout.decision import Decision, decide
from harness.rollout.hooks import run_hook, uninterrupted
from harness.rollout.version import Place, Version
from harness.sla.policy import Policy
from harness.sla.promises import Step

#: Between two looks, and between two lines that tell what is not known yet.
_LOOK_S: Final = 1.5
_LINE_S: Final = 15.0
#: How often it is looked whether all is well again, each time for as long as it must be.
_PROOFS: Final = 3
#: The old version's record is judged at each so many-th look: it costs CPU that the load needs.
_OLD_EVERY: Final = 4
#: How long a first wave and its first items may take beyond what they should.
_WARM_UP_S: Final = 60.0
#: How often an item may take its length once it is to come to its end, and what is granted besides.
_LENGTHS: Final = 3
_GRACE_S: Final = 15.0
#: Who has players asks for more often than this, and it is on disk by then.
_QUIET_S: Final = 4.0
#: Why a look failed for now; the next one may not.
_UNSEEN: Final = (HistoryError, DocumentError, OSError)

METHOD: Final = (
    "Each checkpoint is a share that may be bad. A fail is a bet against its limit, tick by tick or second "
    "by second (a test supermartingale, Ville's inequality), a pass a mixture of likelihood ratios over all "
    "shares below it: both hold however often they are looked at, and evidence is carried over the steps."
)


class _HookFailed(Exception):
    """The traffic could not be split as it was to be."""

    def __init__(self, hook: Hook) -> None:
        super().__init__(f"{hook.command}: {hook.error}")
        self.hook = hook


class Rollout:
    """A rollout.

    Parameters
    ----------
    run : its folder, in which each version has a run folder of its own.
    policy : its steps and checkpoints, and what they promise.
    old, new : the versions.
    setup : the load of all of the traffic.
    say : told what goes on, a line at a time.
    hooks : whether the team's commands run; they may act on what is in production.
    """

    def __init__(
        self,
        run: RunFolder,
        policy: Policy,
        old: Place,
        new: Place,
        setup: Setup,
        say: Callable[[str], None] = lambda _: None,
        *,
        hooks: bool,
    ) -> None:
        self._run, self._policy, self._setup, self._say = run, policy, setup, say
        self._places = {"old": old, "new": new}
        self._steps: list[StepRow] = []
        self._rollback: Rollback | None = None
        rollout = policy.rollout
        self._split, self._back = (rollout.split, rollout.rollback) if hooks else ("", [])
        if not hooks and (rollout.split or rollout.rollback):
            self._say(
                "the policy's commands (split, rollback) are left out: --hooks runs them on local stacks"
            )
        self._hooks = 0
        #: What the old version's record amounted to when it was judged last.
        self._beside: Judgement | None = None
        self._share = 0.0
        self._started_at = utc_now()

    def carry_out(self) -> RolloutDocument:
        """Take every step, or roll back; return what came of it.

        Raises
        ------
        ProcessError
            A version does not come up; nothing was shifted.
        """
        with ExitStack() as uncut, ExitStack() as closing:
            self._say("starting the old version")
            self._old = self._start("old", self._setup.count, closing)
            self._say("starting the new version beside it")
            self._new = self._start("new", 0, closing)
            self._old.testbed.load.wait_for("steady", 2 * self._old.testbed.game_s + _WARM_UP_S)
            self._old.since_ns = now_ns()
            interrupted = False
            try:
                outcome, why = self._take_steps()
            except KeyboardInterrupt:
                why, interrupted = "it was interrupted", True
                outcome = self._roll_back(Decision("roll back", why))
            except Exception as error:
                # Whatever it is: nobody looks after the new version's players any more.
                self._roll_back(Decision("roll back", f"{type(error).__name__}: {error}"))
                raise
            self._finish()
            uncut.enter_context(uninterrupted())  # until all is closed
            violations = self._violations()
        return RolloutDocument(
            schema="stormwatch.rollout/1",
            run=self._run.id,
            started_at=self._started_at,
            finished_at=utc_now(),
            old=self._places["old"].called,
            new=self._places["new"].called,
            outcome=outcome,
            why=why,
            method=METHOD,
            false_alarms=self._policy.rollout.false_alarms,
            old_violations=violations,
            interrupted=interrupted,
            steps=tuple(self._steps),
            rollback=self._rollback,
        )

    @property
    def folder(self) -> Path:
        """Where its record and its logs are."""
        return self._run.path

    @property
    def runs(self) -> list[RunFolder]:
        """The run folders of the versions that came up."""
        return [version.run for version in (self._old, self._new)]

    def _start(self, name: str, items: int, closing: ExitStack) -> Version:
        place = self._places[name]
        try:
            version = Version(name, place, self._setup, items, self._run.path, self._policy)
        except ProcessError as error:
            raise ProcessError(f"the {name} version ({place.called}) does not come up: {error}") from error
        closing.callback(version.testbed.close)
        return version

    # --- forward -------------------------------------------------------------------------------

    def _take_steps(self) -> tuple[Outcome, str]:
        for step in self._policy.rollout.steps:
            try:
                self._give(step.share)
            except _HookFailed as failed:
                why = f"the traffic could not be split: {failed}"
                return self._roll_back(Decision("roll back", why), failed.hook), why
            try:
                decision = self._stay(step)
            except Inconclusive as error:
                decision = Decision("hold", str(error))
                self._note(decision)
            if decision.what == "roll back":
                return self._roll_back(decision), decision.why
            if decision.what == "hold":
                return "held", f"held at {step.share * 100:g} %: {decision.why}"
        return "completed", "every checkpoint was kept at every step"

    def _give(self, share: float) -> None:
        """Have the new version get this share of the items from now on."""
        self._say(f"{share * 100:g} % of new items go to the new version")
        if self._split:
            hook = self._hook(self._split, share)
            if hook.error:
                raise _HookFailed(hook)
        self._share = share
        items = _items(self._setup.count, share)
        self._old.allow(self._setup.count - items)
        self._new.allow(items)
        self._steps.append(StepRow(share=share, started_at=utc_now()))

    def _stay(self, step: Step) -> Decision:
        """Look again and again until it is known what follows from this step."""
        begun, line, looks = time.monotonic(), time.monotonic() + _LINE_S, 0
        new: Sequence[Checkpoint] = ()
        old: Sequence[Checkpoint] = ()
        while True:
            for version in (self._old, self._new):
                Watch(version.testbed).wait(_LOOK_S / 2)
            with suppress(*_UNSEEN):
                new, old = self._look(fresh=looks % _OLD_EVERY == 0 or not step.share)
            looks += 1
            elapsed_s = time.monotonic() - begun
            decision = decide(step, elapsed_s, self._policy.rollout.most, new, old)
            if (step.share and not new) or not old:  # nothing was seen yet
                late = elapsed_s >= self._policy.rollout.most
                decision = Decision("hold" if late else "wait", "nothing was seen yet")
            self._note(decision, new, old)
            if decision.what != "wait":
                self._say(f"{decision.what}: {decision.why}")
                return decision
            if time.monotonic() >= line:
                line = time.monotonic() + _LINE_S
                self._say(f"  {elapsed_s:.0f} s: {decision.why}")

    def _look(self, *, fresh: bool) -> tuple[list[Checkpoint], list[Checkpoint]]:
        """Return what is known of the new version and of the old one, judged anew only where it matters."""
        mine = self._new.judge()
        self._beside = self._old.judge() if fresh else self._beside
        new = self._new.checkpoints(mine, self._beside)
        if not fresh and any(point.verdict == "fail" or point.shared for point in new):
            return self._look(fresh=True)
        return new, self._old.checkpoints(self._beside)

    def _note(
        self, decision: Decision, new: Sequence[Checkpoint] = (), old: Sequence[Checkpoint] = ()
    ) -> None:
        last = self._steps[-1]
        what = "interrupted" if decision.what == "wait" else decision.what
        self._steps[-1] = last.model_copy(
            update={
                "ended_at": utc_now(),
                "looks": last.looks + 1,
                "decision": what,
                "why": decision.why,
                "new": tuple(new) or last.new,
                "old": tuple(old) or last.old,
            }
        )

    # --- back ----------------------------------------------------------------------------------

    def _roll_back(self, decision: Decision, *failed: Hook) -> Literal["rolled back", "rollback failed"]:
        """Give all traffic to the old version, run the team's hooks, and see that all is well again."""
        decided_ns = now_ns()
        since = [point.bad_since for point in decision.blamed if point.bad_since]
        rollout, hooks = self._policy.rollout, list(failed)
        with uninterrupted():
            self._say("back to the old version")
            self._old.allow(self._setup.count)
            self._new.allow(0)
            switched_ns = now_ns()
            if self._split:
                hooks.append(self._hook(self._split, 0.0))
            split_failed = bool(self._split) and bool(hooks[-1].error)
            hooks += [self._hook(command, 0.0) for command in self._back]
        cut_off, last_ns, proof = self._seen_back()
        bad_since = min(since, default=moment(decided_ns))
        self._rollback = Rollback(
            why=decision.why,
            bad_since=bad_since,
            decided_at=moment(decided_ns),
            switched_at=moment(switched_ns),
            last_served_at=None if last_ns is None else moment(last_ns),
            limit_s=rollout.back_within,
            cut_off=cut_off,
            hooks=tuple(hooks),
            proof=tuple(proof),
            proved=not proof,
            traffic=self._traffic(failed=split_failed),
            from_bad_s=_seconds(bad_since, last_ns),
            from_decision_s=_seconds(moment(decided_ns), last_ns),
        )
        # A split that failed on the way up, and worked on the way back, is what it was rolled back for.
        good = not self._rollback.model_copy(update={"hooks": tuple(hooks[len(failed) :])}).failed
        return "rolled back" if good else "rollback failed"

    def _traffic(self, *, failed: bool) -> str:
        if failed:
            return (
                "not known: the command that splits it failed; it may still be at "
                f"{self._share * 100:g} % for the new version (this load's items all go to the old one)"
            )
        return "all new items go to the old version"

    def _seen_back(self) -> tuple[int, int | None, list[Finding]]:
        """Wait until the new version is empty, and the old one well; return what :meth:`_emptied` does, and
        what is not well.
        """
        cut_off, last_ns = 0, None
        try:
            cut_off, last_ns = self._emptied()
            return cut_off, last_ns, self._proof()
        except KeyboardInterrupt:
            why = "the rollback was interrupted before it was seen"
            return cut_off, last_ns, [Finding(name="all is well", verdict="inconclusive", explanation=why)]

    def _emptied(self) -> tuple[int, int | None]:
        """Wait until no item of the new version is under way; return how many are, and its last answer."""
        patience_s = min(self._policy.rollout.back_within, _LENGTHS * self._new.testbed.game_s + _GRACE_S)
        deadline = time.monotonic() + patience_s
        under_way, last_ns, quiet = 1, None, False
        while (under_way or not quiet) and time.monotonic() < deadline:
            time.sleep(_LOOK_S / 2)
            with suppress(*_UNSEEN):
                under_way, last_ns = self._new.served()
                # An item that never got to its first move is known by its players' calls alone.
                quiet = last_ns is None or now_ns() - last_ns > _QUIET_S * NS
        if under_way:
            self._say(f"{under_way} items of the new version do not come to their end: players are taken off")
            self._new.testbed.load.kill()
            last_ns = now_ns()
        return under_way, last_ns

    def _proof(self) -> list[Finding]:
        """Return what is not well with the old version from now on, or why that can't be told."""
        self._say("seeing that all is well again")
        found: list[Finding] = []
        for _ in range(_PROOFS):
            try:
                found = Watch(self._old.testbed).unsteady(now_ns(), self._policy.rollout.proof, 1)
            except Inconclusive as error:
                found = [Finding(name="all is well", verdict="inconclusive", explanation=str(error))]
            if not found:
                break
            self._say(f"  not yet: {'; '.join(f'{one.name}: {one.explanation}' for one in found)}")
        return found

    def _hook(self, command: str, share: float) -> Hook:
        self._hooks += 1
        self._say(f"running {command}")
        hook = run_hook(
            command,
            {
                "STORMWATCH_SHARE": f"{share * 100:g}",
                "STORMWATCH_OLD_URL": self._old.url,
                "STORMWATCH_NEW_URL": self._new.url,
            },
            self._run.logs / f"hook-{self._hooks}.log",
            self._policy.rollout.hook,
        )
        if hook.error:
            self._say(f"  {hook.error}")
        return hook

    # --- end -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Let the items of both versions come to their end; Ctrl-C ends that alone: the outcome stands."""
        self._say("letting the last items end")
        for version in (self._new, self._old):
            with suppress(ProcessError, KeyboardInterrupt):
                version.testbed.finish()
                version.run.update(interrupted=False)  # it was ended on purpose

    def _violations(self) -> int:
        """Return what the old version broke, over all."""
        with suppress(*_UNSEEN):
            points = self._old.checkpoints(self._old.judge())
            return sum(point.bad for point in points if point.name == "integrity")
        return 0


def _items(count: int, share: float) -> int:
    """How many of the items are the new version's: either has one at least, if it is to have any."""
    return min(max(round(count * share), int(share > 0)), count - int(share < 1))


def _seconds(since: str, to_ns: int | None) -> float | None:
    from datetime import datetime

    if to_ns is None:
        return None
    return round(max(to_ns / NS - datetime.fromisoformat(since).timestamp(), 0.0), 1)
