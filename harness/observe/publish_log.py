"""What PubNub's emulator received of the service: every single attempt to publish, whatever became of it."""

from __future__ import annotations

import json
from contextlib import suppress

from harness.history import HistoryWriter, Row
from harness.history.names import Actor, Publish
from harness.stack.pubnub_control import LoggedRequest, PubNubControl
from harness.system import Heard, System


def record_attempts(system: System, history: HistoryWriter) -> int:
    """Record the attempts to publish that the emulator still has in its log; return how many.

    Rows of kind ``publish``: ``start_ns`` when it came in, ``end_ns`` when it was answered, ``ok`` whether
    it was accepted, ``value`` the status answered.

    Raises
    ------
    PubNubControlError
        The emulator can't be reached.
    ValueError
        The target has none.
    """
    target = system.target
    if target.pubnub_control_url is None or target.pubnub_control_token is None:
        raise ValueError("the target has no PubNub emulator: STORMWATCH_PUBNUB_CONTROL_URL is not set")
    control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
    count = 0
    for entry in control.log(operation="publish"):
        history.append(_row(entry, _heard(system, entry.message)))
        count += 1
    history.flush()
    return count


def _heard(system: System, message: str | None) -> Heard | None:
    """Return what a message would have told its players; None: it can't be read."""
    with suppress(ValueError, RecursionError):  # unreadable, or so long that the log has its beginning only
        return system.read(json.loads(message or ""))
    return None


def _row(entry: LoggedRequest, heard: Heard | None) -> Row:
    return Row(
        "publish",
        Publish.ATTEMPT,
        Actor.PUBNUB,
        game=heard.item if heard else None,
        event=heard.event if heard else None,
        start_ns=entry.received_ns,
        end_ns=entry.answered_ns,
        ok=entry.effect,
        error=None if entry.effect else f"http {entry.status}" if entry.status else entry.outcome,
        value=entry.status,
    )
