"""One item of the system under test (a game, a lot) as its players go through it, to its end."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Unpack

import gevent
from gevent.event import Event
from gevent.pool import Group

from harness.history import now_ns
from harness.history.names import Actor
from harness.load.api import Api
from harness.load_options import LoadOptions
from harness.system import Acts, Broadcasts, CallOptions, HasTimer, Refused, System, SystemFileError
from harness.system.find import step_of
from harness.system.session import Insisting
from harness.target.client import Answer

log = logging.getLogger(__name__)


class GivenTwice(ValueError):
    """Two items were given the same id."""


class Listens(Protocol):
    """Has players listen, as :class:`harness.load.subscribers.Subscribers` does."""

    def subscribe(
        self, game: str, players: Mapping[str, Mapping[str, str]], on_phase: Callable[[str], None]
    ) -> int: ...

    def over(self, game: str) -> None: ...


class ItemRun(Protocol):
    """What an item needs of the run that it is played in: a worker's, or a first trial."""

    @property
    def options(self) -> LoadOptions: ...

    @property
    def system(self) -> System: ...

    @property
    def subscribers(self) -> Listens: ...

    @property
    def draining(self) -> Event: ...

    def item_id(self, slot: str, number: int) -> str: ...

    def first_known(self, id: str, mark: str) -> bool: ...

    def chance(self, *of: object) -> random.Random: ...


class PlayedItem:
    """An item, whoever starts it, and its players.

    Attributes
    ----------
    mark : its name, unique in all runs.
    id : the server's, once that is known; the mark until then.
    host, players : who starts it, and who takes part.
    lengths : state -> how long its timer is to run, in seconds.
    chance : its dice, the same for the same seed.
    started : whether its first timer runs.
    """

    def __init__(self, worker_run: ItemRun, api: Api, slot: str, number: int) -> None:
        options = worker_run.options
        self.mark = self.id = worker_run.item_id(slot, number)
        self.host = f"host-{slot}"
        self.players: Sequence[str] = [f"player-{n + 1}" for n in range(options.players)]
        self.lengths: Mapping[str, float] = options.lengths
        self.chance: random.Random = worker_run.chance(slot, number)
        self.started = False
        self._over = Event()
        self._system = worker_run.system
        self._lifecycle = worker_run.system.lifecycle
        self._worker_run = worker_run
        self._sync_s = options.sync_s
        self._state = self._lifecycle.begins
        self._reached = {state: Event() for state in self._lifecycle.states}
        self._api = api
        self._session = ItemSession(self, api, worker_run)
        self._listening = False
        #: Actor -> headers of its own.
        self._signed_in: dict[str, Mapping[str, str]] = {}
        self._greenlets = Group()

    def __str__(self) -> str:
        return self.id

    def start(self) -> None:
        """Create it and get its first timer to run; from its first event on, all players listen.

        Raises
        ------
        Refused
            The system refuses a step for good.
        SystemFileError
            A step of the system's file goes wrong by itself.
        """
        with step_of(self._system, "start", Refused):
            self._system.start(self._session, self)
        self.listen()
        self.started = True

    def known_as(self, id: str) -> None:
        """Take the id that the server gave it."""
        if not (isinstance(id, str) and id):
            raise TypeError(f"known_as takes the id that the server gave, not {id!r}")
        if self._listening:
            raise RuntimeError("known_as comes before listen: players listen to an id")
        if not self._worker_run.first_known(id, self.mark):
            raise GivenTwice(
                f"two items have the id {id!r}: take from the answer what tells one item from another"
            )
        self.id = id

    def sign_in(self, actor: str, headers: Mapping[str, str]) -> None:
        """Give ``actor`` headers of its own."""
        self._signed_in[actor] = headers

    def headers_of(self, actor: str) -> dict[str, str]:
        """Return the headers of an actor's calls."""
        with step_of(self._system, "user"):
            return {**self._system.user(actor), **self._signed_in.get(actor, {})}

    def listen(self) -> None:
        """Have every player listen, before the first event can be sent."""
        if not self._listening:
            self._listening = True
            headers = {player: self.headers_of(player) for player in self.players}
            self._worker_run.subscribers.subscribe(self.id, headers, self._reach)

    def broadcast(self) -> None:
        """Have an event sent to its players by hand, where the system has a call for that."""
        if not isinstance(self._system, Broadcasts):
            return
        with step_of(self._system, "broadcast"):
            call = self._system.broadcast(self.id)
        self._session.call(call.method, call.path, call.body, actor=Actor.OPERATOR, headers=call.headers)

    def play(self) -> None:
        """The players follow the timer and do what they do, until the item is over."""
        started_ns = now_ns()
        for player in self.players:
            if isinstance(self._system, HasTimer):
                offset_s = self.chance.uniform(0, self._sync_s)
                self._greenlets.spawn(
                    self._follow_timer, self._system, player, started_ns + round(offset_s * 1e9)
                )
            if isinstance(self._system, Acts):
                self._greenlets.spawn(self._act, self._system, player)
        self._over.wait()

    def leave(self) -> None:
        """Stop all that still goes on for this item; its players listen on for what is late."""
        self._over.set()
        self._greenlets.kill(block=False)
        self._worker_run.subscribers.over(self.id)

    def wait_for(self, state: str) -> bool:
        """Wait until a player knows that it is in ``state``; return False if it is over."""
        gevent.wait([self._reached[state], self._over], count=1)
        return not self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long; return whether it is over."""
        return bool(self._over.wait(timeout=seconds))

    def _act(self, system: Acts, player: str) -> None:
        try:
            with step_of(self._system, "act", Refused):
                system.act(self._session, self, player)
        except (Refused, SystemFileError) as error:
            log.warning("%s: %s", self.id, error)

    def _follow_timer(self, system: HasTimer, player: str, due_ns: int) -> None:
        """Ask for the timer on schedule, whether or not the last answer came (an open loop)."""
        every_ns = round(self._sync_s * 1e9)
        while not self._over.wait(timeout=max(0.0, (due_ns - now_ns()) / 1e9)):
            self._greenlets.spawn(self._ask_timer, system, player, due_ns)
            due_ns += every_ns

    def _ask_timer(self, system: HasTimer, player: str, due_ns: int) -> None:
        asked_ns = now_ns()
        try:
            with step_of(self._system, "ask_timer", Refused):
                told = system.ask_timer(self._session.due(due_ns), self, player)
                row = None if told is None else told.row(self.id, player, asked_ns, now_ns())
        except (Refused, SystemFileError) as error:
            log.warning("%s: %s", self.id, error)
            return
        if told is not None and row is not None:
            self._api.note(row)
            self._reach(told.state)

    def _reach(self, state: str) -> None:
        """Note that a player knows of ``state``, from its event or from the timer, whichever came first."""
        if state in self._lifecycle.ends:
            self._over.set()
        elif state in self._lifecycle.later[self._state]:
            self._state = state
            self._reached[state].set()


class ItemSession(Insisting):
    """Calls of one item's players; see :class:`harness.system.Session`."""

    def __init__(
        self, item: PlayedItem, api: Api, worker_run: ItemRun, intended_ns: int | None = None
    ) -> None:
        super().__init__(item.chance, worker_run.draining.is_set)
        self._item = item
        self._api = api
        self._worker_run = worker_run
        self._intended_ns = intended_ns

    def due(self, intended_ns: int) -> ItemSession:
        """Return a session whose calls were due at ``intended_ns``."""
        return ItemSession(self._item, self._api, self._worker_run, intended_ns)

    def call(
        self, method: str, path: str, body: Any = None, *, actor: str, **options: Unpack[CallOptions]
    ) -> Answer:
        """Call once, for ``actor``."""
        options["headers"] = {**self._item.headers_of(actor), **options.get("headers", {})}
        return self._api.call(
            method,
            path,
            body,
            actor=actor,
            game=self._item.id,
            intended_ns=self._intended_ns,
            **options,
        )
