"""Cron: ticks go out on schedule, whether or not the last one came back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import gevent
from gevent.pool import Group
from locust.event import EventHook

from harness.history import HistoryWriter, now_ns
from harness.history.names import Actor
from harness.load.api import Api, open_session
from harness.system import Ticks
from harness.system.tick import ANSWER_LIMIT_S, TickCall
from harness.target import Action, Permission

#: Ticks that may be out at once.
_CONCURRENCY: Final = 100


class Cron:
    """Has the system tick each ``every_s`` seconds, from :meth:`start` to :meth:`stop`.

    While the file ``off`` is there, the schedule is off.
    """

    def __init__(
        self,
        system: Ticks,
        permission: Permission,
        every_s: float,
        history: HistoryWriter,
        request_event: EventHook,
        off: Path,
    ) -> None:
        permission.require(Action.TICK)
        target = permission.target
        session = open_session(
            target.service_url, request_event, answer_limit_s=ANSWER_LIMIT_S, concurrency=_CONCURRENCY
        )
        self._api = Api(session, history)
        self._system = system
        self._every_ns = round(every_s * 1e9)
        self._history = history
        self._off = off
        self._ticks = Group()
        self._schedule: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin; the first tick is due now."""
        self._schedule = gevent.spawn(self._keep_schedule)

    def stop(self, within_s: float) -> None:
        """Send no more ticks; those that are out have so long to come back."""
        if self._schedule is not None:
            self._schedule.kill()
        self._ticks.join(timeout=within_s)
        self._ticks.kill()

    def _keep_schedule(self) -> None:
        due_ns = now_ns()
        while True:
            gevent.sleep(max(0.0, (due_ns - now_ns()) / 1e9))
            if not self._off.exists():
                self._ticks.spawn(self._tick, due_ns)
            due_ns += self._every_ns

    def _tick(self, due_ns: int) -> None:
        start_ns = now_ns()
        tick = TickCall(self._system, Actor.CRON, due_ns)
        call = tick.call
        try:
            answer = self._api.send(
                call.method, call.path, tick.name, call.headers, body=call.body, check=tick.check
            )
        except gevent.GreenletExit:
            self._history.append(tick.unanswered(start_ns))
            raise
        self._history.append(tick.row(answer))
        if (execution := tick.execution(answer)) is not None:
            self._history.append(execution)
