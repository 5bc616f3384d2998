"""Cron: ticks of monitor-game-timers go out on schedule, whether or not the last one came back."""

from __future__ import annotations

from typing import Final

import gevent
from gevent.pool import Group
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor, Tick
from harness.load.api import CONNECT_LIMIT_S, Api
from harness.target import Action, Permission, monitor

#: Ticks that may be out at once.
_CONCURRENCY: Final = 100


class Cron:
    """Calls the monitor each ``every_s`` seconds, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self, permission: Permission, every_s: float, history: HistoryWriter, request_event: EventHook
    ) -> None:
        permission.require(Action.TICK)
        target = permission.target
        session = FastHttpSession(
            target.service_url,
            request_event,
            user=None,
            network_timeout=monitor.ANSWER_LIMIT_S,
            connection_timeout=CONNECT_LIMIT_S,
            max_retries=0,
            concurrency=_CONCURRENCY,
        )
        self._api = Api(session, target, history)
        self._headers = monitor.headers(target.cron_secret)
        self._every_ns = round(every_s * 1e9)
        self._history = history
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
            self._ticks.spawn(self._tick, due_ns)
            due_ns += self._every_ns

    def _tick(self, due_ns: int) -> None:
        start_ns = now_ns()
        try:
            answer = self._api.send(
                "POST", monitor.PATH, f"POST {monitor.PATH}", self._headers, body={}, check=monitor.check
            )
        except gevent.GreenletExit:
            self._record(Tick.TICK, due_ns, start_ns, ok=False, error="unanswered")
            raise
        self._history.append(monitor.row(answer, Actor.CRON, due_ns))
        if "executionTime" in (told := monitor.told(answer)):
            took_ms = float(told["executionTime"])
            self._record(Tick.EXECUTION, due_ns, answer.start_ns, answer.end_ns, value=took_ms)

    def _record(
        self,
        name: str,
        due_ns: int,
        start_ns: int,
        end_ns: int | None = None,
        *,
        ok: bool = True,
        error: str | None = None,
        value: float | None = None,
    ) -> None:
        row = Row("monitor", name, Actor.CRON, None, None, None, due_ns, start_ns, end_ns, ok, error, value)
        self._history.append(row)
