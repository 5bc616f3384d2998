"""One failure experiment: steady state before, a fault while games are played, recovery after.

The chaos-engineering order of things: an experiment on a system that was already ill proves nothing,
so the steady state is judged first, and what follows is inconclusive without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import pytest

from harness.checks import INTEGRITY, Evidence, Window, evidence_of
from harness.experiment.child import ChildError
from harness.experiment.expectations import (
    NS,
    BacklogDrained,
    Expectation,
    Finding,
    HealthNames,
    HealthyAgain,
    HealthyThroughout,
    Intact,
    MonitorP95,
    NobodyFails,
    QuickAnswers,
    ServesAgain,
    TimersOnTime,
    judge_all,
)
from harness.experiment.load import LoadProcess
from harness.faults import Fault, FaultError, MissingPartError
from harness.history import HistoryWriter, RunFolder, create_run, now_ns, read_history
from harness.history.run import utc_now, write_atomically
from harness.sla.policy import Policy, load_policy
from harness.sla.units import parse_duration
from harness.stack import Stack, StackError, StackOptions, start_stack

Outcome = Literal["passed", "failed", "skipped", "error", "inconclusive"]

#: Between two looks at the record while something is waited for.
_LOOK_S: Final = 0.5
#: How long the games may take to be under way, and how much longer than promised recovery is watched.
_WARM_UP_LIMIT_S: Final = 60.0
_DRAIN_LIMIT_S: Final = 40.0
_OVERTIME_S: Final = 2.0


class Inconclusive(Exception):
    """The experiment says nothing about the service: it was ill before, or the harness itself failed."""


class ExpectationsFailed(AssertionError):
    """Some expectations did not hold; the message names them, and the games, events and times."""


@dataclass
class Injection:
    """A fault that was injected, when, what was expected of it and what came of that."""

    fault: Fault
    expectations: list[Expectation]
    #: When it began to be applied, was in effect, began to be undone, and was undone. Unix ns.
    begun_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0
    undone_ns: int = 0
    findings: dict[Expectation, Finding] = field(default_factory=dict)

    @property
    def effect(self) -> Window:
        """When the fault was in effect: what is expected while it lasts is judged by this."""
        return Window(str(self.fault), self.start_ns, self.end_ns)

    @property
    def span(self) -> Window:
        """From its very begin to its end: what it may have held up, and recovery counts from its end."""
        return Window(str(self.fault), self.begun_ns, self.undone_ns)

    def document(self) -> dict[str, Any]:
        """Return the fault as it stands in ``report.json``."""
        place, _, _ = str(self.fault).partition(":")
        return {
            "name": str(self.fault),
            "place": place,
            "started_at": _rfc3339(self.begun_ns),
            "ended_at": _rfc3339(self.undone_ns),
            "expectations": [asdict(finding) for finding in self.findings.values()],
            "detected_after_s": self._measured(HealthNames),
            "recovered_after_s": self._measured(ServesAgain, HealthyAgain, BacklogDrained),
        }

    def _measured(self, *kinds: type) -> float | None:
        """Return the longest time that expectations of ``kinds`` measured; None unless all did."""
        found = [finding.measured for key, finding in self.findings.items() if isinstance(key, kinds)]
        times = [measured for measured in found if measured is not None]
        return max(times) if times and len(times) == len(found) else None


class Experiment:
    """An experiment, as the `experiment` fixture hands it to a scenario.

    Nothing is judged on the way but the steady state: when the ``with`` of :meth:`games` ends, the load
    has drained and every expectation is judged from the finished record.

    Parameters
    ----------
    session : the run folder of the whole session; this experiment's own is ``scenarios/<id>`` in it.
    id : name of the scenario in reports.
    title : one line on what it shows.
    command : how to run it alone.

    Examples
    --------
    ::

        def test_refused(experiment: Experiment) -> None:
            with experiment.games(count=12, players=2):
                experiment.steady("4s")
                experiment.inject(Down("service-pubnub"), "8s", Silence(), MonitorP95())
                experiment.recovered(within="15s")
    """

    def __init__(self, *, session: Path, id: str, title: str, command: str) -> None:
        self.id = id
        self.title = title
        self.command = command
        self.stack: Stack
        self.run: RunFolder
        self._session = session
        self._policy: Policy = load_policy()
        self._injections: list[Injection] = []
        self._recovery: list[Expectation] = []
        self._load: LoadProcess
        self._history: HistoryWriter

    def __enter__(self) -> Self:
        self.run = create_run(self._session / "scenarios", "failure", run_id=self.id, title=self.title)
        self._write("error", "it did not finish", None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.update(finished_at=utc_now())

    @contextmanager
    def games(
        self,
        count: int = 12,
        *,
        players: int = 2,
        briefing: str = "1s",
        drawing: str = "2s",
        voting: str = "1s",
        tick: str = "500ms",
        replicas: int = 1,
        service: Mapping[str, str] | None = None,
        seed: int = 1,
    ) -> Iterator[Stack]:
        """Play ``count`` games at once, again and again, on a stack of their own, while the block runs.

        Parameters
        ----------
        count : games at a time.
        players : players a game.
        briefing, drawing, voting, tick : lengths of the phases, and between ticks of cron.
        replicas : processes of the service.
        service : further environment of the service (``{"ENABLE_GRACE_PERIOD": "false"}``).
        seed : of the players' behaviour.

        Raises
        ------
        ExpectationsFailed
            At the end, with all that did not hold.
        Inconclusive
            There was no steady state, or a part of the harness failed.
        """
        options = StackOptions(replicas=replicas, service_env=dict(service or {}), log_folder=self.run.logs)
        arguments = {
            "games": count,
            "players": players,
            "briefing": briefing,
            "drawing": drawing,
            "voting": voting,
            "tick": tick,
            "seed": seed,
            "duration": "10min",
        }
        flat = [f"--{name}={value}" for name, value in arguments.items()]
        with ExitStack() as cleanup:
            self.stack = cleanup.enter_context(start_stack(options))
            self._history = cleanup.enter_context(HistoryWriter(self.run.history, "faults", self.run.id))
            self._load = LoadProcess(self.run, self.stack.target.environment(), flat)
            cleanup.enter_context(self._load)
            self._load.wait_for("steady", _WARM_UP_LIMIT_S)
            yield self.stack
            self._load.stop(_DRAIN_LIMIT_S)
            self._history.flush()
            self._judge()

    def steady(self, duration: str) -> None:
        """Watch for ``duration``, then check that all is well: the state that a fault is tested against.

        Raises
        ------
        Inconclusive
            It is not: what a fault would show then, nobody could tell.
        """
        begin_ns = now_ns()
        self._watch(parse_duration(duration))
        evidence = self._evidence()
        lateness_s = evidence.tick_s + self._policy.tolerances.timer
        hypothesis: list[Expectation] = [
            MonitorP95(),
            TimersOnTime(lateness_s),
            NobodyFails(),
            HealthyThroughout(),
        ]
        window = Window("steady state", begin_ns - int(lateness_s * NS), now_ns())
        wrong = [f for f in judge_all(evidence, window, hypothesis) if f.verdict != "pass"]
        if wrong:
            raise Inconclusive(f"no steady state before the fault\n{_describe(wrong)}")

    def inject(self, fault: Fault, duration: str, *expectations: Expectation) -> None:
        """Apply ``fault`` for ``duration``, and expect ``expectations`` of that time.

        That requests are answered quickly, that all recovers and that nothing is lost, early, double,
        illegal or out of order is expected of every fault, unasked. A target that lacks what is to be
        broken (a real deployment has no process to kill) skips the scenario, with that reason.

        Raises
        ------
        FaultError
            It could not be applied or undone.
        NotExercisedError
            Nothing came across it.
        """
        injection = Injection(fault, [QuickAnswers(), *expectations])
        self._injections.append(injection)
        injection.begun_ns = now_ns()
        try:
            with fault.inject(self.stack, self._history):
                injection.start_ns = now_ns()
                self._watch(parse_duration(duration))
                injection.end_ns = now_ns()
        except MissingPartError as error:
            pytest.skip(str(error))
        finally:
            injection.undone_ns = now_ns()

    def recovered(self, *, within: str) -> None:
        """Wait until all is as before, at most a little longer than ``within``; judged at the end."""
        limit_s = parse_duration(within)
        self._recovery = [ServesAgain(limit_s), HealthyAgain(limit_s), BacklogDrained(limit_s)]
        deadline = time.monotonic() + limit_s + _OVERTIME_S
        while time.monotonic() < deadline:
            self._watch(_LOOK_S)
            findings = judge_all(self._evidence(), self._injections[-1].span, self._recovery)
            if all(finding.verdict == "pass" for finding in findings):
                return

    def conclude(self, outcome: str, error: BaseException | None, seconds: float) -> None:
        """Write what came of it into ``scenario.json``.

        Parameters
        ----------
        outcome : pytest's word: passed, failed or skipped.
        error : what ended it, if anything did.
        seconds : how long it took.
        """
        if isinstance(error, (Inconclusive, StackError, ChildError, FaultError)):
            outcome = "inconclusive"
        elif outcome == "failed" and not isinstance(error, AssertionError):
            outcome = "error"
        self._write(outcome, "" if error is None else str(error) or type(error).__name__, seconds)

    def _watch(self, seconds: float) -> None:
        """Let the load play, and notice if it stops playing."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._load.ended is not None:
                raise Inconclusive(f"the load ended by itself with {self._load.ended}: {self._load.tail()}")
            time.sleep(min(left, _LOOK_S))

    def _evidence(self) -> Evidence:
        self._history.flush()
        return evidence_of(read_history(self.run.history), self.run.read(), self._policy)

    def _judge(self) -> None:
        evidence = self._evidence()
        always = [*self._recovery, *(Intact(check) for check in INTEGRITY)]
        broken: list[Finding] = []
        for injection in self._injections:
            during = judge_all(evidence, injection.effect, injection.expectations)
            after = judge_all(evidence, injection.span, always)
            injection.findings = dict(zip([*injection.expectations, *always], during + after, strict=True))
            broken += [finding for finding in during + after if finding.verdict != "pass"]
        if any(finding.verdict == "fail" for finding in broken):
            raise ExpectationsFailed(f"{_describe(broken)}\nrecord: {self.run.path}\nagain: {self.command}")
        if broken:
            raise Inconclusive(_describe(broken))

    def _write(self, outcome: str, message: str, seconds: float | None) -> None:
        document = {
            "id": self.id,
            "title": self.title,
            "outcome": outcome,
            "seconds": seconds,
            "message": message,
            "command": self.command,
            "faults": [injection.document() for injection in self._injections],
        }
        write_atomically(self.run.path / "scenario.json", json.dumps(document, indent=2) + "\n")


def _rfc3339(unix_ns: int) -> str | None:
    """Return a time as RFC 3339; None for a fault that never got so far."""
    if not unix_ns:
        return None
    return datetime.fromtimestamp(unix_ns / NS, UTC).isoformat(timespec="milliseconds")


def _describe(findings: list[Finding]) -> str:
    """Return the findings, a line each, and the rows that broke them."""
    lines = []
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g} {finding.unit}".strip()
        lines.append(f"{finding.verdict}: {finding.name}: measured {measured} ({finding.explanation})")
        for row in finding.examples:
            lines.append("    " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return "\n".join(lines)
