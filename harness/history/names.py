"""Names of what a history holds. Whoever writes a row and whoever judges it take them from here.

The values stand in histories on disk: a changed one makes earlier runs unreadable to the checks.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Literal, NamedTuple, get_args

#: Kinds of rows.
Kind = Literal[
    "monitor", "transition", "trigger", "publish", "delivery", "timer", "http", "health", "fault", "alert",
    "resource",
]  # fmt: skip

KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))


class Actor(StrEnum):
    """Who wrote a row, or whose reading it is. Players, workers and processes have names of their own."""

    CRON = "cron"
    LOAD = "load"
    PROBER = "prober"
    DATABASE = "database"
    PUBNUB = "pubnub"
    MACHINE = "machine"
    FAULT = "fault"
    #: Who does what is done by hand.
    OPERATOR = "operator"


class FaultName(NamedTuple):
    """What a ``fault`` row is about, in columns of their own: ``network``, ``down``, ``service-pubnub``."""

    place: str
    name: str
    #: Empty: the place has only one.
    target: str

    def __str__(self) -> str:
        return f"{self.place}:{self.name} {self.target}".strip()

    @classmethod
    def parse(cls, text: str) -> FaultName:
        """Read what ``str`` made: ``network:down service-pubnub``."""
        kind, _, target = text.partition(" ")
        place, _, name = kind.partition(":")
        return cls(place, name, target)


#: Actor of concurrent ticks; where there are several replicas, the proxy of the one that was called follows.
CONCURRENT: Final = "concurrent"
#: Begin of the actors of unauthorised calls; the way in that was tried follows.
UNAUTHORISED: Final = "stranger: "


class Tick(StrEnum):
    """Names of ``monitor`` rows."""

    TICK = "tick"
    #: A tick that found another one running.
    SKIP = "skip"
    #: How long the service says that it took.
    EXECUTION = "execution_ms"


class Transition(StrEnum):
    """Names of ``transition`` rows that are no moves; a move is called by :func:`move`."""

    #: A game found past due and not moved.
    OVERDUE = "overdue"


class Timer(StrEnum):
    """Names of ``timer`` rows: ``target`` is the state, ``intended_ns`` its end by the system's clock."""

    #: The witness: a move set it.
    SET = "set"
    #: An answer to a player, asked for at ``start_ns``, there at ``end_ns``; ``value`` is what is left, in s.
    TOLD = "told"


#: Between the two phases of a move.
ARROW: Final = "->"


def move(before: str, after: str) -> str:
    """Return the name of the ``transition`` row of a move between two phases."""
    return f"{before}{ARROW}{after}"


class Publish(StrEnum):
    """Names of ``publish`` rows."""

    #: An event of the outbox, with what became of it.
    OUTBOX = "outbox"
    #: A single attempt, as PubNub's emulator saw it.
    ATTEMPT = "attempt"
    #: A dead letter that the operator found, and one that was sent after all.
    DEAD_LETTER = "dead letter"
    REPLAYED = "replayed"
    #: A message of a flood: ``start_ns`` is PubNub's timetoken.
    FLOOD = "flood"


class Delivery(StrEnum):
    """Names of ``delivery`` rows. Messages are called by their type."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    #: A message that nobody could read.
    UNREADABLE = "unreadable"


class Way(StrEnum):
    """How a player listens: the place of its subscription. Listeners of a system's own have other names."""

    PUBNUB = "PubNub"
    WEBSOCKET = "WebSocket"
    EVENTS = "server-sent events"


class Reading(StrEnum):
    """Names of ``resource`` rows, with their unit."""

    CPU = "cpu_percent"
    STEAL = "steal_percent"
    LOAD_AVERAGE = "load_average"
    RSS = "rss_bytes"
    OPEN_FILES = "open_files"
    #: The worst lag of an event loop since the last reading.
    LOOP_LAG = "loop_lag_ms"
    #: How far the wall clock is ahead of the monotonic one.
    WALL_CLOCK = "wall_minus_monotonic_ms"
    #: By how much the actor's clock is ahead, and how well that is known.
    CLOCK_OFFSET = "clock_offset_ms"
    CLOCK_BOUND = "clock_error_bound_ms"
    USERS = "users"
    OUTBOX_DEPTH = "outbox_depth"
    OUTBOX_AGE = "outbox_age_s"
    SESSIONS = "service_sessions"
    POOL_IN_USE = "pool_in_use"
    POOL_SIZE = "pool_size"
    #: How many statements a pool served at once when all of it was used.
    POOL_SERVED = "pool_served_at_once"
    BREAKER = "breaker_state"
    #: Counters of a process: ticks that it ran, messages that it published, attempts of it that failed.
    EXECUTIONS = "executions"
    PUBLISHED = "published"
    PUBLISH_FAILURES = "publish_failures"
    HTTP_CONNECTIONS = "http_connections"
    #: Games of others than this run that are overdue.
    OTHERS_OVERDUE = "others_overdue"
    #: How long a step of a rollback or of a restoration took; the actor is the step.
    STEP = "step_s"
    #: The database was lost at ``start_ns``, and back from a backup at ``end_ns``.
    DATABASE_LOST = "database_lost"
    #: What a database that came back from a backup still has: a move (with its ``game``), or an event.
    #: ``start_ns`` is when it was made, ``end_ns`` when it was committed, both by the database's clock.
    SURVIVED = "survived_loss"
    #: Rows that unauthorised calls made.
    MADE_UNAUTHORISED = "made_by_strangers"
    #: How often secrets stand in a file; the actor is the file.
    SECRETS = "secrets_found"
    #: How often the actor lacked what ``error`` says.
    SHORTAGE = "shortage"
    #: How many rows of a writer can't be encoded, and so are missing.
    ROWS_DROPPED = "rows_dropped"


class Shortage(StrEnum):
    """Errors of calls and readings that the harness itself caused: what its processes ran out of."""

    FILES = "out of open files"
    PORTS = "out of local ports"
    MEMORY = "out of memory"
    #: Connections came faster than they were accepted; the kernel dropped some.
    QUEUE = "out of room for new connections"


#: The error of a tick whose answer tells of games that it could not move.
TICK_ERRORS: Final = "tick errors"

#: The error of a move whose event can't be known: events of its system have no ids, and an item may enter the
#: state more than once.
AMBIGUOUS: Final = "which event tells of it can't be known"

#: Between an error and the first example of it, in the ``error`` of the row that has one.
AS_IN: Final = ", as in "


class Writer(StrEnum):
    """Processes that write a history file, by the first part of its name."""

    CRON = "cron"
    #: The load's own process; workers have numbers (:func:`load_writer`).
    LOAD = "load"
    #: Reads the database and health, and samples processes.
    WATCH = "observer-watch"


#: Writers on a worker's machine, and those with subscribers: the group is their number, from 1.
WORKER: Final = re.compile(r"load-(\d+)")
OBSERVER: Final = re.compile(r"observer-(\d+)")


def load_writer(worker: int) -> str:
    """Return the writer of a worker's load."""
    return f"{Writer.LOAD}-{worker}"


def observer_writer(number: int) -> str:
    """Return the writer of a process with subscribers."""
    return f"observer-{number}"
