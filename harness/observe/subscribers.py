"""The subscribers: one official PubNub SDK client a player, and a history row for all that it hears.

A process of its own (``python -m harness.observe.subscribers``), because the SDK's asyncio client can't
live beside gevent. Commands on stdin, each a JSON line:

``{"do": "subscribe", "game": ..., "players": [...]}``
    connect each player to its game's channel; answered with ``{"subscribed": game, "connected": n}``
    once all are connected or :data:`CONNECT_LIMIT_S` is over (the SDK keeps trying after that).
``{"do": "over", "game": ...}``
    the game is over: who has not heard of it within :data:`LATE_LIMIT_S` stops listening.
``{"do": "stop", "within_s": ...}``
    wait so long for what is still to be heard, then disconnect everyone and end.

Unasked, it reports ``{"game": ..., "phase": ...}`` when the first player hears of a new phase, as a
player's screen would react to it, and ``{"open": n}`` each second.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Mapping
from typing import Any, Final

from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNReconnectionPolicy, PNStatusCategory
from pubnub.models.consumer.common import PNStatus
from pubnub.models.consumer.pubsub import PNMessageResult
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import EventEngineSubscriptionManager, PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import AS_IN, Actor, Delivery
from harness.observe.process import Observer, run
from harness.observe.readings import CLOCK_EVERY_S, compare_clocks
from harness.target import Target, game_channel

#: How long a game waits for its players to be connected before it goes on without them.
CONNECT_LIMIT_S: Final = 10.0
#: How long a player goes on listening after the end of its game was heard: a repetition would come now.
LINGER_S: Final = 1.0
#: How long a player goes on listening for events of a game that is over: an outage may hold them up.
LATE_LIMIT_S: Final = 120.0
#: The SDK waits 2, 4, then 5 s between attempts to come back, and up to 1 s more by chance, without end.
RECONNECT_FIRST_S: Final = 1.0
RECONNECT_LIMIT_S: Final = 5.0

_OVER: Final = frozenset({"completed", "cancelled"})
#: A timetoken counts 100 ns units of Unix time.
_NS_PER_TICK: Final = 100


def sdk_client(target: Target, uuid: str) -> PubNubAsyncio:
    """Return an SDK client for ``target`` on the running loop; ``create_session`` must be awaited first."""
    config = PNConfiguration(subscribe_key=target.pubnub_subscribe_key, uuid=uuid)
    config.origin = target.pubnub_host
    config.ssl = target.pubnub_ssl
    config.enable_presence_heartbeat = False
    config.reconnect_policy = PNReconnectionPolicy.EXPONENTIAL
    config.reconnection_interval = RECONNECT_FIRST_S
    config.maximum_reconnection_interval = RECONNECT_LIMIT_S
    config.maximum_reconnection_retries = -1
    return PubNubAsyncio(
        config, subscription_manager=_Subscriptions, custom_request_handler=AsyncAiohttpRequestHandler
    )


class _Subscriptions(EventEngineSubscriptionManager):  # type: ignore[misc] # the SDK has no types
    """The SDK's own, without the event loop that it opens and never uses: three descriptors a client."""

    def __init__(self, client: PubNubAsyncio) -> None:
        super().__init__(client)
        self.loop.close()


#: So much of a message that can't be read is written down.
_SHOWN: Final = 200


def why_unreadable(envelope: Any) -> str | None:
    """Return why a message can't be read, short and stable; None if it can."""
    if not isinstance(envelope, dict):
        return "not an object"
    for name in ("type", "eventId", "gameId"):
        if name not in envelope:
            return f"no {name}"
        if not _is_text(envelope[name]):
            return f"{name} is no text"
    seq, data = envelope.get("seq"), envelope.get("data")
    if seq is not None and (type(seq) is not int or not 0 <= seq < 1 << 63):
        return "seq is no whole number"
    return None if data is None or isinstance(data, dict) else "data is not an object"


def _is_text(value: object) -> bool:
    # JSON can escape half of a surrogate pair, which no file can hold.
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


class Player(SubscribeCallback):  # type: ignore[misc] # the SDK has no types
    """One player of one game, listening on its channel until it heard that the game is over."""

    def __init__(self, name: str, game: HeardGame, target: Target, history: HistoryWriter) -> None:
        self.name = name
        self.connected = asyncio.Event()
        self.heard_the_end = asyncio.Event()
        self._game = game
        self._history = history
        self._client = sdk_client(target, f"{game.id}-{name}")
        self._asked_ns = 0

    async def connect(self) -> bool:
        """Subscribe; return whether the client was connected within :data:`CONNECT_LIMIT_S`."""
        self._client.add_listener(self)
        await self._client.create_session()
        self._asked_ns = now_ns()
        self._client.subscribe().channels(game_channel(self._game.id)).execute()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self.connected.wait()
        except TimeoutError:
            self._record(Delivery.SUBSCRIBE, self._asked_ns, now_ns(), error="timeout")
            return False
        return True

    async def disconnect(self) -> None:
        """Stop listening and close the client's sockets."""
        at_ns = now_ns()
        self._record(Delivery.UNSUBSCRIBE, at_ns, at_ns)
        self._client.remove_listener(self)
        self._client.unsubscribe_all()
        await self._client.stop()

    def status(self, pubnub: PubNubAsyncio, status: PNStatus) -> None:
        """Note the first connection (the SDK's callback)."""
        if status.category is PNStatusCategory.PNConnectedCategory and not self.connected.is_set():
            self._record(Delivery.SUBSCRIBE, self._asked_ns, now_ns())
            self.connected.set()

    def message(self, pubnub: PubNubAsyncio, message: PNMessageResult) -> None:
        """Record what was heard (the SDK's callback), once for each time it is handed over."""
        end_ns = now_ns()
        start_ns = int(message.timetoken) * _NS_PER_TICK
        envelope = message.message
        if (why := why_unreadable(envelope)) is not None:
            error = self._game.with_example(why, envelope)
            self._record(Delivery.UNREADABLE, start_ns, end_ns, error=error)
            return
        wrong = None if envelope["gameId"] == self._game.id else "wrong game"
        event, seq = envelope["eventId"], envelope.get("seq")
        self._record(envelope["type"], start_ns, end_ns, event=event, seq=seq, error=wrong)
        if envelope["type"] == Delivery.PHASE_CHANGED and wrong is None:
            phase = (envelope.get("data") or {}).get("newPhase")
            self._game.heard(phase)
            if phase in _OVER:
                self.heard_the_end.set()

    def presence(self, pubnub: PubNubAsyncio, presence: object) -> None:
        """Nobody asked for presence (the SDK's callback)."""

    def _record(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        *,
        event: str | None = None,
        seq: int | None = None,
        error: str | None = None,
    ) -> None:
        self._history.append(
            Row(
                "delivery",
                name,
                self.name,
                game=self._game.id,
                event=event,
                seq=seq,
                start_ns=start_ns,
                end_ns=end_ns,
                ok=error is None,
                error=error,
            )
        )


class HeardGame:
    """What the players of one game have heard, whoever heard it first."""

    def __init__(self, id: str, observer: Subscribers) -> None:
        self.id = id
        self.over = asyncio.Event()
        self._observer = observer
        self._heard: set[str] = set()

    def with_example(self, reason: str, message: object) -> str:
        """Return why a message can't be read, with the message itself the first time in this process."""
        if reason in self._observer.shown:
            return reason
        self._observer.shown.add(reason)
        text = json.dumps(message, default=repr)
        return f"{reason}{AS_IN}{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'}"

    def heard(self, phase: str | None) -> None:
        """Report the phase, the first time that any player hears of it."""
        if phase is not None and phase not in self._heard:
            self._heard.add(phase)
            self._observer.report(game=self.id, phase=phase)


class Subscribers(Observer):
    """All players that one process listens for."""

    _open = 0

    async def start(self) -> dict[str, Any]:
        """Ask PubNub for its time, so that its clock's offset is known from the beginning."""
        # Thousands of long-lived objects: full collections would stop the loop and find nothing.
        gc.freeze()
        gc.set_threshold(50_000, 50, 1_000)
        self._games: dict[str, HeardGame] = {}
        #: Reasons why messages can't be read of which one message was written down.
        self.shown: set[str] = set()
        self._turns = asyncio.Lock()
        self._listening: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._clock = sdk_client(self.assignment.target, f"{self.assignment.run_id}-clock")
        await self._clock.create_session()
        self._chores = [
            self.tasks.create_task(self._follow_clock()),
            self.tasks.create_task(self._report_open()),
        ]
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
        await self._clock.stop()
        return {"late": late}

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

    async def _join(self, name: str, game: HeardGame) -> tuple[Player, bool]:
        await self._turn()
        player = Player(name, game, self.assignment.target, self.history)
        return player, await player.connect()

    async def _listen(self, game_id: str, names: list[str]) -> None:
        game = self._games[game_id] = HeardGame(game_id, self)
        self._open += len(names)
        try:
            joined = await asyncio.gather(*(self._join(name, game) for name in names))
            players = [player for player, _ in joined]
            connected = [is_connected for _, is_connected in joined]
            self.report(subscribed=game_id, connected=sum(connected))
            await asyncio.gather(*(self._until_the_end(player, game) for player in players))
        finally:
            del self._games[game_id]

    async def _until_the_end(self, player: Player, game: HeardGame) -> None:
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
            self.report(open=self._open)
            await self._first_of(within_s=1.0)

    async def _follow_clock(self) -> None:
        # Not a task to be cancelled: the SDK takes a cancellation for an answer, and goes on.
        while not self._closing.is_set():
            for row in await compare_clocks(Actor.PUBNUB, self._pubnub_time_ns):
                self.history.append(row)
            await self._first_of(within_s=CLOCK_EVERY_S)

    async def _pubnub_time_ns(self) -> int | None:
        with contextlib.suppress(Exception):
            envelope = await self._clock.time().future()
            return int(envelope.result.value_as_int) * _NS_PER_TICK
        return None


if __name__ == "__main__":
    run(Subscribers)
