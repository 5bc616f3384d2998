"""Rollback: each way of taking a release back, practised while games are played, and timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from harness.documents.rows import Finding
from harness.drills.practice import Exercise
from harness.experiment import Expectation, ExpectationsFailed, Experiment
from harness.experiment.expect_ticks import TimersStand
from harness.faults import Exercised, Fault, FaultTarget, MissingPartError
from harness.faults.service import ServiceFault
from harness.history import HistoryWriter
from harness.judge import Evidence, FaultWindow, Window
from harness.judge.evidence import NS
from harness.judge.findings import compare, examples_of, seconds, unseen, within
from harness.stack import Stack, StackError, is_of_system
from harness.system import System, Ticks, levers_of
from harness.target import Action

#: How long each way lasts, at least.
_LASTS: Final = "4s"


def ways_of(
    system: type[System], previous: Sequence[str], *, games: int, players: int
) -> Mapping[str, Exercise]:
    """Return the exercises of a drill, one for each way, by their names.

    Parameters
    ----------
    previous : the command of the previous version of the service; empty: the version that runs, redeployed.
    games, players : how many are played at once, with how many players each.
    """

    def way(title: str, make: Callable[[Experiment], Fault], *expectations: Expectation) -> Exercise:
        play = partial(_roll_back, make=make, expectations=expectations, games=games, players=players)
        return Exercise(title, play)

    version = PreviousVersion(command=tuple(previous))
    found = {
        "schedule-off": way(
            "The schedule is off: no ticks.", lambda on: ScheduleOff(off=on.run.schedule_off), TimersStand()
        ),
        "previous-version": way("The previous version is started in its place.", lambda _: version),
    }
    rollbacks = levers_of(system).rollbacks
    several = Counter(fault.name for fault in rollbacks)
    for fault in rollbacks:
        name = f"{fault.name}-{fault.target}" if several[fault.name] > 1 else fault.name
        title = (type(fault).__doc__ or "").partition("\n")[0]
        found[name] = way(title, lambda _, fault=fault: fault)  # type: ignore[misc]  # mypy can't infer it
    return found


def _roll_back(
    experiment: Experiment,
    *,
    make: Callable[[Experiment], Fault],
    expectations: Sequence[Expectation],
    games: int,
    players: int,
) -> None:
    with experiment.games(games, players=players, extensions=False):
        experiment.steady()
        experiment.inject(make(experiment), _LASTS, *SHOWN, *expectations)
        experiment.recovered()


@dataclass(frozen=True)
class ScheduleOff(ServiceFault):
    """Send no more ticks: the schedule is off.

    At its end, ticks are sent again.
    """

    name = "schedule-off"
    #: While this file is there, the load's cron sends none.
    off: Path = Path()

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        if not issubclass(on.system, Ticks) or Action.TICK not in on.permission:
            raise MissingPartError(f"{self}: the schedule is not ours: no ticks of ours move its items")
        self.off.touch()
        try:
            yield lambda: None
        finally:
            self.off.unlink()


@dataclass(frozen=True)
class PreviousVersion(ServiceFault):
    """Start another version in the place of each process of the service.

    At its end, the version of before is started again.
    """

    name = "previous-version"
    #: Empty: the version that runs.
    command: tuple[str, ...] = ()

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        if not isinstance(on, Stack):
            raise MissingPartError(f"{self}: no process of the service is within reach")
        parts = {name: on.part(name) for name in on.parts if is_of_system(name)}
        before = {name: part.spec for name, part in parts.items()}
        try:
            for name, part in parts.items():
                part.spec = replace(part.spec, command=self.command or part.spec.command)
                _restart(on, name, "the previous version")
            yield lambda: None
        finally:
            for name, part in parts.items():
                part.spec = before[name]
                _restart(on, name, "the version of before")


def _restart(on: Stack, name: str, version: str) -> None:
    """Start a process again.

    Raises
    ------
    ExpectationsFailed
        It does not come up: what a drill is there to find out.
    """
    try:
        on.restart(name)
    except StackError as error:
        raise ExpectationsFailed(f"{version} does not come up: {error}", ["it is rolled back"]) from error


@dataclass(frozen=True)
class Timed:
    """From a decision until it has its effect: at most what the policy allows.

    Parameters
    ----------
    forward : the decision to take the rollback back, not the one to roll back.
    """

    forward: bool

    @property
    def name(self) -> str:
        return "rolled forward again" if self.forward else "rolled back"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        limit_s, declared = evidence.policy.recovery.rollback, _declared(evidence, fault)
        if declared is None or declared.end_ns is None:
            return unseen(self.name, limit_s, "s", "the record does not have its end")
        taken_ns = declared.end_ns - fault.end_ns if self.forward else fault.start_ns - declared.start_ns
        return compare(self.name, taken_ns / NS, limit_s, "s", "", [])


@dataclass(frozen=True)
class Noticed:
    """What players noticed: events that were never made, lost or late, and timers that were late.

    It is told, and held against nobody: what a way costs is known beforehand then. What is lost or late
    against a promise fails by other expectations.
    """

    @property
    def name(self) -> str:
        return "what players noticed"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        declared = _declared(evidence, fault)
        if declared is None or declared.end_ns is None:
            return unseen(self.name, None, "", "the record does not have its end")
        span = (declared.start_ns, declared.end_ns)
        moves = evidence.announced
        moves = moves[within(moves["moved_ns"], *span)]
        unmade = moves[(moves["event"] < 0).to_numpy()]
        pairs = evidence.pairs
        pairs = pairs[within(pairs["committed_ns"], *span)]
        lost = pairs[(pairs["received_ns"].isna() & pairs["settled"]).to_numpy(dtype=bool)]
        taken_s = seconds(pairs["received_ns"] - pairs["committed_ns"], 0)
        timers = evidence.transitions
        timers = timers[within(timers["intended_ns"] - evidence.database_clock.offset_ns, *span)]
        behind_s = seconds(timers["start_ns"] - timers["intended_ns"], 0)
        granted_s = evidence.tick_s + evidence.policy.tolerances.timer
        told = [
            f"{len(unmade)} of {len(moves)} moves made no event",
            f"{len(lost)} of {len(pairs)} deliveries lost",
            _late(taken_s, _promised_s(evidence), "deliveries"),
            _late(behind_s, granted_s, "timers"),
        ]
        examples = examples_of(evidence, pd.concat([unmade, lost]))
        return Finding(name=self.name, verdict="pass", explanation=", ".join(told), examples=examples)


def _late(taken_s: pd.Series[float], promised_s: float, what: str) -> str:
    late = taken_s[taken_s > promised_s]
    return f"{len(late)} {what} late" + (
        f" (by {late.max() - promised_s:.1f} s at most)" if len(late) else ""
    )


def _promised_s(evidence: Evidence) -> float:
    """Return how long events may take, by the strictest promise."""
    promised = [
        one.threshold for one in evidence.policy.objectives.values() if one.metric == "broadcast_latency"
    ]
    return min(promised, default=evidence.policy.tolerances.settle)


def _declared(evidence: Evidence, fault: Window) -> FaultWindow | None:
    """Return the fault as the record declares it: from the decision on, while its effect comes later."""
    found = [one for one in evidence.faults if one.name == fault.name and one.start_ns <= fault.start_ns]
    return found[-1] if found else None


#: Told of every way.
SHOWN: Final = (Timed(forward=False), Timed(forward=True), Noticed())
