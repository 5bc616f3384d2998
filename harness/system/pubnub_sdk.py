"""PubNub's official SDK, as players use it. Importing it takes half a second: only who listens does."""

from __future__ import annotations

import asyncio
from typing import Final

from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNReconnectionPolicy, PNStatusCategory
from pubnub.models.consumer.common import PNStatus
from pubnub.models.consumer.pubsub import PNMessageResult
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import EventEngineSubscriptionManager, PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

from harness.system.listeners import Ear
from harness.target import Target

#: The SDK waits 2, 4, then 5 s between attempts to come back, and up to 1 s more by chance, without end.
RECONNECT_FIRST_S: Final = 1.0
RECONNECT_LIMIT_S: Final = 5.0
#: A timetoken counts 100 ns units of Unix time.
NS_PER_TICK: Final = 100


def sdk_client(target: Target, uuid: str) -> PubNubAsyncio:
    """Return an SDK client for ``target`` on the running loop; ``create_session`` must be awaited first."""
    config = PNConfiguration(subscribe_key=target.pubnub_subscribe_key, uuid=uuid)
    config.origin = target.pubnub_host(uuid)
    config.ssl = target.pubnub_ssl
    config.enable_presence_heartbeat = False
    config.reconnect_policy = PNReconnectionPolicy.EXPONENTIAL
    config.reconnection_interval = RECONNECT_FIRST_S
    config.maximum_reconnection_interval = RECONNECT_LIMIT_S
    config.maximum_reconnection_retries = -1
    return PubNubAsyncio(
        config, subscription_manager=_Subscriptions, custom_request_handler=AsyncAiohttpRequestHandler
    )


async def listen(target: Target, channel: str, user: str, ear: Ear) -> None:
    """Listen on ``channel`` as ``user``, with an SDK client of its own, until cancelled."""
    client, callback = sdk_client(target, user), _Callback(ear)
    client.add_listener(callback)
    await client.create_session()
    client.subscribe().channels(channel).execute()
    try:
        await asyncio.Event().wait()
    finally:
        client.remove_listener(callback)
        client.unsubscribe_all()
        await client.stop()


class _Callback(SubscribeCallback):  # type: ignore[misc] # the SDK has no types
    """Hands over what the SDK says."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def status(self, pubnub: PubNubAsyncio, status: PNStatus) -> None:
        """Note that it is connected."""
        if status.category is PNStatusCategory.PNConnectedCategory:
            self._ear.connected()

    def message(self, pubnub: PubNubAsyncio, message: PNMessageResult) -> None:
        """Hand a message over, each time that the SDK does."""
        self._ear.hear(message.message, int(message.timetoken) * NS_PER_TICK)

    def presence(self, pubnub: PubNubAsyncio, presence: object) -> None:
        """Nobody asked for presence."""


class _Subscriptions(EventEngineSubscriptionManager):  # type: ignore[misc] # the SDK has no types
    """The SDK's own, without the event loop that it opens and never uses: three descriptors a client."""

    def __init__(self, client: PubNubAsyncio) -> None:
        super().__init__(client)
        self.loop.close()
