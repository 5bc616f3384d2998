"""The subscribers: a listener of its own for each player, and a history row for all that it hears.

A process of its own (``python -m harness.observe.subscribers``), because asyncio clients can't live beside
gevent. Commands on stdin, each a JSON line:

``{"do": "subscribe", "game": ..., "players": {player: headers}}``
    have each player listen; answered with ``{"subscribed": game, "connected": n}`` once all are connected or
    ``CONNECT_LIMIT_S`` of :mod:`harness.observe.player` is over (players keep trying after that), with
    ``{"subscribed": game, "error": ...}`` where the system's file does not say how.
``{"do": "over", "game": ...}``
    the game is over: who has not heard of it within :data:`LATE_LIMIT_S` stops listening.
``{"do": "stop", "within_s": ...}``
    wait so long for what is still to be heard, then disconnect everyone and end.

Unasked, it reports ``{"game": ..., "phase": ...}`` when the first player hears of a new phase, as a
player's screen would react to it, and ``{"open": n, "heard": n}`` each second: players who listen, and
messages heard so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Mapping
from typing import Any, Final

from harness.history import HistoryWriter
from harness.history.names import Actor
from harness.observe.api_looks import ApiLooks
from harness.observe.player import HeardItem, Player
from harness.observe.process import Assignment, Observer, run
from harness.observe.readings import CLOCK_EVERY_S, compare_clocks
from harness.system import ApiWitness, Listener, OnPubNub, PubNub, SystemFileError, find_system
from harness.system.listening import listener_of
from harness.system.pubnub_sdk import NS_PER_TICK, sdk_client

#: How long a player goes on listening after the end of its game was heard: a repetition would come now.
LINGER_S: Final = 1.0
#: How long a player goes on listening for events of a game that is over: an outage may hold them up.
LATE_LIMIT_S: Final = 120.0


class Subscribers(Observer):
    """All players that one process listens for."""

    def __init__(self, assignment: Assignment, history: HistoryWriter, out: asyncio.WriteTransport) -> None:
        super().__init__(assignment, history, out)
        self._system = find_system(assignment.settings["system"])(assignment.target)
        witness = self._system.witness
        self._looks = ApiLooks(self._system, witness, history) if isinstance(witness, ApiWitness) else None
        self._open = 0
        self._heard = 0
        self._games: dict[str, HeardItem] = {}
        #: Reasons why messages can't be read of which one message was written down.
        self._shown: set[str] = set()
        self._turns = asyncio.Lock()
        self._listening: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._clock_is_followed = False

    async def start(self) -> dict[str, Any]:
        """Begin to tell how many listen, and to compare clocks with PubNub where players listen there."""
        # Thousands of long-lived objects: full collections would stop the loop and find nothing.
        gc.freeze()
        gc.set_threshold(50_000, 50, 1_000)
        self._chores.append(self.tasks.create_task(self._report_open()))
        if isinstance(self._system, OnPubNub):
            self._see_that_the_clock_is_followed()
        return {}

    async def command(self, command: Mapping[str, Any]) -> None:
        """Begin to listen for a game's players, or note that a game is over."""
        if command["do"] == "subscribe":
            task = self.tasks.create_task(self._listen(command["game"], command["players"]))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)
        elif command["do"] == "over":
            game = self._games.get(command["game"])
            if game is not None:
                game.over.set()

    async def finish(self, *, within_s: float) -> dict[str, Any]:
        """Wait until every player has heard the end of its game, or the time is over; disconnect all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nobody_left()
        late = self._open
        self._closing.set()
        await self._nobody_left()
        await asyncio.gather(*self._chores)
        missing = await self._looks.finish() if self._looks is not None else []
        return {"late": late, "missing": [doubt.entry() for doubt in missing]}

    async def _nobody_left(self) -> None:
        while self._listening:
            await asyncio.wait(self._listening)

    async def _turn(self) -> None:
        """Wait until it is one's turn to open or close a client.

        Each takes a millisecond or more of the event loop, and games begin and end many at once: one
        at a time, what is heard meanwhile gets its time in between and is not recorded late.
        """
        async with self._turns:
            await asyncio.sleep(0)

    async def _join(self, name: str, game: HeardItem, listener: Listener) -> tuple[Player, bool]:
        await self._turn()
        player = Player(name, game, self._system, listener, self.history)
        return player, await player.connect()

    async def _listen(self, game_id: str, headers: Mapping[str, Mapping[str, str]]) -> None:
        try:
            listeners = {name: listener_of(self._system, game_id, name, headers[name]) for name in headers}
        except SystemFileError as error:
            self.report(subscribed=game_id, error=str(error))
            return
        if any(isinstance(listener, PubNub) for listener in listeners.values()):
            self._see_that_the_clock_is_followed()
        game = self._games[game_id] = HeardItem(game_id, self.report, self._count, self._shown)
        self._open += len(listeners)
        try:
            if self._looks is not None:
                await self._looks.begin(game_id)
            joined = await asyncio.gather(
                *(self._join(name, game, listener) for name, listener in listeners.items())
            )
            players = [player for player, _ in joined]
            connected = [is_connected for _, is_connected in joined]
            self.report(subscribed=game_id, connected=sum(connected))
            await asyncio.gather(*(self._until_the_end(player, game) for player in players))
        finally:
            del self._games[game_id]

    async def _until_the_end(self, player: Player, game: HeardItem) -> None:
        """Keep the player listening as long as there may be something to hear, then disconnect it."""
        try:
            if await self._first_of(player.heard_the_end, game.over) is game.over:
                await self._first_of(player.heard_the_end, within_s=LATE_LIMIT_S)
            await self._first_of(within_s=LINGER_S)
        finally:
            self._open -= 1
            await self._turn()
            await player.disconnect()

    async def _first_of(self, *events: asyncio.Event, within_s: float | None = None) -> asyncio.Event | None:
        """Wait for one of ``events``, for the whole process to close, or for the time to pass."""
        waiting = {asyncio.create_task(event.wait()): event for event in (*events, self._closing)}
        try:
            done, _ = await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return waiting[done.pop()] if done else None

    async def _report_open(self) -> None:
        while not self._closing.is_set():
            self.report(open=self._open, heard=self._heard)
            await self._first_of(within_s=1.0)

    def _count(self) -> None:
        self._heard += 1

    def _see_that_the_clock_is_followed(self) -> None:
        if not self._clock_is_followed:
            self._clock_is_followed = True
            self._chores.append(self.tasks.create_task(self._follow_clock()))

    async def _follow_clock(self) -> None:
        """Compare PubNub's clock with ours, again and again."""
        client = sdk_client(self.assignment.target, f"{self.assignment.run_id}-clock")
        await client.create_session()

        async def time_ns() -> int | None:
            with contextlib.suppress(Exception):
                envelope = await client.time().future()
                return int(envelope.result.value_as_int) * NS_PER_TICK
            return None

        # Not a task to be cancelled: the SDK takes a cancellation for an answer, and goes on.
        while not self._closing.is_set():
            for row in await compare_clocks(Actor.PUBNUB, time_ns):
                self.history.append(row)
            await self._first_of(within_s=CLOCK_EVERY_S)
        await client.stop()


if __name__ == "__main__":
    run(Subscribers)
