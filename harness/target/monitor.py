"""A tick of the monitor: where it is called, what may be wrong with its answer, and its history row."""

from __future__ import annotations

from typing import Any, Final

from harness.history import Row
from harness.history.names import TICK_ERRORS, Tick
from harness.target.client import Answer, has
from harness.target.errors import BAD_ANSWER

PATH: Final = "/functions/v1/monitor-game-timers"
#: No tick may take over 30 s; to see that one did, the answer is waited for a little longer.
ANSWER_LIMIT_S: Final = 35.0

_FIELDS: Final = has("processed", "errors", "skipped", "executionTime", "timestamp", "requestId")


def headers(cron_secret: str) -> dict[str, str]:
    """Return what lets a tick in."""
    return {"x-cron-secret": cron_secret}


def check(body: Any) -> str | None:
    """Say what is wrong with a tick's answer: its shape, or errors that it tells of."""
    wrong = _FIELDS(body)
    if wrong is not None:
        return wrong
    errors, took_ms = body["errors"], body["executionTime"]
    if not isinstance(took_ms, (int, float)):
        return BAD_ANSWER
    return TICK_ERRORS if errors else None


def told(answer: Answer) -> dict[str, Any]:
    """Return what an answer tells of its tick; nothing where it can't be read."""
    body: dict[str, Any] = answer.body if answer.error in {None, TICK_ERRORS} else {}
    return body


def row(answer: Answer, actor: str, due_ns: int) -> Row:
    """Return the ``monitor`` row of a tick that was due at ``due_ns`` (Unix ns)."""
    body = told(answer)
    return Row(
        "monitor",
        Tick.SKIP if body.get("skipped") else Tick.TICK,
        actor,
        intended_ns=due_ns,
        start_ns=answer.start_ns,
        end_ns=answer.end_ns,
        ok=answer.ok,
        error=answer.error,
        value=body.get("processed"),
    )
