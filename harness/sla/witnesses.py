"""Who can tell what happened in a run. A doubt about a witness makes inconclusive whatever rests on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Witness(StrEnum):
    """Something that a figure rests on. The value stands in run.json and report.json."""

    #: The run as a whole: its windows, its end. Every row rests on it.
    RUN = "run"
    #: The harness's proxies and emulators between the parts. Every row rests on them, and with them in doubt
    #: what did not arrive proves nothing.
    PATHS = "paths"
    #: The record of cron's ticks.
    CRON = "cron"
    #: That ticks leave when they are due.
    SCHEDULE = "schedule"
    #: The record of what players and hosts asked and were answered: the load's processes.
    PLAYERS = "players"
    #: The record of what subscribers heard.
    SUBSCRIBERS = "subscribers"
    #: That what subscribers hear can be read, and belongs to what was made.
    MESSAGES = "messages"
    #: The reader of the database: transitions, trigger times, the outbox.
    DATABASE = "database"
    #: That what it reads tells how long triggers take.
    TRIGGERS = "triggers"
    #: The record of health probes.
    HEALTH = "health"
    #: The log of attempts to publish.
    PUBLISH_LOG = "publish log"
    #: CPU of the load generator and of the observers.
    CPU = "cpu"
    #: Event loops of the same: how late they stamp.
    LOOP = "loop"
    #: Their wall clocks: that they don't jump.
    OWN_CLOCK = "own clock"
    #: Clocks of others, against the master's: the database's, PubNub's, those of processes with subscribers.
    DATABASE_CLOCK = "database clock"
    PUBNUB_CLOCK = "pubnub clock"
    SUBSCRIBERS_CLOCK = "subscribers clock"
    #: The failure scenarios' results.
    SCENARIOS = "scenarios"


#: Every figure rests on these, so they need not be declared.
ALWAYS: Final = frozenset({Witness.RUN, Witness.PATHS})

_OWN: Final = frozenset({Witness.CPU, Witness.LOOP, Witness.OWN_CLOCK})

#: Record -> what its times rest on besides: who stamps them. The database stamps its own.
STAMPED: Final = {
    Witness.CRON: _OWN | {Witness.SCHEDULE},
    Witness.PLAYERS: _OWN,
    Witness.HEALTH: _OWN,
    Witness.SUBSCRIBERS: _OWN | {Witness.SUBSCRIBERS_CLOCK},
}


def rests_on(*witnesses: Witness, timed: bool = False) -> frozenset[Witness]:
    """Return all that a figure rests on.

    Parameters
    ----------
    witnesses : whose record it reads, and which clocks of others it compares with ours.
    timed : whether its values are durations: it rests on whoever stamps them, too.

    Raises
    ------
    TypeError
        There are none.
    """
    if not witnesses:
        raise TypeError("no witness is declared: say whose record it rests on")
    stamped = [STAMPED.get(witness, frozenset()) for witness in witnesses] if timed else []
    return ALWAYS.union(witnesses, *stamped)
