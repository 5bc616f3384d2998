"""One failure experiment: steady state before, a fault while games are played, recovery after.

The chaos-engineering order of things: an experiment on a system that was already ill proves nothing,
so the steady state is judged first, and what follows is inconclusive without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
import pytest

from harness.documents.shown import Timeline
from harness.experiment.expect_unauthorised import NoSecretTold
from harness.experiment.expectations import (
    EveryoneHears,
    FailsClearly,
    HealthyThroughout,
    Intact,
    MonitorP95,
    NobodyFails,
    QuickAnswers,
    TimersOnTime,
)
from harness.experiment.leaks import back_to_level
from harness.experiment.secret_scan import record_secrets
from harness.experiment.suite import finished, write_result
from harness.experiment.testbed import Setup, Testbed, Testbeds, impossible
from harness.faults import Fault, FaultError, MissingPartError, System
from harness.faults.parameters import LONGEST_S
from harness.faults.schedule import Schedule, check
from harness.history import HistoryWriter, RunFolder, now_ns
from harness.judge import INTEGRITY, Evidence, FaultWindow, Window
from harness.judge.evidence import NS
from harness.judge.findings import Expectation, Finding, judge_all
from harness.judge.recovery import BacklogDrained, HealthyAgain, ServesAgain, detected_after_s, recovery
from harness.judge.timeline import timeline
from harness.process import ProcessError
from harness.sla.policy import Policy
from harness.sla.units import parse_duration
from harness.stack.proxies import LOAD_SERVICE, Proxies, ToxiproxyError

#: Between two looks at the record while something is waited for.
_LOOK_S: Final = 0.5
#: A fault begins when a game is to fall due so many seconds later, and how often that is looked for.
_DUE_S: Final = (0.6, 2.0)
_DUE_LOOK_S: Final = 0.1
#: How much longer than promised recovery is watched.
_OVERTIME_S: Final = 2.0
#: How much longer the steady state is watched where nothing has fallen due yet.
_UNSEEN_S: Final = 6.0
#: Parts of a stack that are the harness's own: the service is not to blame for their end.
_OURS: Final = ("toxiproxy", "pubnub")


class Inconclusive(Exception):
    """The experiment says nothing about the service: it was ill before, or the harness itself failed."""


class ExpectationsFailed(AssertionError):
    """Some expectations did not hold; the message names them, and the games, events and times."""


@dataclass
class Injection:
    """A fault that was injected, when, what was expected of it and what came of that."""

    name: str
    place: str
    expectations: list[Expectation]
    #: As the policy names them: its limit for them is what recovery is judged by.
    faults: list[str]
    #: When it began to be applied, was in effect, began to be undone, and was undone. Unix ns.
    begun_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0
    undone_ns: int = 0
    findings: dict[Expectation, Finding] = field(default_factory=dict)
    detected_after_s: float | None = None
    #: Of a schedule: each of its faults, as the record has it.
    parts: list[FaultWindow] = field(default_factory=list)

    @property
    def effect(self) -> Window:
        """When the fault was in effect: what is expected while it lasts is judged by this."""
        return Window(self.name, self.start_ns, self.end_ns)

    @property
    def span(self) -> Window:
        """From its very begin to its end: what it may have held up, and recovery counts from its end."""
        return Window(self.name, self.begun_ns, self.undone_ns)

    def documents(self) -> list[dict[str, Any]]:
        """Return the fault as it stands in ``report.json``; behind a schedule, each fault of it."""
        whole = {
            "name": self.name,
            "place": self.place,
            "started_at": _rfc3339(self.begun_ns),
            "ended_at": _rfc3339(self.undone_ns),
            "expectations": [asdict(finding) for finding in self.findings.values()],
            "detected_after_s": self.detected_after_s,
            "recovered_after_s": self._measured(ServesAgain, HealthyAgain, BacklogDrained),
        }
        parts = [
            {
                "name": part.name,
                "place": part.fault.place,
                "started_at": _rfc3339(part.start_ns),
                "ended_at": _rfc3339(part.end_ns or 0),
                "error": part.error,
            }
            for part in self.parts
        ]
        return [whole, *parts]

    def _measured(self, *kinds: type) -> float | None:
        """Return the longest time that expectations of ``kinds`` measured; None unless all did."""
        found = [finding.measured for key, finding in self.findings.items() if isinstance(key, kinds)]
        times = [measured for measured in found if measured is not None]
        return max(times) if times and len(times) == len(found) else None


class Settled:
    """Whether all is as before, and the record tells so: looked at again and again until it does.

    Parameters
    ----------
    testbed : whose record.
    span : the fault's, None if there was none.
    recovery : what must hold after it.

    Attributes
    ----------
    since_ns : since when, Unix ns; None while it is not settled, or the record does not tell yet.
    evidence : the record of the latest look.
    """

    def __init__(self, testbed: Testbed, span: Window | None, recovery: Sequence[Expectation]) -> None:
        self.since_ns: int | None = None
        self.evidence: Evidence
        self._testbed = testbed
        self._span = span or Window("", 0, 0)
        self._recovery = recovery
        self._well_ns: int | None = None

    def look(self) -> bool:
        """Look again; return whether it is settled.

        That is so once nothing that fell due meanwhile waits to be moved, every recovery is made, the
        record has all transitions up to then, and every player has heard of them.
        """
        self.since_ns = None
        try:
            asked_ns = self._testbed.look_for_overdue()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            asked_ns = None  # as little as the observer, we can't tell
        self.evidence = evidence = self._testbed.evidence()
        if asked_ns is None or any(
            finding.verdict != "pass" for finding in judge_all(evidence, self._span, self._recovery)
        ):
            self._well_ns = None
            return False
        self._well_ns = self._well_ns or asked_ns
        # The observer reads the outbox's depth last of all: between two such readings it has read everything
        # that was committed before the first.
        readings = evidence.readings("outbox_depth")["start_ns"].nlargest(2)
        read_to_ns = int(readings.iloc[-1]) if len(readings) == 2 else 0
        pairs = evidence.pairs
        unheard = pairs[(pairs["committed_ns"] < read_to_ns) & pairs["received_ns"].isna()]
        if read_to_ns < self._well_ns or len(unheard):
            return False
        self.since_ns = self._well_ns
        return True


class Experiment:
    """An experiment, as the `experiment` fixture hands it to a scenario.

    Nothing is judged on the way but the steady state: when the ``with`` of :meth:`games` ends, every
    expectation is judged from the record. The stack and the games may be those of the experiment before,
    if that left them as it found them; what is expected then holds for the whole record.

    Parameters
    ----------
    session : the run folder of the whole session; this experiment's own is ``scenarios/<id>`` in it.
    testbeds : where it takes place.
    policy : what its record is judged by.
    id : name of the scenario in reports.
    title : one line on what it shows.
    command : how to run it alone.

    Examples
    --------
    ::

        def test_refused(experiment: Experiment) -> None:
            with experiment.games(count=12, players=2):
                experiment.steady("3s")
                experiment.inject(Down("service-pubnub"), "6s", Silence(), MonitorP95())
                experiment.recovered()
    """

    def __init__(
        self, *, session: Path, testbeds: Testbeds, policy: Policy, id: str, title: str, command: str
    ) -> None:
        self.id = id
        self.title = title
        self.command = command
        self._folder = session / "scenarios" / id
        self._testbeds = testbeds
        self._policy = policy
        self._testbed: Testbed
        self._injections: list[Injection] = []
        self._recovery: list[Expectation] = []
        self._settled: Settled | None = None
        self._began_ns = 0
        self._timeline: Timeline | None = None
        #: What another scenario or session has left as this one's result.
        self._before: dict[str, Any] | None = None
        #: What is broken on purpose: that it is down is no news.
        self._touched: set[str] = set()

    def __enter__(self) -> Self:
        self._before = finished(self._folder)
        self._note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def stack(self) -> System:
        """What is broken: the running parts, or a deployment."""
        return self._testbed.stack

    @property
    def run(self) -> RunFolder:
        """The run folder of the games: their record and everybody's logs."""
        return self._testbed.run

    @property
    def history(self) -> HistoryWriter:
        """Takes what a scenario itself does to the system."""
        return self._testbed.history

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
        alone: bool = False,
    ) -> Iterator[System]:
        """Play ``count`` games at once, again and again, while the block runs.

        That is on a local stack, or on the deployment that the environment names (``SUPABASE_URL`` ...);
        what can't be had there skips the scenario, with that reason.

        Parameters
        ----------
        count : games at a time.
        players : players a game.
        briefing, drawing, voting, tick : lengths of the phases, and between ticks of cron.
        replicas : processes of the service.
        service : further environment of the service (``{"ENABLE_GRACE_PERIOD": "false"}``).
        seed : of the players' behaviour.
        alone : nobody else's experiment takes place here before or after (it leaves something behind).

        Raises
        ------
        ExpectationsFailed
            At the end, with all that did not hold.
        Inconclusive
            There was no steady state, or a part of the harness failed.
        """
        setup = Setup(
            count, players, briefing, drawing, voting, tick, replicas, seed, service=dict(service or {})
        )
        if (why := impossible(setup)) is not None:
            pytest.skip(why)  # never on a local stack: a deployment lacks something, and the report says what
        if alone:
            self._testbeds.close()
        self._testbed = testbed = self._testbeds.take(setup, self.id)
        self._began_ns = now_ns()
        try:
            yield testbed.stack
            self._judge()
        except BaseException as error:
            told = isinstance(error, (ExpectationsFailed, pytest.skip.Exception))
            if not told and self._timeline is None:
                # What the record tells up to here is told, whatever ended it.
                with suppress(Exception):
                    self._findings(testbed.evidence())
            # Nobody knows what it left behind.
            testbed.close()
            raise
        if alone or testbed.load.exit_code is not None:
            testbed.close()
        else:
            self._testbeds.give_back(testbed)

    def steady(self, duration: str) -> None:
        """See that all has been well for ``duration``: the state that a fault is tested against.

        Raises
        ------
        Inconclusive
            It is not: what a fault would show then, nobody could tell.
        """
        duration_s = _possible(duration)
        since_ns = self._testbed.settled_since_ns
        if since_ns is None or self._unsteady(since_ns, duration_s):
            # The end of the experiment before may still be felt; what is well for long enough is well.
            wrong = self._unsteady(now_ns(), duration_s)
            if wrong:
                raise Inconclusive(f"no steady state before the fault\n{describe(wrong)}")
        self._testbed.settled_since_ns = None

    def inject(self, fault: Fault, duration: str, *expectations: Expectation, when_due: bool = True) -> None:
        """Apply ``fault`` for ``duration``, and expect ``expectations`` of that time.

        That requests are answered quickly, that all recovers and that nothing is lost, early, double,
        illegal or out of order is expected of every fault, unasked. A target that lacks what is to be
        broken (a real deployment has no process to kill) skips the scenario, with that reason.

        Parameters
        ----------
        fault : what is broken.
        duration : for how long.
        expectations : what must hold while it lasts.
        when_due : begin as soon as a game is to fall due within it; False: at once.

        Raises
        ------
        FaultError
            It could not be applied or undone.
        NotExercisedError
            Nothing came across it.
        """
        duration_s = _possible(duration)
        if when_due:
            self._until_something_is_due()
        injection = self._expect(str(fault), fault.place, expectations, [fault])
        self._touched.add(fault.target)
        try:
            with fault.inject(self.stack, self.history):
                injection.start_ns = now_ns()
                self._watch(duration_s)
                injection.end_ns = now_ns()
        except MissingPartError as error:
            pytest.skip(str(error))
        finally:
            injection.undone_ns = now_ns()
            self._note()

    def run_schedule(self, schedule: Schedule, *expectations: Expectation, every: bool = True) -> None:
        """Apply one fault after the other as ``schedule`` says, and expect ``expectations`` of all that time.

        What is expected of every fault is expected of the schedule as a whole; the report has each of its
        faults too.

        Parameters
        ----------
        schedule : which faults, and when.
        expectations : what must hold while it lasts.
        every : whether each fault must be exercised; False: one of them is enough.

        Raises
        ------
        FaultError, NotExercisedError
            As :meth:`inject`.
        """
        faults = [entry.fault for entry in schedule.entries]
        self._until_something_is_due()
        injection = self._expect(f"schedule of {len(faults)} faults", "combined", expectations, faults)
        self._touched |= {fault.target for fault in faults}
        injection.start_ns = injection.begun_ns
        try:
            check(schedule.run(self.stack, self.history, wait=self._watch), every=every)
        except MissingPartError as error:
            pytest.skip(str(error))
        finally:
            injection.end_ns = injection.undone_ns = now_ns()
            self._note()

    def recovered(self, *, within: str | None = None) -> None:
        """Wait until all is as before, at most a little longer than it may take; judged at the end.

        That is: requests and events succeed, /health is healthy, what was held up is made up for, and
        connections, memory and open files are back at their level before the fault.

        Parameters
        ----------
        within : how long it may take; None: what the policy allows for the faults that were injected.
        """
        if within is None:
            faults = [fault for injection in self._injections for fault in injection.faults]
            limit_s = self._policy.recovery.limit_s(*faults)
        else:
            limit_s = _possible(within)
        self._recovery = list(recovery(limit_s))
        if self.stack.parts:  # of a deployment's processes there are no readings
            self._recovery += back_to_level(self._testbed.setup.replicas)
        self._settled = Settled(self._testbed, self._injections[-1].span, self._recovery)
        deadline = time.monotonic() + limit_s + _OVERTIME_S
        while not self._settled.look() and time.monotonic() < deadline:
            self._watch(_LOOK_S)

    def conclude(self, error: BaseException | None, seconds: float) -> None:
        """Write what came of it into ``scenario.json``.

        Parameters
        ----------
        error : what ended it, if anything did.
        seconds : how long it took.
        """
        outcome, message = outcome_of(error)
        self._write(outcome, message, seconds)

    def _expect(
        self, name: str, place: str, expectations: Sequence[Expectation], faults: Sequence[Fault]
    ) -> Injection:
        clear = FailsClearly(unanswered=any(map(_takes_away, faults)))
        expected: list[Expectation] = [QuickAnswers(), clear, *expectations]
        injection = Injection(name, place, expected, [str(fault) for fault in faults], begun_ns=now_ns())
        self._injections.append(injection)
        self._settled = None
        self._note()
        return injection

    def _until_something_is_due(self) -> None:
        """Wait until a game is about to fall due: what breaks now, breaks it.

        Games that were held up together fall due together; in between, a fault would find nothing to harm.
        Not for ever: where nothing falls due, the record tells.
        """
        deadline = time.monotonic() + _UNSEEN_S
        while time.monotonic() < deadline:
            with suppress(
                OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
            ):
                if self._testbed.falls_due(*_DUE_S):
                    return
            self._watch(_DUE_LOOK_S)

    def _watch(self, seconds: float) -> None:
        """Let the load play, and notice if the harness itself fails."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            load = self._testbed.load
            if load.exit_code is not None:
                raise Inconclusive(f"the load ended by itself with {load.exit_code}: {load.last_words()}")
            for name in _OURS:
                if name in self.stack.parts and name not in self._touched and self.stack.pid(name) is None:
                    raise Inconclusive(f"{name}, a part of the harness, ended by itself: see {self.run.logs}")
            if "toxiproxy" not in self._touched and self.stack.target.toxiproxy_url is not None:
                try:
                    Proxies(self.stack.target.toxiproxy_url).all()
                except ToxiproxyError as error:
                    raise Inconclusive(f"a part of the harness does not serve: {error}") from error
            time.sleep(min(left, _LOOK_S))

    def _unsteady(self, since_ns: int, duration_s: float) -> list[Finding]:
        """Wait until ``duration_s`` after ``since_ns``, and return what was not well since then."""
        self._watch(duration_s - (now_ns() - since_ns) / NS)
        deadline = time.monotonic() + _UNSEEN_S
        while True:
            evidence = self._testbed.evidence()
            hypothesis: list[Expectation] = [
                MonitorP95(),
                TimersOnTime(evidence.tick_s + self._policy.tolerances.timer),
                NobodyFails(),
                HealthyThroughout(),
            ]
            found = judge_all(evidence, Window("steady state", since_ns, now_ns()), hypothesis)
            wrong = [finding for finding in found if finding.verdict != "pass"]
            ill = any(finding.verdict == "fail" for finding in wrong)
            if not wrong or ill or time.monotonic() >= deadline:
                return wrong
            self._watch(_LOOK_S)

    def _judge(self) -> None:
        """Judge from the record as soon as it is settled; where that fails, from the finished record."""
        record_secrets(self.run, self.stack.target, self.history)
        settled = self._settled or Settled(self._testbed, None, [])
        deadline = time.monotonic() + self._policy.tolerances.settle
        while not settled.look() and time.monotonic() < deadline:
            self._watch(_LOOK_S)
        broken = self._findings(settled.evidence) if settled.since_ns is not None else None
        if broken or broken is None:
            self._testbed.finish()
            broken = self._findings(self._testbed.evidence())
        told = f"{describe(broken)}\nrecord: {self.run.path}\nagain: {self.command}"
        if any(finding.verdict == "fail" for finding in broken):
            raise ExpectationsFailed(told)
        if broken:
            raise Inconclusive(told)
        self._testbed.settled_since_ns = settled.since_ns

    def _findings(self, evidence: Evidence) -> list[Finding]:
        """Judge all expectations, keep their findings for the report, and return those that don't hold."""
        searched = ("history/", "logs/service-1") if self.stack.parts else ("history/",)
        always = [
            *self._recovery,
            EveryoneHears(),
            *(Intact(check) for check in INTEGRITY),
            NoSecretTold(among=searched),
        ]
        for injection in self._injections:
            during = judge_all(evidence, injection.effect, injection.expectations)
            after = judge_all(evidence, injection.span, always)
            injection.findings = dict(zip([*injection.expectations, *always], during + after, strict=True))
            injection.detected_after_s = detected_after_s(evidence, injection.span)
            if len(injection.faults) > 1:
                injection.parts = [
                    fault
                    for fault in evidence.faults
                    if injection.begun_ns <= fault.start_ns < injection.undone_ns
                ]
        self._timeline = timeline(evidence, (self._began_ns, now_ns()))
        found = [finding for injection in self._injections for finding in injection.findings.values()]
        return [finding for finding in found if finding.verdict != "pass"]

    def _note(self) -> None:
        """Write down what there is so far: the process may be ended before it comes to :meth:`conclude`."""
        self._write("error", "it did not finish", None)

    def _write(self, outcome: str, message: str, seconds: float | None) -> None:
        document = {
            "id": self.id,
            "title": self.title,
            "outcome": outcome,
            "seconds": seconds,
            "message": message,
            "command": self.command,
            "timeline": None if self._timeline is None else self._timeline.model_dump(),
            "faults": [document for injection in self._injections for document in injection.documents()],
        }
        write_result(self._folder, document, before=self._before if seconds is not None else None)


def outcome_of(error: BaseException | None) -> tuple[str, str]:
    """Return what a scenario came to that ended by ``error``, and why."""
    if error is None:
        return "passed", ""
    if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        outcome = "skipped"
    elif isinstance(error, (Inconclusive, ProcessError, FaultError)):
        outcome = "inconclusive"
    elif isinstance(error, (AssertionError, pytest.fail.Exception)):
        outcome = "failed"
    else:
        outcome = "error"
    told = str(error).encode(errors="backslashreplace").decode()  # half a character can't be written
    return outcome, told or type(error).__name__


def conclude(
    run: RunFolder, scenario: Mapping[str, str], error: BaseException | None, seconds: float, *, first: bool
) -> None:
    """Write what came of a scenario that never got to its experiment: it was skipped, or its set-up failed.

    Parameters
    ----------
    run : the run of the whole session.
    scenario : its ``id``, ``title`` and ``command``.
    error : what ended it.
    seconds : how long it took.
    first : whether nothing was written of it before: what is there then is another's.
    """
    outcome, message = outcome_of(error)
    folder = run.scenarios / scenario["id"]
    result = {"outcome": outcome, "seconds": seconds, "message": message, "faults": []}
    write_result(folder, {**scenario, **result}, before=finished(folder) if first else None)


def _rfc3339(unix_ns: int) -> str | None:
    """Return a time as RFC 3339; None for a fault that never got so far."""
    if not unix_ns:
        return None
    return datetime.fromtimestamp(unix_ns / NS, UTC).isoformat(timespec="milliseconds")


def _possible(duration: str) -> float:
    """Return a duration of an experiment in seconds.

    Raises
    ------
    FaultError
        It is none, or no time at all, or longer than any experiment.
    """
    try:
        duration_s = parse_duration(duration)
    except ValueError as error:
        raise FaultError(str(error)) from error
    if not duration_s:
        raise FaultError(f"{duration!r} is no time at all")
    if duration_s > LONGEST_S:
        raise FaultError(f"{duration!r} is longer than {LONGEST_S / 60:g} minutes")
    return duration_s


def _takes_away(fault: Fault) -> bool:
    """Return whether a fault takes away the service's process, or its address."""
    return fault.target == LOAD_SERVICE or (fault.place != "network" and fault.target.startswith("service"))


def describe(findings: list[Finding]) -> str:
    """Return the findings, a line each, and the rows that broke them."""
    lines = []
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g} {finding.unit}".strip()
        lines.append(f"{finding.verdict}: {finding.name}: measured {measured} ({finding.explanation})")
        for row in finding.examples:
            lines.append("    " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return "\n".join(lines)
