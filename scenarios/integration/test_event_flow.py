"""From a game's move to a player's callback, with the official SDK at both ends."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import asyncio
from typing import Any

from pubnub.callbacks import SubscribeCallback
from pubnub.enums import PNStatusCategory
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import AsyncioSubscriptionManager, PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

from fixtures.pubnub_emulator.process import EmulatorProcess
from service.tests.support import EVENTUALLY_S, ServiceProcess, Urls, name


class Player(SubscribeCallback):
    """A subscriber of one game's channel."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.messages: list[dict[str, Any]] = []

    def status(self, _: Any, status: Any) -> None:
        if status.category == PNStatusCategory.PNConnectedCategory:
            self.connected.set()

    def message(self, _: Any, message: Any) -> None:
        self.messages.append(message.message)

    def presence(self, _: Any, __: Any) -> None:
        pass


async def test_every_player_hears_of_every_phase_in_order(
    service: ServiceProcess, database: Urls, emulator: EmulatorProcess
) -> None:
    game_id = name()
    players = [Player() for _ in range(4)]
    clients = []
    for n, player in enumerate(players):
        configuration = PNConfiguration()
        configuration.subscribe_key = service.environment["PUBNUB_SUBSCRIBE_KEY"]
        configuration.user_id = f"{game_id}-{n}"
        configuration.origin, configuration.ssl = emulator.origin, False
        client = PubNubAsyncio(
            configuration,
            subscription_manager=AsyncioSubscriptionManager,
            custom_request_handler=AsyncAiohttpRequestHandler,
        )
        await client.create_session()
        client.add_listener(player)
        client.subscribe().channels(f"game-{game_id}").execute()
        clients.append(client)
    async with asyncio.timeout(EVENTUALLY_S):
        for player in players:
            await player.connected.wait()

    durations = {f"{phase}_duration_s": 0.3 for phase in ("briefing", "drawing", "voting")}
    await asyncio.to_thread(lambda: service.create(id=game_id, **durations))
    await asyncio.to_thread(service.move, game_id, "briefing")
    async with asyncio.timeout(EVENTUALLY_S):
        while any(len(player.messages) < 4 for player in players):
            await asyncio.to_thread(service.tick)
            await asyncio.sleep(0.1)
    for client in clients:
        client.unsubscribe_all()
        await client.stop()

    log = database.fetch(
        "SELECT *, event_id::text AS event FROM game_transitions WHERE game_id = $1 ORDER BY seq", game_id
    )
    for player in players:
        assert [message["eventId"] for message in player.messages] == [row["event"] for row in log]
        assert [message["seq"] for message in player.messages] == [1, 2, 3, 4]
        assert [message["data"]["newPhase"] for message in player.messages] == [
            "briefing", "drawing", "voting", "completed",
        ]  # fmt: skip
