"""Watches over a testbed while an experiment takes place on it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

import asyncpg

from harness.documents.rows import Finding
from harness.experiment.expectations import HealthyThroughout, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.results import Inconclusive
from harness.experiment.testbed import Testbed
from harness.history import now_ns
from harness.judge import Window
from harness.judge.evidence import NS
from harness.judge.findings import Expectation, judge_all
from harness.stack.proxies import Proxies, ToxiproxyError

#: Between two looks while something is waited for.
LOOK_S: Final = 0.5
#: A fault begins when a game is to fall due so many seconds later, and how often that is looked for.
_DUE_S: Final = (0.6, 2.0)
_DUE_LOOK_S: Final = 0.1
#: How much longer the steady state is watched where nothing has fallen due yet.
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

    def wait_until_due(self) -> None:
        """Wait until a game is about to fall due: what breaks now, breaks it.

        Games that were held up together fall due together; in between, a fault would find nothing to harm.
        Not for ever: where nothing falls due, the record tells.
        """
        deadline = time.monotonic() + _UNSEEN_S
        while time.monotonic() < deadline:
            with suppress(
                OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
            ):
                if self.testbed.falls_due(*_DUE_S):
                    return
            self.wait(_DUE_LOOK_S)

    def unsteady(self, since_ns: int, duration_s: float) -> list[Finding]:
        """Wait until ``duration_s`` after ``since_ns``, and return what was not well since then."""
        self.wait(duration_s - (now_ns() - since_ns) / NS)
        deadline = time.monotonic() + _UNSEEN_S
        while True:
            evidence = self.testbed.evidence()
            hypothesis: list[Expectation] = [
                MonitorP95(),
                TimersOnTime(evidence.tick_s + evidence.policy.tolerances.timer),
                NobodyFails(),
                HealthyThroughout(),
            ]
            found = judge_all(evidence, Window("steady state", since_ns, now_ns()), hypothesis)
            wrong = [finding for finding in found if finding.verdict != "pass"]
            ill = any(finding.verdict == "fail" for finding in wrong)
            if not wrong or ill or time.monotonic() >= deadline:
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
