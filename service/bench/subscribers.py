"""One SDK subscriber a game: prints `ready`, then when each got its event; ends with its standard input."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any, Final

import uvloop
from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNStatusCategory
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import AsyncioSubscriptionManager, PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

_LIMIT_S: Final = 60.0
_AT_ONCE: Final = 200


class _Ear(SubscribeCallback):  # type: ignore[misc]  # the SDK has no types
    def __init__(self, game: str, received: dict[str, float], connected: asyncio.Event) -> None:
        self._game = game
        self._received = received
        self._connected = connected

    def status(self, _: Any, status: Any) -> None:
        if status.category == PNStatusCategory.PNConnectedCategory:
            self._connected.set()

    def message(self, _: Any, __: Any) -> None:
        self._received.setdefault(self._game, time.time())

    def presence(self, _: Any, __: Any) -> None:
        pass


async def main(origin: str, subscribe_key: str, first: int, number: int) -> None:
    """Subscribe to ``number`` channels from ``game-b-<first>`` on, and wait for an event on each."""
    received: dict[str, float] = {}
    clients: list[Any] = []
    turn = asyncio.Semaphore(_AT_ONCE)

    async def subscribe(game: str) -> None:
        async with turn:
            configuration = PNConfiguration()
            configuration.subscribe_key = subscribe_key
            configuration.user_id = f"player-of-{game}"
            configuration.origin, configuration.ssl = origin, False
            client = PubNubAsyncio(
                configuration,
                subscription_manager=AsyncioSubscriptionManager,
                custom_request_handler=AsyncAiohttpRequestHandler,
            )
            clients.append(client)
            await client.create_session()
            connected = asyncio.Event()
            client.add_listener(_Ear(game, received, connected))
            client.subscribe().channels(f"game-{game}").execute()
            await connected.wait()

    await asyncio.gather(*(subscribe(f"b-{n}") for n in range(first, first + number)))
    await asyncio.sleep(1.0)
    # Thousands of long-lived clients: looking through them for garbage would stall the loop and find none.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    deadline = time.monotonic() + _LIMIT_S
    while len(received) < number and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not signalled
        await asyncio.sleep(0.05)
    print(json.dumps(received), flush=True)
    # Until what it took to hear all that is read.
    sys.stdin.read()
    # Ending thousands of clients one by one serves nobody.
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
