"""Whose record each kind of row is, and what a run that does without a witness can't be judged by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from harness.history import Kind, Witness
from harness.history.names import Publish, Way

#: Kind of row (of ``publish`` the name) -> whose record it is. What faults and operators write has none.
WITNESSES_OF: Final[Mapping[Kind | Publish, frozenset[Witness]]] = {
    "monitor": frozenset({Witness.CRON}),
    "http": frozenset({Witness.PLAYERS}),
    "timer": frozenset({Witness.PLAYERS, Witness.DATABASE}),
    "transition": frozenset({Witness.DATABASE}),
    "trigger": frozenset({Witness.DATABASE}),
    "publish": frozenset({Witness.DATABASE}),
    Publish.OUTBOX: frozenset({Witness.DATABASE}),
    Publish.ATTEMPT: frozenset({Witness.PUBLISH_LOG}),
    "delivery": frozenset({Witness.SUBSCRIBERS, Witness.MESSAGES}),
    "health": frozenset({Witness.HEALTH}),
}

#: What may be missing in a record that is there: one of them is enough for whatever rests on it.
_PARTS: Final = frozenset({Witness.TRIGGERS, Witness.PUBNUB_CLOCK})

_RECORDS: Final = frozenset[Witness]().union(*WITNESSES_OF.values())


def unused_clocks(ways: Collection[str]) -> dict[Witness, str]:
    """Return the clocks by which nothing is stamped, and why.

    Parameters
    ----------
    ways : in which players listen; none: it is not told.
    """
    if not ways or Way.PUBNUB in ways:
        return {}
    return {Witness.PUBNUB_CLOCK: f"players listen over {' and '.join(sorted(ways))}, and not on PubNub"}


def without(rests_on: Collection[Witness], absent: Mapping[Witness, str]) -> str | None:
    """Return why what it rests on is not there, by choice; None: enough of it is.

    One record of several is enough; each part of a record is needed.
    """
    for part in sorted(_PARTS & frozenset(rests_on) & absent.keys()):
        return absent[part]
    records = _RECORDS & frozenset(rests_on)
    if not records or not records <= absent.keys():
        return None
    return "; ".join(dict.fromkeys(absent[witness] for witness in sorted(records)))
