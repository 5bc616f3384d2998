"""What a system may have besides: each is declared by being there, as a class that has its methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.history.names import Reading, Timer
from harness.history.row import Row, unix_ns
from harness.system.base import Item, Session
from harness.system.listeners import Listener
from harness.system.statements import Statements


@dataclass(frozen=True)
class Seen:
    """What a look at an item through the API tells.

    Parameters
    ----------
    item : its id.
    state : the state that it is in.
    due_at : when the timer of its state ends; None: none runs, or the API does not tell.
    entered_at : since when it is in its state; None: the API does not tell.
    now : the time by the system's clock when it answered; None: the API does not tell. Without it, the times
        above count as times by the harness's clock.
    """

    item: str
    state: str
    due_at: datetime | None = None
    entered_at: datetime | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("due_at", "entered_at", "now"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} of {self.item} has no time zone")


@runtime_checkable
class OnPubNub(Protocol):
    """Players listen on PubNub, each with a client of its own."""

    def channel(self, item: str, player: str) -> str:
        """Return the channel on which ``player`` hears of ``item``."""


@runtime_checkable
class HasListener(Protocol):
    """Players listen in ways that the system's file chooses."""

    def listener(self, item: str, player: str, headers: Mapping[str, str]) -> Listener:
        """Return how ``player`` listens to ``item``; ``headers`` are those of its calls."""


@runtime_checkable
class Acts(Protocol):
    """Players of the system do something while an item is under way."""

    def act(self, session: Session, item: Item, player: str) -> None:
        """Do what ``player`` does; runs beside the others, and ends with the item."""


@dataclass(frozen=True)
class TimeLeft:
    """What an answer of the timer call tells.

    Parameters
    ----------
    state : the state that the item is in.
    left_s : for how many seconds more; None: no timer runs, or it does not tell.
    ends_at : when the timer ends, by the system's clock; None: no timer runs, or it does not tell.
    """

    state: str
    left_s: float | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.left_s is not None and math.isnan(self.left_s):
            raise ValueError("left_s is not a number")
        if self.ends_at is not None and self.ends_at.tzinfo is None:
            raise ValueError("ends_at has no time zone")

    def row(self, item: str, player: str, asked_ns: int, told_ns: int) -> Row:
        """Return the ``timer`` row of it, asked for and told by our clock."""
        return Row(
            "timer",
            Timer.TOLD,
            player,
            game=item,
            intended_ns=unix_ns(self.ends_at),
            start_ns=asked_ns,
            end_ns=told_ns,
            ok=True,
            value=self.left_s,
            target=self.state,
        )


@runtime_checkable
class HasTimer(Protocol):
    """Players can ask how much time is left."""

    def ask_timer(self, session: Session, item: Item, player: str) -> TimeLeft | None:
        """Ask; return what the answer tells, None where it could not be had.

        It is compared with the truth where the witness tells when timers end (``ends_at`` of moves).
        """


@dataclass(frozen=True)
class Call:
    """A call over HTTP."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = None


@runtime_checkable
class Looks(Protocol):
    """The API tells the states of items, of one at a time: for an ``ApiWitness``."""

    def look(self, item: str) -> Call:
        """Return the call that tells the state of an item."""

    def seen(self, body: Any) -> Iterable[Seen]:
        """Return what the body of its answer tells."""


@runtime_checkable
class LooksAtAll(Protocol):
    """The API tells the states of all items at once: for an ``ApiWitness``."""

    def look_at_all(self) -> Call:
        """Return the call that tells the states of all items; other runs' may be among them."""

    def seen(self, body: Any) -> Iterable[Seen]:
        """Return what the body of its answer tells."""


@dataclass(frozen=True)
class Ticked:
    """What a tick's answer says.

    Parameters
    ----------
    moved : how many items it moved; None: it does not tell.
    skipped : whether it left the work to another one.
    took_ms : how long it says that it took.
    error : what is wrong with it, short and stable.
    """

    moved: float | None = None
    skipped: bool = False
    took_ms: float | None = None
    error: str | None = None


@runtime_checkable
class Ticks(Protocol):
    """Timers are moved by a call that cron makes. A system without it ticks by itself."""

    def tick(self) -> Call:
        """Return the call."""

    def ticked(self, body: Any) -> Ticked:
        """Return what the body of its answer says."""


@runtime_checkable
class HasHealth(Protocol):
    """The system tells whether it is well."""

    def health(self) -> Call:
        """Return the call that asks; it changes nothing."""

    def ill(self, status: int, body: Any) -> str | None:
        """Return the parts that its answer calls ill (``database,pubnub``); None: all is well.

        Raises
        ------
        Unreadable
            The answer says nothing of its health.
        """


def told_ill(system: HasHealth, status: int, body: Any) -> str | None:
    """Return what ``ill`` of ``system`` says.

    Raises
    ------
    Unreadable
        It says so.
    TypeError
        It returns neither None nor a text.
    """
    told = system.ill(status, body)
    if told is not None and not (isinstance(told, str) and told):
        raise TypeError(f"return None where all is well, else the parts as a text, not {told!r}")
    return told


@runtime_checkable
class HasMetrics(Protocol):
    """Each process of the system shows readings, as Prometheus has them."""

    #: Name of a metric -> which reading it is.
    readings: ClassVar[Mapping[str, Reading]]

    def metrics(self) -> Call:
        """Return the call that asks a process for them."""


@runtime_checkable
class HasAlerts(Protocol):
    """The system tells which of its alerts are raised."""

    def alerts(self) -> Call:
        """Return the call that asks; it changes nothing."""

    def raised(self, body: Any) -> Iterable[str]:
        """Return the names of the alerts that the body of its answer tells to be raised.

        Raises
        ------
        Unreadable
            The answer says nothing of alerts.
        """


@runtime_checkable
class UsesPool(Protocol):
    """All connections of a process's pool can be used at once; its metrics tell how many it has at most."""

    #: A table that the call reads, and that is locked for a moment meanwhile.
    pool_table: ClassVar[str]

    def use_pool(self) -> Call:
        """Return a call that reads the table in a statement of its own, and changes nothing."""


@dataclass(frozen=True)
class SqlCleaning(Statements):
    """Statements that remove what runs have made, and find what they have left, in the system's database.

    Parameters
    ----------
    clean : removes the items whose marks begin with ``$1`` and all that belongs to them; one row, a count for
        each kind of thing that there was: ``lots, bids``.
    leftovers : what is there with a mark that matches the pattern ``$1``, a row for each run, the oldest
        first: ``prefix`` (``substring(mark from $1)``), ``newest`` (when the last of it was made), counts.
    """

    clean: str
    leftovers: str | None = None


@runtime_checkable
class HasCleaning(Protocol):
    """What runs have made can be removed in the system's database."""

    cleaning: ClassVar[SqlCleaning]


@runtime_checkable
class CleansUp(Protocol):
    """What runs have made can be removed over the system's API."""

    def clean_up(self, session: Session, prefix: str) -> Mapping[str, int]:
        """Remove the items whose marks begin with ``prefix``; return how many there were, by kind.

        Raises
        ------
        Refused
            The system refuses.
        """


@runtime_checkable
class FindsLeftovers(Protocol):
    """What runs have left can be found over the system's API."""

    def leftovers(self, session: Session) -> Iterable[tuple[str, datetime]]:
        """Return the mark of each item that a run may have made, and when it was made.

        Raises
        ------
        Refused
            The system refuses.
        """


@runtime_checkable
class Broadcasts(Protocol):
    """An event can be sent to the players of an item by a call."""

    #: The name that ``read`` gives its message.
    broadcast_name: ClassVar[str]

    def broadcast(self, item: str) -> Call:
        """Return the call; its event changes nothing, and nobody but the item's players hears of it."""


@runtime_checkable
class HasMigrations(Protocol):
    """Its database's functions and triggers are made by migrations, with which they can be compared."""

    #: A folder of ``.sql`` files, applied in the order of their names.
    migrations: ClassVar[Path]


@runtime_checkable
class HasSecrets(Protocol):
    """Some calls need a secret, and whoever lacks it is to be kept out."""

    def guarded(self, mark: str) -> Sequence[Call]:
        """Return calls that need a secret: their headers hold secrets and nothing else.

        Each secret is also tried on calls of the others. Should one be let in, it is to do as little as it
        can; ids of what it makes begin with ``mark``.
        """

    def made(self, mark: str) -> Call:
        """Return the call that lists what bears ``mark``, with the right secret: the body is a list."""
