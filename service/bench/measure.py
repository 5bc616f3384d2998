"""The measurements: each returns what was measured beside what is promised."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler

from service.bench.parts import (
    API,
    FLAGS_OFF,
    FLAGS_ON,
    PUBLISH_KEY,
    SUBSCRIBE_KEY,
    Parts,
    Service,
    add_games,
    cpu_s,
    flags_file,
    free_port,
    run_process,
    start_service,
    wait_for,
)

_PENDING: Final = "SELECT count(*) FROM event_outbox WHERE state = 'pending'"
_CONCURRENCY: Final = 64


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    measured: str
    promised: str = ""
    #: None: nothing is promised, the line explains another.
    kept: bool | None = None


async def tick(parts: Parts) -> list[Result]:
    """A tick over 10,000 expired games beside the same statement in psql; and tables of several sizes."""
    database = await parts.database()
    ours: list[float] = []
    bare: list[float] = []
    per_game: dict[int, list[float]] = {}
    async with start_service(parts, database, ENABLE_PUBNUB_BROADCASTING="false") as service:
        await service.tick()
        for turn in range(5):
            await add_games(database.admin, f"t{turn}-", 10_000, expired_s=60)
            answer = await service.tick()
            assert answer["processed"] == 10_000, answer
            ours.append(answer["executionTime"] / 1000)
            await _forget(database.admin)
            await add_games(database.admin, f"p{turn}-", 10_000, expired_s=60)
            bare.append(await asyncio.to_thread(_psql_tick_s, parts, database.service))
            await _forget(database.admin)
        for total in (1_000, 10_000, 100_000):
            await _forget(database.admin)
            if total > 1000:
                await add_games(database.admin, "old-", total - 1000, expired_s=None)
            for turn in range(5):
                await add_games(database.admin, f"n{turn}-", 1000, expired_s=60)
                answer = await service.tick()
                assert answer["processed"] == 1000, answer
                per_game.setdefault(total, []).append(answer["executionTime"])
                await _delete(database.admin, "n")
    ours_s, bare_s = statistics.median(ours), statistics.median(bare)
    growth = {total: statistics.median(times) for total, times in per_game.items()}
    worst = growth[100_000] / growth[1_000]
    return [
        Result("tick, 10,000 expired games", f"{ours_s:.2f} s", "< 2 s", ours_s < 2),
        Result("  beside bare SQL in psql", f"{ours_s / bare_s:.2f} ×", "≤ 1.5 ×", ours_s / bare_s <= 1.5),
        Result(
            "  µs a game (1,000 expired) in a table of 1 k, 10 k, 100 k",
            ", ".join(f"{ms:.0f}" for ms in growth.values()),
            "does not grow",
            worst < 1.5,
        ),
    ]


async def relay(parts: Parts) -> list[Result]:
    """The relay's rate beside the bare SDK's, against the same emulator, in turns."""
    number = 10_000
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        flags = flags_file(Path(folder), FLAGS_OFF)
        database = await parts.database()
        async with start_service(parts, database, FLAGS_FILE=str(flags)) as service:
            for turn in range(3):
                bare.append(await _bare_rate(parts, number))
                await add_games(database.admin, f"r{turn}-", number, expired_s=60)
                assert (await service.tick())["processed"] == number
                flags.write_text(FLAGS_ON, encoding="utf-8")
                await wait_for(database.admin, _PENDING, 0)
                flags.write_text(FLAGS_OFF, encoding="utf-8")
                ours.append(await _relay_rate(database.admin, f"r{turn}-"))
                await asyncio.sleep(1.0)
            unordered = await _out_of_order(database.admin)
    ratio = statistics.median(ours) / statistics.median(bare)
    return [
        Result(
            "relay beside the bare SDK",
            f"{statistics.median(ours):,.0f}/s, {ratio:.0%}",
            "≥ 70 %",
            ratio >= 0.7,
        ),
        Result("  events out of order within a game", str(unordered), "0", unordered == 0),
    ]


async def burst(parts: Parts) -> list[Result]:
    """5,000 games expire at once, each with a subscriber: from the move to the callback."""
    number = 5000
    database = await parts.database()
    async with start_service(parts, database) as service:
        await service.tick()
        await add_games(database.admin, "b-", number, expired_s=60)
        received, cpu_s = await _received_by_subscribers(parts, service, number)
        connection = await asyncpg.connect(database.admin)
        moved = {
            row["game_id"]: row["transitioned_at"].timestamp()
            for row in await connection.fetch("SELECT game_id, transitioned_at FROM game_transitions")
        }
        await connection.close()
    latencies = sorted(at - moved[game] for game, at in received.items())
    p95_s = latencies[int(len(latencies) * 0.95) - 1] if latencies else float("inf")
    shares = ", ".join(f"{part} {took_s:.2f}" for part, took_s in cpu_s.items())
    return [
        Result(
            "5,000 games at once: events received", f"{len(received):,}", "5,000", len(received) == number
        ),
        Result("  p95 from the move to the subscriber", f"{p95_s:.2f} s", "< 2 s", p95_s < 2),
        # Where the time goes: two cores have two of these seconds in each second.
        Result("  CPU seconds, tick and all", f"{sum(cpu_s.values()):.2f} ({shares})"),
    ]


async def timer(parts: Parts) -> list[Result]:
    """`get-game-timer` under 200 clients beside a route that returns a constant."""
    database = await parts.database()
    ours: list[float] = []
    constant: list[float] = []
    async with start_service(parts, database) as service:
        await add_games(database.admin, "t-", 100, expired_s=-3600)
        body = json.dumps({"gameId": "t-1"}).encode()
        port = int(urlsplit(service.url).port or 0)
        other = free_port()
        code = (
            "import sys, uvicorn; from fastapi import FastAPI; app = FastAPI()\n"
            "@app.post('/constant')\nasync def constant(): return {'phase': 'briefing'}\n"
            "uvicorn.run(app, port=int(sys.argv[1]), log_level='warning', access_log=False)"
        )
        async with run_process(
            [sys.executable, "-c", code, str(other)], f"http://127.0.0.1:{other}/", dict(os.environ)
        ):
            for _ in range(3):
                constant.append(await _rate(other, "/constant", b""))
                ours.append(await _rate(port, "/functions/v1/get-game-timer", body))
    ratio = statistics.median(ours) / statistics.median(constant)
    return [
        Result(
            "get-game-timer, 200 clients, beside a constant",
            f"{statistics.median(ours):,.0f}/s, {ratio:.0%}",
            "≥ 50 %",
            ratio >= 0.5,
        )
    ]


async def memory(parts: Parts) -> list[Result]:
    """Memory over 100,000 events, and while 50,000 wait for PubNub to come back."""
    database = await parts.database()
    async with start_service(parts, database) as service:
        sizes: list[int] = []
        for turn in range(10):
            await add_games(database.admin, f"m{turn}-", 10_000, expired_s=60)
            await service.tick()
            await wait_for(database.admin, _PENDING, 0)
            sizes.append(service.rss())
        await parts.control(service.session, "POST", {"action": "status", "status": 503})
        for turn in range(5):
            await add_games(database.admin, f"w{turn}-", 10_000, expired_s=60)
            await service.tick()
        await asyncio.sleep(3)
        await wait_for(database.admin, _PENDING, 50_000)
        waiting = service.rss()
        await parts.control(service.session, "DELETE")
    # The first round fills buffers and caches.
    growth = (sizes[-1] - sizes[1]) / 2**20
    held = (waiting - sizes[-1]) / 2**20
    return [
        Result(
            "memory: growth from the 20,000th to the 100,000th event",
            f"{growth:+.1f} MB of {sizes[1] / 2**20:.0f} MB",
            "flat (< 10 MB)",
            growth < 10,
        ),
        Result("  while 50,000 events wait", f"{held:+.1f} MB", "flat (< 10 MB)", held < 10),
    ]


MEASUREMENTS: Final[dict[str, Callable[[Parts], Coroutine[Any, Any, list[Result]]]]] = {
    "tick": tick,
    "relay": relay,
    "burst": burst,
    "timer": timer,
    "memory": memory,
}


def _psql_tick_s(parts: Parts, url: str) -> float:
    script = (
        "\\timing on\nBEGIN;\n"
        "UPDATE games SET status = next_status(status) "
        "WHERE status IN ('briefing', 'drawing', 'voting') AND due_at <= now();\nCOMMIT;\n"
    )
    times = re.findall(r"Time: ([0-9.]+) ms", parts.psql(url, script))
    return sum(map(float, times)) / 1000


async def _forget(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE games, event_outbox, game_transitions CASCADE")
    await connection.close()


async def _delete(url: str, prefix: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM games WHERE starts_with(id, $1)", prefix)
    await connection.execute("TRUNCATE event_outbox, game_transitions CASCADE")
    await connection.close()


async def _relay_rate(url: str, prefix: str) -> float:
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(
        "SELECT count(*) AS events, "
        "extract(epoch FROM max(published_at) - min(first_attempt_at))::float8 AS s "
        "FROM event_outbox WHERE starts_with(game_id, $1)",
        prefix,
    )
    await connection.close()
    return float(row["events"] / row["s"])


async def _out_of_order(url: str) -> int:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(
        "SELECT count(*) FROM (SELECT timetoken, "
        "lag(timetoken) OVER (PARTITION BY game_id ORDER BY seq) AS before "
        "FROM event_outbox) AS o WHERE timetoken < before"
    )
    await connection.close()
    return int(found)


def _sdk(parts: Parts, user_id: str, *, subscribes: bool) -> Any:
    configuration = PNConfiguration()
    configuration.publish_key, configuration.subscribe_key = PUBLISH_KEY, SUBSCRIBE_KEY
    configuration.user_id = user_id
    configuration.origin, configuration.ssl = parts.emulator.origin, False
    configuration.enable_subscribe = subscribes
    return PubNubAsyncio(configuration, custom_request_handler=AsyncAiohttpRequestHandler)


async def _bare_rate(parts: Parts, number: int) -> float:
    """Publish messages like ours with nothing but the SDK, as many at once as the relay does."""
    client = _sdk(parts, "bare", subscribes=False)
    await client.create_session()
    message = {
        "type": "phase_changed", "gameId": "r0-1", "userId": "system", "timestamp": 1_700_000_000_000,
        "version": "2.0.0", "eventId": "2992b19a-6712-4607-9f20-c0f032bd31e2", "seq": 1,
        "requestId": "2992b19a-6712-4607-9f20-c0f032bd31e2",
        "data": {"previousPhase": "briefing", "newPhase": "drawing",
                 "transitionedAt": "2026-01-01T00:00:00.000000Z",
                 "phaseExpiresAt": "2026-01-01T00:01:00.000000Z"},
    }  # fmt: skip
    left = iter(range(number))

    async def work() -> None:
        for n in left:
            await client.publish().channel(f"game-bare-{n}").message(message).result()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_CONCURRENCY)))
    took_s = time.perf_counter() - started
    await client.close_session()
    return number / took_s


async def _received_by_subscribers(
    parts: Parts, service: Service, number: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Subscribe a client to each game, in processes of their own; tick.

    Returns
    -------
    dict, dict
        When each game's subscriber got its event, in Unix seconds; each part's CPU seconds since the tick.
    """
    half = number // 2
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.bench.subscribers", parts.emulator.origin, SUBSCRIBE_KEY,
            str(first), str(half),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        )
        for first in (1, half + 1)
    ]  # fmt: skip
    pids = {
        "service": [service.process.pid],
        "emulator": [parts.emulator.pid],
        "subscribers": [process.pid for process in processes],
        "Postgres": [parts.postgres.process.pid or 0],
    }

    def cpu() -> dict[str, float]:
        return {part: sum(map(cpu_s, of)) for part, of in pids.items()}

    received: dict[str, float] = {}
    for process in processes:
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"ready"
    before_s = cpu()
    assert (await service.tick())["processed"] == number
    for process in processes:
        assert process.stdout is not None
        received |= json.loads(await process.stdout.readline())
    after_s = cpu()
    for process in processes:
        await process.communicate(b"")
    return received, {part: after_s[part] - before_s[part] for part in pids}


async def _rate(port: int, path: str, body: bytes, *, clients: int = 200, seconds: float = 5.0) -> float:
    """Return requests a second that ``clients`` keep-alive connections get answered."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {API['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    answered = 0
    until = 0.0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            await reader.readexactly(int(length[1]) if length else 0)
            answered += 1
        writer.close()

    until = time.perf_counter() + seconds
    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / seconds
