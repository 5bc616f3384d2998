"""Four replicas tick at once over 1,000 games: each moves once, none early."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import httpx

from service.tests.parts import StartService
from service.tests.support import CRON, EVENTUALLY_S, Urls, eventually

GAMES = 1000
REPLICAS = 4


async def test_replicas_that_tick_at_once_move_each_game_once(
    start_service: StartService, own_database: Urls
) -> None:
    replicas = [await asyncio.to_thread(start_service) for _ in range(REPLICAS)]
    # They expire one after the other while the ticks run, so that an early move would show.
    await asyncio.to_thread(
        own_database.fetch,
        "INSERT INTO games (id, prompt, status, phase_expires_at) SELECT 'over-' || n, 'x', 'briefing', "
        "clock_timestamp() + make_interval(secs => 4.0 * n / $1) FROM generate_series(1, $1::int) AS n",
        GAMES,
    )
    answers: list[dict[str, Any]] = []
    deadline = time.monotonic() + EVENTUALLY_S
    async with httpx.AsyncClient(timeout=60) as client:

        async def tick(replica: Any) -> None:
            answer = await client.post(f"{replica.url}/functions/v1/monitor-game-timers", headers=CRON)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())

        while sum(answer["processed"] for answer in answers) < GAMES:
            assert time.monotonic() < deadline, "not all games were moved"
            await asyncio.gather(*(tick(replica) for replica in replicas for _ in range(2)))

    assert sum(answer["processed"] for answer in answers) == GAMES
    assert not any(answer["errors"] for answer in answers)
    log = await asyncio.to_thread(own_database.fetch, "SELECT * FROM game_transitions")
    assert Counter(row["game_id"] for row in log) == {f"over-{n + 1}": 1 for n in range(GAMES)}
    assert all(row["transitioned_at"] >= row["due_at"] for row in log)
    assert {(row["from_status"], row["to_status"]) for row in log} == {("briefing", "drawing")}
    await asyncio.to_thread(
        eventually,
        lambda: own_database.value("SELECT count(*) FROM event_outbox WHERE state = 'published'") == GAMES,
        "not all events were published",
    )
    assert own_database.value("SELECT max(attempts) FROM event_outbox") == 1
