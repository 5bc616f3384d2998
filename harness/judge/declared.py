"""What objectives and integrity rows rest on, declared beside each check.

A doubt about a witness makes inconclusive whatever rests on it. A check can't be registered without its
witnesses, and no list of objectives is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from harness.history.names import Kind
from harness.history.witnesses import Witness

#: Every row rests on these; so they need not be declared.
ALWAYS: Final = frozenset({Witness.RUN, Witness.PATHS})

_OWN: Final = frozenset({Witness.CPU, Witness.LOOP, Witness.OWN_CLOCK})

#: Record -> what its times rest on besides: who stamps them. What the database stamps, it stamps itself.
STAMPED: Final = {
    Witness.CRON: _OWN | {Witness.SCHEDULE},
    Witness.PLAYERS: _OWN,
    Witness.HEALTH: _OWN,
    Witness.SUBSCRIBERS: _OWN | {Witness.SUBSCRIBERS_CLOCK},
}

#: Kind of row -> whose record it is. Those that whoever breaks and waits writes itself need none.
WITNESSES_OF: Final[Mapping[Kind, frozenset[Witness]]] = {
    "monitor": frozenset({Witness.CRON}),
    "http": frozenset({Witness.PLAYERS}),
    "transition": frozenset({Witness.DATABASE}),
    "trigger": frozenset({Witness.DATABASE}),
    "publish": frozenset({Witness.DATABASE}),
    "delivery": frozenset({Witness.SUBSCRIBERS, Witness.MESSAGES}),
    "health": frozenset({Witness.HEALTH}),
}

_RECORDS: Final = frozenset[Witness]().union(*WITNESSES_OF.values())


def without(rests_on: Collection[Witness], absent: Mapping[Witness, str]) -> str | None:
    """Return why none of the records that it rests on is there, by choice; None: one is there."""
    records = _RECORDS & frozenset(rests_on)
    if not records or not records <= absent.keys():
        return None
    return "; ".join(dict.fromkeys(absent[witness] for witness in sorted(records)))


def rests_on(name: str, witnesses: Collection[Witness], *, timed: bool = False) -> frozenset[Witness]:
    """Return all that ``name`` rests on, given what it declares.

    Parameters
    ----------
    witnesses : whose record it reads, and which clocks it compares.
    timed : whether its values are durations: it rests on whoever stamps them, too.

    Raises
    ------
    TypeError
        It declares none.
    """
    if not witnesses:
        raise TypeError(f"{name} declares no witness: say whose record it rests on")
    stamped = [STAMPED.get(witness, frozenset()) for witness in witnesses] if timed else []
    return ALWAYS.union(witnesses, *stamped)
