"""What PubNub's emulator received of the service: every single attempt to publish, whatever became of it."""

from __future__ import annotations

import re
from typing import Final

from harness.history import HistoryWriter, Row
from harness.history.names import Actor, Publish
from harness.stack.pubnub_control import LoggedRequest, PubNubControl
from harness.target import Target

_EVENT: Final = re.compile(r'"eventId":\s*"([^"]+)"')
_GAME_CHANNEL: Final = "game-"


def record_attempts(target: Target, history: HistoryWriter) -> int:
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
    if target.pubnub_control_url is None or target.pubnub_control_token is None:
        raise ValueError("the target has no PubNub emulator: STORMWATCH_PUBNUB_CONTROL_URL is not set")
    control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
    count = 0
    for entry in control.log(operation="publish"):
        history.append(_row(entry))
        count += 1
    history.flush()
    return count


def _row(entry: LoggedRequest) -> Row:
    found = _EVENT.search(entry.message or "")
    channel = entry.channels[0] if entry.channels else ""
    return Row(
        "publish",
        Publish.ATTEMPT,
        Actor.PUBNUB,
        game=channel.removeprefix(_GAME_CHANNEL) if channel.startswith(_GAME_CHANNEL) else None,
        event=found.group(1) if found else None,
        start_ns=entry.received_ns,
        end_ns=entry.answered_ns,
        ok=entry.effect,
        error=None if entry.effect else f"http {entry.status}" if entry.status else entry.outcome,
        value=entry.status,
    )
