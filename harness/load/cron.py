"""Cron: ticks of monitor-game-timers go out on schedule, whether or not the last one came back."""

from __future__ import annotations

from typing import Any, Final

import gevent
from gevent.pool import Group
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook

from harness.history import HistoryWriter, Row, now_ns
from harness.load.api import CONNECT_LIMIT_S, Api, has
from harness.target import Action, Permission
from harness.target.errors import BAD_ANSWER

PATH: Final = "/functions/v1/monitor-game-timers"
#: No tick may take over 30 s; to see that one did, the answer is waited for a little longer.
ANSWER_LIMIT_S: Final = 35.0
#: Ticks that may be out at once.
_CONCURRENCY: Final = 100

_FIELDS: Final = has("processed", "errors", "skipped", "executionTime", "timestamp", "requestId")


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
            network_timeout=ANSWER_LIMIT_S,
            connection_timeout=CONNECT_LIMIT_S,
            max_retries=0,
            concurrency=_CONCURRENCY,
        )
        self._api = Api(session, target, history)
        self._headers = {"x-cron-secret": target.cron_secret}
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
            answer = self._api.send("POST", PATH, f"POST {PATH}", self._headers, body={}, check=_check)
        except gevent.GreenletExit:
            self._record("tick", due_ns, start_ns, None, "unanswered", None)
            raise
        body: dict[str, Any] = answer.body if answer.error in {None, _TICK_ERRORS} else {}
        name = "skip" if body.get("skipped") else "tick"
        self._record(name, due_ns, answer.start_ns, answer.end_ns, answer.error, body.get("processed"))
        if "executionTime" in body:
            took_ms = float(body["executionTime"])
            self._record("execution_ms", due_ns, answer.start_ns, answer.end_ns, None, took_ms)

    def _record(
        self,
        name: str,
        due_ns: int,
        start_ns: int,
        end_ns: int | None,
        error: str | None,
        value: float | None,
    ) -> None:
        self._history.append(
            Row(
                "monitor",
                name,
                "cron",
                intended_ns=due_ns,
                start_ns=start_ns,
                end_ns=end_ns,
                ok=error is None,
                error=error,
                value=value,
            )
        )


_TICK_ERRORS: Final = "tick errors"


def _check(body: Any) -> str | None:
    """Say what is wrong with a tick's answer: its shape, or errors that it tells of."""
    wrong = _FIELDS(body)
    if wrong is not None:
        return wrong
    errors, took_ms = body["errors"], body["executionTime"]
    if not isinstance(took_ms, (int, float)):
        return BAD_ANSWER
    return _TICK_ERRORS if errors else None
