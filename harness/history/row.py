"""One row of a history, as whoever writes it makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from harness.history.names import Kind

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_NS: Final = 2**63 - 1
#: Making an encoder takes as long as a message to encode.
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Row(NamedTuple):
    """One thing that happened.

    Times are Unix nanoseconds on the writer's clock. Latencies run from ``intended_ns`` where there
    is one, so that a late driver or a stalled service hides nothing.
    """

    #: What happened, in one word:
    kind: Kind
    #: The operation within its kind; readings carry their unit in it (``service.rss_bytes``).
    name: str
    #: Who wrote it: ``cron``, ``player-3``, ``database``, ``fault`` ...
    actor: str
    #: Id of the item (game, lot).
    game: str | None = None
    #: Unique id of the event (or of the fault).
    event: str | None = None
    #: The event's number within its game, from 1.
    seq: int | None = None
    #: When it should have happened: a tick's schedule, a phase's expiry.
    intended_ns: int | None = None
    #: When it began.
    start_ns: int | None = None
    #: When it ended, or when it happened.
    end_ns: int | None = None
    #: None: the outcome is unknown (a commit whose answer was lost).
    ok: bool | None = None
    #: Short and stable, so that it can be counted: ``http 503``, ``timeout``.
    error: str | None = None
    #: A reading, or a size, in the unit of its name.
    value: float | None = None
    #: Of a fault: what is broken (``network``, ``service-pubnub``); its ``name`` is how (``down``). Of a
    #: subscription: the way in which the player listens (``PubNub``, ``WebSocket``).
    place: str | None = None
    #: Of a message and of an answer of the timer call: the state that it tells of.
    target: str | None = None
    #: What a message told of a move, or the witness knows of it: JSON by :func:`canonical`. A message that
    #: tells the same again has none.
    said: str | None = None


def canonical(fields: Mapping[str, Any]) -> str:
    """Return fields as JSON, the same text for the same fields.

    Raises
    ------
    TypeError, ValueError, RecursionError
        They are none that JSON has.
    """
    return _CANONICAL.encode(fields)


def unix_ns(moment: datetime | None) -> int | None:
    """Return Unix ns of a ``timestamptz``, exactly (it counts microseconds); at most what a row can hold."""
    if moment is None:
        return None
    return max(-_LAST_NS, min((moment - _EPOCH) // _MICROSECOND * 1000, _LAST_NS))
