"""One failure experiment: steady state before, a fault while games are played, recovery after.

The chaos-engineering order of things: an experiment on a system that was already ill proves nothing,
so the steady state is judged first, and what follows is inconclusive without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from harness.documents.rows import Finding, Outcome
from harness.documents.scenario import Scenario
from harness.documents.shown import Timeline
from harness.experiment.expect_unauthorised import NoSecretTold
from harness.experiment.expectations import EveryoneHears, FailsClearly, Intact, QuickAnswers
from harness.experiment.injection import Injection, takes_away
from harness.experiment.leaks import back_to_level
from harness.experiment.pool import PoolServes, use_pool
from harness.experiment.results import (
    ExpectationsFailed,
    Inconclusive,
    describe,
    finished,
    outcome_of,
    write_result,
)
from harness.experiment.secret_scan import record_secrets
from harness.experiment.settling import Settling
from harness.experiment.setup import Setup, impossible, lacking
from harness.experiment.testbed import Testbed, Testbeds
from harness.experiment.watch import DUE_S, Watch, lasting
from harness.faults import Fault, FaultTarget, MissingPartError
from harness.faults.schedule import Schedule, check
from harness.history import HistoryWriter, RunFolder, now_ns
from harness.judge import INTEGRITY, Evidence
from harness.judge.evidence import NS
from harness.judge.findings import Expectation
from harness.judge.recovery import recovery
from harness.judge.timeline import timeline
from harness.sla.policy import Policy
from harness.system import System

#: How much longer than promised recovery is watched.
_OVERTIME_S: Final = 2.0


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
                experiment.steady()
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
        #: None until games are played.
        self._watch: Watch | None = None
        self._injections: list[Injection] = []
        self._recovery: list[Expectation] = []
        self._settling: Settling | None = None
        self._began_ns = now_ns()
        self._timeline: Timeline | None = None
        self._again = 0
        #: What another scenario or session has left as this one's result.
        self._before = finished(self._folder)
        self._note()

    def again(self) -> Experiment:
        """Return one that goes on where this one took place: what comes of it counts for no scenario."""
        self._again += 1
        return Experiment(
            session=self._folder,
            testbeds=self._testbeds,
            policy=self._policy,
            id=f"{self.id}.again-{self._again}",
            title=self.title,
            command=self.command,
        )

    @property
    def watch(self) -> Watch:
        """Watches over the games.

        Raises
        ------
        RuntimeError
            None are played.
        """
        if self._watch is None:
            raise RuntimeError("an experiment takes place while games are played: `with experiment.games():`")
        return self._watch

    @property
    def _testbed(self) -> Testbed:
        return self.watch.testbed

    @property
    def stack(self) -> FaultTarget:
        """What is broken: the running processes, or a deployment."""
        return self._testbed.stack

    @property
    def run(self) -> RunFolder:
        """The run folder of the games: their record and everybody's logs."""
        return self._testbed.run

    @property
    def system(self) -> System:
        """What is put to the test, at its address."""
        return self._testbed.system

    @property
    def history(self) -> HistoryWriter:
        """Takes what a scenario itself does to the system."""
        return self._testbed.history

    @contextmanager
    def games(
        self,
        count: int = Setup.count,
        *,
        players: int = Setup.players,
        tick: str = Setup.tick,
        replicas: int = Setup.replicas,
        service: Mapping[str, str] | None = None,
        seed: int = Setup.seed,
        extensions: bool = True,
        own_ticks: bool = False,
        postgres: Mapping[str, str] | None = None,
        needs: Sequence[type | Fault] = (),
        alone: bool = False,
        **lengths: str,
    ) -> Iterator[FaultTarget]:
        """Play ``count`` games at once, again and again, while the block runs.

        That is on a local stack, or on the deployment that the environment names (``SUPABASE_URL`` ...);
        what can't be had there skips the scenario, with that reason.

        Parameters
        ----------
        count : games at a time.
        players : players a game.
        tick : time between ticks of cron; a system that ticks by itself says how often.
        replicas : processes of the service.
        service : further environment of the service (``{"LOG_LEVEL": "DEBUG"}``).
        seed : of the players' behaviour.
        extensions : whether timers may be extended (by a grace period, by a late bid).
        own_ticks : each process of the service ticks by itself, besides cron.
        postgres : further settings of the database.
        needs : what the system must be or have: its class, protocols of `harness.system`, and the faults that
            are to come, for the levers and the parts that they need.
        alone : nobody else's experiment takes place here before or after (it leaves something behind).
        lengths : state -> length of its timer (``bidding="7s"``), where it is not the system's short one: the
            nearest that the system allows.

        Raises
        ------
        ExpectationsFailed
            At the end, with all that did not hold.
        Inconclusive
            There was no steady state, or a part of the harness failed.
        """
        environment, settings = dict(service or {}), dict(postgres or {})
        setup = Setup(
            count, players, lengths, tick, replicas, seed, environment, extensions, own_ticks, settings
        )
        system = self._testbeds.system
        if (why := lacking(setup, system, needs) or impossible(setup, system, needs)) is not None:
            pytest.skip(why)
        if alone:
            self._testbeds.close()
        testbed = self._testbeds.take(setup, self.id)
        self._watch = Watch(testbed)
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
            if isinstance(error, pytest.skip.Exception) and not any(one.start_ns for one in self._injections):
                self._testbeds.give_back(testbed)  # nothing was broken
            else:
                testbed.close()  # nobody knows what it left behind
            raise
        if alone or testbed.load.exit_code is not None:
            testbed.close()
        else:
            self._testbeds.give_back(testbed)

    def steady(self, duration: str | None = None, *, due: int = 1) -> None:
        """See that all has been well: the state that a fault is tested against.

        Parameters
        ----------
        duration : for how long at least.
        due : how many timers must have fallen due meanwhile.

        Raises
        ------
        Inconclusive
            It is not: what a fault would show then, nobody could tell.
        """
        duration_s = lasting(duration)
        since_ns = self._testbed.settled_since_ns
        if since_ns is None or self.watch.unsteady(since_ns, duration_s, due):
            # The end of the experiment before may still be felt; what is well for long enough is well.
            wrong = self.watch.unsteady(now_ns(), duration_s, due)
            if wrong:
                raise Inconclusive(f"no steady state before the fault\n{describe(wrong)}")
        self._testbed.settled_since_ns = None

    def inject(
        self,
        fault: Fault,
        duration: str | None = None,
        *expectations: Expectation,
        until_due: int = 1,
        when_due: bool = True,
    ) -> None:
        """Apply ``fault`` for a while, and expect ``expectations`` of that time.

        That requests are answered quickly, that all recovers and that nothing is lost, early, double, illegal
        or out of order is expected of every fault, unasked. Where there is no such thing to be broken (a
        deployment has no process to kill), the scenario is skipped, with that reason.

        Parameters
        ----------
        fault : what is broken.
        duration : for how long at least.
        expectations : what must hold while it lasts.
        until_due : how many timers must have fallen due meanwhile, moved or not.
        when_due : begin as soon as a game is to fall due within it; False: at once.

        Raises
        ------
        FaultError
            It could not be applied or undone.
        NotExercisedError
            Nothing came across it.
        """
        duration_s = lasting(duration)
        due = when_due and self.watch.wait_until_due() and duration_s >= DUE_S[1]
        looked_ns = now_ns()
        injection = self._expect(str(fault), fault.place, expectations, [fault])
        self.watch.touched.add(fault.target)
        try:
            with fault.inject(self.stack, self.history):
                injection.start_ns = now_ns()
                # What takes long to apply comes too late for the timer that was waited for.
                due = due and injection.start_ns - looked_ns < DUE_S[0] * NS
                self.watch.wait(duration_s)
                if until_due > due:
                    self.watch.wait_until_fallen_due(injection.start_ns, until_due)
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
        faults = schedule.faults
        self.watch.wait_until_due()
        injection = self._expect(f"schedule of {len(faults)} faults", "combined", expectations, faults)
        self.watch.touched |= {fault.target for fault in faults}
        injection.start_ns = injection.begun_ns
        try:
            check(schedule.run(self.stack, self.history, wait=self.watch.wait), every=every)
        except MissingPartError as error:
            pytest.skip(str(error))
        finally:
            injection.end_ns = injection.undone_ns = now_ns()
            self._note()

    def recovered(self, *, within: str | None = None) -> None:
        """Wait until all is as before, at most a little longer than it may take; judged at the end.

        That is: requests and events succeed, /health is healthy, what was held up is made up for, and
        connections, memory and open files are back at their level before the fault, and every connection of
        the pool serves.

        Parameters
        ----------
        within : how long it may take; None: what the policy allows for the faults that were injected.
        """
        if within is None:
            faults = [fault for injection in self._injections for fault in injection.faults]
            limit_s = self._policy.recovery.limit_s(*faults)
        else:
            limit_s = lasting(within)
        levels = back_to_level(self._testbed.processes, self._testbed.system.sessions)
        self._recovery = recovery(limit_s, self._testbed.absent) + self._testbed.applicable(levels)
        self._settling = Settling(self.watch, self._injections[-1].span, self._recovery)
        # An event may come as late as the next timer falls due.
        look = self._settling.wait(limit_s + self._testbed.game_s + _OVERTIME_S)
        for first in self._testbed.processes[:1]:
            use_pool(self.stack, self.system, first, look.evidence, self.history)
            self._recovery += self._testbed.applicable([PoolServes(first)])

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
        clear = FailsClearly(unanswered=any(takes_away(fault, self._testbed.processes) for fault in faults))
        expected = self._testbed.applicable([QuickAnswers(), clear, *expectations])
        injection = Injection(name, place, expected, [str(fault) for fault in faults], begun_ns=now_ns())
        self._injections.append(injection)
        self._settling = None
        self._note()
        return injection

    def _judge(self) -> None:
        """Judge from the record as soon as it is settled; where that fails, from the finished record."""
        record_secrets(self.run, self.stack.target, self.history)
        settling = self._settling or Settling(self.watch, None, [])
        last = settling.wait(self._policy.tolerances.settle)
        broken = None if last.settled_since_ns is None else self._findings(last.evidence)
        if broken or broken is None:
            self._testbed.finish()
            broken = self._findings(self._testbed.evidence())
        told = f"{describe(broken)}\nrecord: {self.run.path}\nagain: {self.command}"
        if failed := [finding.name for finding in broken if finding.verdict == "fail"]:
            raise ExpectationsFailed(told, failed)
        if broken:
            raise Inconclusive(told)
        self._testbed.settled_since_ns = last.settled_since_ns

    def _findings(self, evidence: Evidence) -> list[Finding]:
        """Judge all expectations, keep their findings for the report, and return those that don't hold."""
        searched = ["history/", *(f"logs/{name}.log" for name in self._testbed.processes[:1])]
        always = [
            *self._recovery,
            EveryoneHears(),
            *(Intact(check) for check in INTEGRITY),
            NoSecretTold(among=tuple(searched)),
        ]
        for injection in self._injections:
            injection.take_findings(evidence, always)
        self._timeline = timeline(evidence, (self._began_ns, now_ns()))
        found = [finding for injection in self._injections for finding in injection.findings.values()]
        return [finding for finding in found if finding.verdict != "pass"]

    def _note(self) -> None:
        """Write down what there is so far: the process may be ended before it comes to :meth:`conclude`."""
        self._write("error", "it did not finish", None)

    def _write(self, outcome: Outcome, message: str, seconds: float | None) -> None:
        scenario = Scenario(
            id=self.id,
            title=self.title,
            outcome=outcome,
            seconds=seconds,
            message=message,
            command=self.command,
            timeline=self._timeline,
            faults=tuple(fault for injection in self._injections for fault in injection.documents()),
        )
        write_result(self._folder, scenario, before=self._before if seconds is not None else None)
