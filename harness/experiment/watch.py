"""Watches over a testbed while an experiment takes place on it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from harness.documents.rows import Finding
from harness.experiment.expectations import HealthyThroughout, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.results import Inconclusive
from harness.experiment.testbed import Testbed
from harness.faults import FaultError
from harness.faults.parameters import LONGEST_S
from harness.history import now_ns
from harness.judge import Window
from harness.judge.evidence import NS
from harness.judge.findings import Expectation, judge_all
from harness.sla.units import parse_duration
from harness.stack.proxies import Proxies, ToxiproxyError
from harness.target.sessions import TROUBLE

#: Between two looks while something is waited for.
LOOK_S: Final = 0.5
#: A fault begins when a game is to fall due so many seconds later, and how often that is looked for.
DUE_S: Final = (0.6, 2.0)
_DUE_LOOK_S: Final = 0.1
#: How much longer than a game may take it is waited for that a timer falls due.
_UNSEEN_S: Final = 6.0
#: Processes of a stack that are the harness's own: the service is not to blame for their end.
_OURS: Final = ("toxiproxy", "pubnub")


class Watch:
    """Lets the load play, and notices if the harness itself fails.

    Attributes
    ----------
    testbed : what is watched.
    touched : processes and proxies that are broken on purpose: that they are down is no news.
    """

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.touched: set[str] = set()

    @property
    def patience_s(self) -> float:
        """How long a timer to fall due is waited for: one of a whole game's must have by then."""
        return self.testbed.game_s + _UNSEEN_S

    def wait(self, seconds: float) -> None:
        """Let the load play for so long.

        Raises
        ------
        Inconclusive
            The load, or a process of the harness, ended by itself or does not serve.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, LOOK_S))

    def wait_until_due(self) -> bool:
        """Wait until a game is about to fall due, and return whether one is: what breaks now, breaks it.

        Games that were held up together fall due together; in between, a fault would find nothing to harm.
        Not for ever: where nothing falls due, the record tells.
        """
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            with suppress(*TROUBLE):
                if self.testbed.falls_due(*DUE_S):
                    return True
            self.wait(_DUE_LOOK_S)
        return False

    def wait_until_fallen_due(self, since_ns: int, timers: int) -> None:
        """Wait until so many timers fell due since then; not for ever, nor where nobody can tell.

        Where that had to be waited for, there is time left for what follows from it.
        """
        deadline = time.monotonic() + self.patience_s
        waited = False
        while time.monotonic() < deadline:
            found = self.testbed.fallen_due(since_ns)
            if found is None or found >= timers:
                if waited:
                    self.wait(DUE_S[1])
                return
            waited = True
            self.wait(LOOK_S)

    def unsteady(self, since_ns: int, duration_s: float, due: int) -> list[Finding]:
        """Return what was not well since then, once that is so long ago and so many timers fell due."""
        self.wait(duration_s - (now_ns() - since_ns) / NS)
        deadline = time.monotonic() + self.patience_s
        while True:
            # On a busy machine a look takes long: what counts is when the last one was begun.
            last = time.monotonic() >= deadline
            evidence = self.testbed.evidence()
            hypothesis: list[Expectation] = [
                MonitorP95(),
                TimersOnTime(evidence.policy.tolerances.timer, at_least=due),
                NobodyFails(),
                HealthyThroughout(),
            ]
            window = Window("steady state", since_ns, now_ns())
            found = judge_all(evidence, window, self.testbed.applicable(hypothesis))
            wrong = [finding for finding in found if finding.verdict != "pass"]
            ill = any(finding.verdict == "fail" for finding in wrong)
            if not wrong or ill or last:
                return wrong
            self.wait(LOOK_S)

    def _check(self) -> None:
        load, stack = self.testbed.load, self.testbed.stack
        if load.exit_code is not None:
            raise Inconclusive(f"the load ended by itself with {load.exit_code}: {load.last_words()}")
        for name in _OURS:
            if name in stack.parts and name not in self.touched and stack.pid(name) is None:
                logs = self.testbed.run.logs
                raise Inconclusive(f"{name}, a part of the harness, ended by itself: see {logs}")
        if "toxiproxy" not in self.touched and stack.target.toxiproxy_url is not None:
            try:
                Proxies(stack.target.toxiproxy_url).all()
            except ToxiproxyError as error:
                raise Inconclusive(f"a part of the harness does not serve: {error}") from error


def lasting(duration: str | None) -> float:
    """Return a duration of an experiment in seconds; None: none is asked for.

    Raises
    ------
    FaultError
        It is none, or no time at all, or longer than any experiment.
    """
    if duration is None:
        return 0.0
    try:
        duration_s = parse_duration(duration)
    except ValueError as error:
        raise FaultError(str(error)) from error
    if not duration_s:
        raise FaultError(f"{duration!r} is no time at all")
    if duration_s > LONGEST_S:
        raise FaultError(f"{duration!r} is longer than {LONGEST_S / 60:g} minutes")
    return duration_s
