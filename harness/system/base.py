"""What a system under test is: how its items are driven, how players hear of them, who tells the truth.

One class, a subclass of :class:`System`. What it must have is abstract; everything else is optional and
declared by being there (:mod:`harness.system.optional`): a class that has the methods is driven by them.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, TypedDict, Unpack

from harness.documents.words import Words
from harness.system.levers import levers_of
from harness.system.lifecycle import Lifecycle
from harness.system.processes import Part
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

    def __str__(self) -> str:
        """Return its id, so that a path may have the item in it."""

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
    #: How often it ticks where nobody calls for its ticks (`"1s"`): timers are late by so much. None: as the
    #: load's `--tick` says.
    ticks_every: ClassVar[str | None] = None
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


__all__ = [
    "Answer",
    "CallOptions",
    "Check",
    "Heard",
    "Item",
    "Refused",
    "Session",
    "System",
    "Unreadable",
    "Words",
]
