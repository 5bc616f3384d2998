"""A player: listens until it heard that its item is over, and records what it hears."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, Final

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import AS_IN, Delivery
from harness.history.row import canonical
from harness.system import Heard, Listener, System, SystemFileError, Unheard, Unreadable
from harness.system.find import step_of
from harness.target.errors import name_of

#: How long an item waits for its players to be connected before it goes on without them.
CONNECT_LIMIT_S: Final = 10.0
#: Pauses before a player comes back: doubled each time, and up to :data:`_CHANCE_S` more.
_AGAIN_FIRST_S: Final = 1.0
_AGAIN_LIMIT_S: Final = 5.0
_CHANCE_S: Final = 1.0

#: So much of a message that can't be read is written down.
_SHOWN: Final = 200
#: Characters of what a message may tell of a move.
_MOST_SAID: Final = 4096
#: What a message about another item than the player's is, in the history.
WRONG_ITEM: Final = "wrong item"


class Player:
    """One player of one item: the ear of its listener.

    Parameters
    ----------
    name : of the player, within its item.
    item : what it is to hear of.
    listener : its connection.
    """

    def __init__(
        self, name: str, item: HeardItem, system: System, listener: Listener, history: HistoryWriter
    ) -> None:
        self.name = name
        self.heard_the_end = asyncio.Event()
        self._item = item
        self._system = system
        # A witness that knows no ids has its moves by item and state.
        self._by_id = system.witness.tells_ids
        self._listener = listener
        self._history = history
        self._connected = asyncio.Event()
        self._trouble = "timeout"
        self._pause_s = _AGAIN_FIRST_S
        self._asked_ns = 0
        self._left = False
        self._listening: asyncio.Task[None] | None = None

    async def connect(self) -> bool:
        """Begin to listen; return whether it was connected within :data:`CONNECT_LIMIT_S`."""
        self._asked_ns = now_ns()
        self._listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self._connected.wait()
        except TimeoutError:
            self._record(Delivery.SUBSCRIBE, self._asked_ns, now_ns(), error=self._trouble)
            return False
        return True

    async def disconnect(self) -> None:
        """Stop listening and close its connection."""
        self._left = True
        at_ns = now_ns()
        self._record(Delivery.UNSUBSCRIBE, at_ns, at_ns)
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    def connected(self) -> None:
        """Note the first connection."""
        self._pause_s = _AGAIN_FIRST_S
        if not self._connected.is_set():
            self._record(Delivery.SUBSCRIBE, self._asked_ns, now_ns(), place=self._listener.way)
            self._connected.set()

    def hear(self, message: Any, accepted_ns: int | None = None) -> None:
        """Record what was heard, once for each time that it comes."""
        end_ns = now_ns()
        self._item.count()
        try:
            heard = self._read(message)
            said = _said(heard)
        except Unreadable as why:
            error = self._item.with_example(str(why), message)
            self._record(Delivery.UNREADABLE, accepted_ns, end_ns, error=error)
            return
        if heard is None:
            return
        ours = heard.item == self._item.id
        if not ours and self._listener.of_all:
            return
        event = heard.event if self._by_id or heard.state is None else None
        event = event or self._system.lifecycle.event_of(heard.item, heard.state)
        self._record(
            heard.name,
            accepted_ns,
            end_ns,
            event=event,
            seq=heard.seq,
            error=None if ours else WRONG_ITEM,
            target=heard.state,
            said=self._item.first_said(event, said),
        )
        if heard.state is not None and ours:
            self._item.heard(heard.state)
            if heard.state in self._system.lifecycle.ends:
                self.heard_the_end.set()

    def _read(self, message: Any) -> Heard | None:
        """Return what the system's file makes of a message; whatever goes wrong there, it can't be read."""
        try:
            with step_of(self._system, "read", Unreadable):
                heard = self._system.read(message)
                if heard is not None and not isinstance(heard, Heard):
                    raise TypeError(f"it returned {type(heard).__name__}, neither Heard nor None")
        except SystemFileError as error:
            raise Unreadable(str(error)) from error
        if heard is not None and heard.state is not None and heard.state not in self._system.lifecycle.states:
            raise Unreadable(f"the lifecycle has no state {heard.state!r}")
        return heard

    async def _listen(self) -> None:
        """Listen, and come back each time that the connection ends."""
        while not self._left:
            try:
                await self._listener.listen(self)
                self._trouble = "closed"
            except Exception as error:  # whatever the listener of a system's own raises
                self._trouble = str(error) if isinstance(error, Unheard) else name_of(error)
            pause_s = self._listener.again_s
            if pause_s is None:
                pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _AGAIN_LIMIT_S)
            await asyncio.sleep(pause_s + random.uniform(0, _CHANCE_S))  # noqa: S311 - nothing secret

    def _record(self, name: str, start_ns: int | None, end_ns: int, **columns: Any) -> None:
        ok = columns.get("error") is None
        self._history.append(
            Row(
                "delivery",
                name,
                self.name,
                game=self._item.id,
                start_ns=start_ns,
                end_ns=end_ns,
                ok=ok,
                **columns,
            )
        )


def _said(heard: Heard | None) -> str:
    """Return what a message tells of a move, to be compared; empty: nothing.

    Raises
    ------
    Unreadable
        It can't be: no JSON, or far more than anybody has to tell.
    """
    if heard is None or not heard.told:
        return ""
    try:
        said = canonical(heard.told)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"what it tells can't be compared: {type(error).__name__}") from error
    if len(said) > _MOST_SAID:
        raise Unreadable("what it tells is too long to be compared")
    return said


class HeardItem:
    """What the players of one item have heard, whoever heard it first.

    Parameters
    ----------
    id : of the item.
    report : tells the starter of a new state.
    count : counts a message.
    shown : reasons why messages can't be read of which one message was written down in this process.
    """

    def __init__(
        self, id: str, report: Callable[..., None], count: Callable[[], None], shown: set[str]
    ) -> None:
        self.id = id
        self.over = asyncio.Event()
        self.count = count
        self._report = report
        self._shown = shown
        self._heard: set[str] = set()
        #: What was told of each event so far.
        self._told: set[tuple[str, str]] = set()

    def with_example(self, reason: str, message: object) -> str:
        """Return why a message can't be read, with the message itself the first time in this process."""
        if reason in self._shown:
            return reason
        self._shown.add(reason)
        try:
            text = json.dumps(message, default=repr)
        except RecursionError:
            text = "something nested too deep to be shown"
        return f"{reason}{AS_IN}{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'}"

    def first_said(self, event: str | None, said: str) -> str | None:
        """Return what a message told of an event, the first time that it is told so; else None."""
        if event is None or not said or (event, said) in self._told:
            return None
        self._told.add((event, said))
        return said

    def heard(self, state: str) -> None:
        """Report the state, the first time that any player hears of it."""
        if state not in self._heard:
            self._heard.add(state)
            self._report(game=self.id, phase=state)
