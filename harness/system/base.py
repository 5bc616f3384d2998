"""What a system under test is: how its items are driven, how players hear of them, who tells the truth.

One class, a subclass of :class:`System`. What it must have is abstract; everything else is optional and
declared by being there: a class that has the methods of one of the protocols below is driven by them.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypedDict, Unpack, runtime_checkable

from harness.documents.words import Words
from harness.history.names import Reading
from harness.system.levers import levers_of
from harness.system.lifecycle import Lifecycle
from harness.system.listeners import Listener
from harness.system.processes import Part
from harness.system.statements import Statements
from harness.system.witness import Witness, entry_of
from harness.target import Target
from harness.target.client import Answer, Check


class Unreadable(ValueError):
    """A message can't be read; the text says why, short and stable, so that it can be counted."""


@dataclass(frozen=True)
class Heard:
    """What a message says of an item.

    Parameters
    ----------
    item : id of the item.
    name : what kind of message it is.
    event : id of the event, the same each time that it is told; None: the system has none, and a move is
        known by its item and state.
    seq : number of the event within its item, from 1; None: the system has none, and moves are in the
        lifecycle's order.
    state : the state that the item is in since; None: it tells of no move.
    told : what it tells of the move besides, to be compared with the column ``told`` of the witness: fields
        of the same names, as JSON has them. Without that column nothing is compared.
    """

    item: str
    name: str
    event: str | None = None
    seq: int | None = None
    state: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


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


class CallOptions(TypedDict, total=False):
    """What a call may say besides whom it calls, and who does."""

    #: The path without ids, for the record; default: the path.
    route: str
    #: Besides those of the actor.
    headers: Mapping[str, str]
    #: The statuses that mean success; default: 200.
    expect: tuple[int, ...]
    #: Says what is wrong with the body of a success.
    check: Check | None
    #: Id of the event that players hear because of this call, as ``read`` tells it.
    event: str


class Session(Protocol):
    """Calls the system for one item. Each call is recorded; retries are the harness's."""

    def call(
        self, method: str, path: str, body: Any = None, *, actor: str, **options: Unpack[CallOptions]
    ) -> Answer:
        """Call once, for ``actor``."""

    def insist(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        actor: str,
        done: Callable[[], bool] | None = None,
        **options: Unpack[CallOptions],
    ) -> Answer:
        """Call until it is served, as clients do: a 5xx, a 429 and no answer are tried again, with pauses.

        Parameters
        ----------
        done : asked before each further attempt: whether an earlier one took effect, its answer lost. None: a
            conflict (409) on a later attempt tells so.

        Raises
        ------
        Refused
            The system says that the call itself is wrong (another 4xx), or the run is over.
        """


class Refused(Exception):
    """The system refused a step for good: this item can't be played."""


class Item(Protocol):
    """An item as its driver sees it."""

    #: The harness's name for it, unique in all runs: begins with the run's prefix. What is made bears it.
    mark: str
    #: Its id: the server's, once that is known; the mark until then.
    id: str
    #: Who starts it, and who takes part.
    host: str
    players: Sequence[str]
    #: State -> how long its timer is to run, in seconds.
    lengths: Mapping[str, float]
    #: Dice of its own, the same for the same seed.
    chance: random.Random

    def known_as(self, id: str) -> None:
        """Take the id that the server gave it, before anybody listens."""

    def sign_in(self, actor: str, headers: Mapping[str, str]) -> None:
        """Give ``actor`` headers of its own, a token: its later calls and its listening bear them."""

    def listen(self) -> None:
        """Have all players listen, before the first event can be sent. Default: after ``start``."""

    def wait_for(self, state: str) -> bool:
        """Wait until a player knows that the item is in ``state``; return False if it is over."""

    def wait(self, seconds: float) -> bool:
        """Wait so long; return whether the item is over."""


class System(ABC):
    """A system under test.

    Parameters
    ----------
    target : where it is, and its keys.
    """

    #: What it is called in ``run.json``.
    name: ClassVar[str]
    lifecycle: ClassVar[Lifecycle]
    #: The truth about moves.
    witness: ClassVar[Witness]
    #: What its items and those who take part are called: one of them, many.
    words: ClassVar[Words] = Words()
    #: Environment of its processes in which no timer is extended (by a grace period, by a late bid).
    without_extensions: ClassVar[Mapping[str, str]] = {}
    #: Environment in which each of its processes ticks by itself, each second; None: they can't.
    own_ticks: ClassVar[Mapping[str, str] | None] = None
    #: The parts that its health tells of, by the names that `ill` gives them.
    health_tells: ClassVar[frozenset[str]] = frozenset()
    #: Sessions that one of its processes may have at the database; None: that is not known.
    sessions: ClassVar[int | None] = None
    #: What a local stack has to have for its processes: Postgres, PubNub.
    needs: ClassVar[frozenset[Part]] = frozenset()
    #: The moves that players must hear of; None: all.
    announced: ClassVar[Collection[str] | None] = None

    def __init__(self, target: Target) -> None:
        self.target = target

    @classmethod
    def entry(cls, *, may_watch: bool) -> dict[str, Any]:
        """Return what ``run.json`` keeps of it, so that a run can be judged without the system's file.

        Parameters
        ----------
        may_watch : whether there is consent to a watch on its database.
        """
        return {
            "name": cls.name,
            "lifecycle": cls.lifecycle.entry(),
            "announced": None if cls.announced is None else sorted(cls.announced),
            "witness": entry_of(cls.witness, may_watch=may_watch),
            "words": asdict(cls.words),
            "silenced_by": [
                f"{kind.place}:{kind.name}"
                for kind in levers_of(cls).faults
                if getattr(kind, "silences", False)
            ],
        }

    def user(self, actor: str) -> Mapping[str, str]:
        """Return the headers of the calls of ``actor``: keys, or tokens of their own."""
        return self.target.keys

    @abstractmethod
    def start(self, session: Session, item: Item) -> None:
        """Create ``item``, under its mark, and get its first timer to run."""

    @abstractmethod
    def read(self, message: Any) -> Heard | None:
        """Return what a message says; None: it is none of ours.

        Raises
        ------
        Unreadable
            It can't be read.
        """


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


@runtime_checkable
class HasTimer(Protocol):
    """Players can ask how much time is left."""

    def ask_timer(self, session: Session, item: Item, player: str) -> str | None:
        """Ask; return the state that the answer tells, None where it could not be had."""


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


@runtime_checkable
class HasMetrics(Protocol):
    """Each process of the system shows readings, as Prometheus has them."""

    #: Name of a metric -> which reading it is.
    readings: ClassVar[Mapping[str, Reading]]

    def metrics(self) -> Call:
        """Return the call that asks a process for them."""


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
class HasSecrets(Protocol):
    """Some calls need a secret, and whoever lacks it is to be kept out."""

    def guarded(self, mark: str) -> Sequence[Call]:
        """Return calls that need a secret: their headers hold secrets and nothing else.

        Each secret is also tried on calls of the others. Should one be let in, it is to do as little as it
        can; ids of what it makes begin with ``mark``.
        """

    def made(self, mark: str) -> Call:
        """Return the call that lists what bears ``mark``, with the right secret: the body is a list."""


__all__ = [
    "Acts",
    "Answer",
    "Call",
    "CallOptions",
    "Check",
    "CleansUp",
    "FindsLeftovers",
    "HasCleaning",
    "HasHealth",
    "HasListener",
    "HasMetrics",
    "HasSecrets",
    "HasTimer",
    "Heard",
    "Item",
    "Looks",
    "LooksAtAll",
    "OnPubNub",
    "Refused",
    "Seen",
    "Session",
    "SqlCleaning",
    "System",
    "Ticked",
    "Ticks",
    "Unreadable",
    "Words",
]
