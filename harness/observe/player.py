"""A player as PubNub sees it: an official SDK client, and a history row for all that it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final

from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNReconnectionPolicy, PNStatusCategory
from pubnub.models.consumer.common import PNStatus
from pubnub.models.consumer.pubsub import PNMessageResult
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import EventEngineSubscriptionManager, PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import AS_IN, Delivery
from harness.system import System, Unreadable
from harness.target import Target

#: How long a game waits for its players to be connected before it goes on without them.
CONNECT_LIMIT_S: Final = 10.0
#: The SDK waits 2, 4, then 5 s between attempts to come back, and up to 1 s more by chance, without end.
RECONNECT_FIRST_S: Final = 1.0
RECONNECT_LIMIT_S: Final = 5.0

#: So much of a message that can't be read is written down.
_SHOWN: Final = 200
#: A timetoken counts 100 ns units of Unix time.
NS_PER_TICK: Final = 100


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


class Player(SubscribeCallback):  # type: ignore[misc] # the SDK has no types
    """One player of one game, listening on its channel until it heard that the game is over."""

    def __init__(self, name: str, game: HeardItem, system: System, history: HistoryWriter) -> None:
        self.name = name
        self.connected = asyncio.Event()
        self.heard_the_end = asyncio.Event()
        self._game = game
        self._history = history
        self._system = system
        self._client = sdk_client(system.target, f"{game.id}-{name}")
        self._asked_ns = 0

    async def connect(self) -> bool:
        """Subscribe; return whether the client was connected within :data:`CONNECT_LIMIT_S`."""
        self._client.add_listener(self)
        await self._client.create_session()
        self._asked_ns = now_ns()
        self._client.subscribe().channels(self._system.channel(self._game.id, self.name)).execute()
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
        start_ns = int(message.timetoken) * NS_PER_TICK
        try:
            heard = self._system.read(message.message)
        except Unreadable as why:
            error = self._game.with_example(str(why), message.message)
            self._record(Delivery.UNREADABLE, start_ns, end_ns, error=error)
            return
        if heard is None:
            return
        wrong = None if heard.item == self._game.id else "wrong game"
        self._record(heard.name, start_ns, end_ns, event=heard.event, seq=heard.seq, error=wrong)
        if heard.state is not None and wrong is None:
            self._game.heard(heard.state)
            if heard.state in self._system.lifecycle.ends:
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


class HeardItem:
    """What the players of one game have heard, whoever heard it first.

    Parameters
    ----------
    id : of the game.
    report : tells the starter of a new phase.
    shown : reasons why messages can't be read of which one message was written down in this process.
    """

    def __init__(self, id: str, report: Callable[..., None], shown: set[str]) -> None:
        self.id = id
        self.over = asyncio.Event()
        self._report = report
        self._shown = shown
        self._heard: set[str] = set()

    def with_example(self, reason: str, message: object) -> str:
        """Return why a message can't be read, with the message itself the first time in this process."""
        if reason in self._shown:
            return reason
        self._shown.add(reason)
        text = json.dumps(message, default=repr)
        return f"{reason}{AS_IN}{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'}"

    def heard(self, phase: str) -> None:
        """Report the phase, the first time that any player hears of it."""
        if phase not in self._heard:
            self._heard.add(phase)
            self._report(game=self.id, phase=phase)
