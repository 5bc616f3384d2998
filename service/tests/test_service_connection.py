"""Heads without end, requests that never end, too many connections: refused, and nobody else waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.http.connection import HEAD_LIMIT, REQUEST_LIMIT_S, Connections
from service.logs import Throttled
from service.metrics import Metrics
from service.tests.support import Clock, ServiceProcess

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Door:
    """A server of our connections whose application says how long the body was."""

    connections: Connections
    metrics: Metrics
    port: int

    @asynccontextmanager
    async def open(
        self, sent: bytes = b""
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            yield reader, writer
        finally:
            writer.close()

    async def answer(self, *parts: bytes) -> tuple[int, bytes]:
        """Send the parts one by one, and return status and body of the answer; 0: there is none."""
        async with self.open() as (reader, writer):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)
            return await read_answer(reader)

    def refused(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("http_connections_refused_total", {"reason": reason})
        return value or 0.0

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.connections.second_passed()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(20):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return 0, b""
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        return int(head.split()[1]), await reader.readexactly(length)


async def echo_length(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(most: int = 1_000) -> AsyncIterator[Door]:
    metrics = Metrics()
    connections = Connections(metrics, most)
    config = uvicorn.Config(echo_length, http=connections.protocol(), lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]  # any protocol
        "127.0.0.1",
        0,
        backlog=4096,
    )
    async with server:
        yield Door(connections, metrics, server.sockets[0].getsockname()[1])
        for connection in list(state.connections):
            connection.transport.abort()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with serving() as opened:
        yield opened


def head(size: int) -> bytes:
    """Return a whole head of so many bytes, most of it in one field."""
    return GET + b"X: " + b"x" * (size - len(GET) - 7) + b"\r\n\r\n"


async def test_a_head_just_within_the_limit_is_served(door: Door) -> None:
    assert await door.answer(head(HEAD_LIMIT - 1)) == (200, b"0")
    assert door.refused("head_too_large") == 0


@pytest.mark.parametrize("size", [HEAD_LIMIT + 1, 3 * HEAD_LIMIT])
async def test_a_head_over_the_limit_is_refused_though_it_ends(door: Door, size: int) -> None:
    status, body = await door.answer(head(size))
    assert status == 431
    assert b"over 65536 bytes" in body
    assert door.refused("head_too_large") == 1


@pytest.mark.parametrize(
    "beginning",
    [
        GET + b"X: ",
        GET + b"X",
        b"GET /",
        b"\r\n",
        GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        GET + b"Transfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["value", "name", "target", "before", "trailer", "chunk"],
)
async def test_what_never_ends_is_cut_off_at_the_limit(door: Door, beginning: bytes) -> None:
    endless = b"\r\n" * 2_048 if beginning == b"\r\n" else b"x" * 4_096
    async with door.open(beginning) as (_, writer):
        sent = 0
        while not door.refused("head_too_large"):
            writer.write(endless)
            sent += len(endless)
            await asyncio.sleep(0.001)
            assert sent < 10_000_000
    assert sent < 20 * HEAD_LIMIT


async def test_many_small_fields_are_counted_together(door: Door) -> None:
    fields = [b"X-%d: x\r\n" % n for n in range(10_000)]
    assert (await door.answer(GET, *fields))[0] in {431, 0}
    assert door.refused("head_too_large") == 1


@pytest.mark.parametrize("size", [100_000, 1_000_000])
async def test_a_long_body_is_no_head(door: Door, size: int) -> None:
    whole = GET + b"Content-Length: %d\r\n\r\n" % size
    assert await door.answer(whole + b"x" * size) == (200, b"%d" % size)
    chunked = GET + b"Transfer-Encoding: chunked\r\n\r\n" + b"20\r\n" + b"x" * 32 + b"\r\n"
    chunks = [b"20\r\n" + b"x" * 32 + b"\r\n"] * (size // 32 - 1)
    assert await door.answer(chunked + b"".join(chunks) + b"0\r\n\r\n") == (200, b"%d" % (size // 32 * 32))


async def test_many_requests_on_one_connection_have_each_a_head_of_their_own(door: Door) -> None:
    async with door.open() as (reader, writer):
        for _ in range(4):
            writer.write(head(40_000))
            assert await read_answer(reader) == (200, b"0")
        writer.write((GET + b"\r\n") * 3)
        for _ in range(3):
            assert await read_answer(reader) == (200, b"0")


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", 0),
        (b"GET /hea", 408),
        (GET, 408),
        (GET + b"Content-Length: 9\r\n\r\nhalf", 0),
        (GET + b"\r\n" + GET, 200),
    ],
    ids=["nothing", "line", "head", "body", "second"],
)
async def test_a_request_that_does_not_become_whole_in_time_ends_its_connection(
    door: Door, begun: bytes, status: int
) -> None:
    async with door.open(begun) as (reader, _):
        await asyncio.sleep(0.05)
        door.pass_seconds(REQUEST_LIMIT_S)
        assert door.refused("too_slow") == 0
        door.pass_seconds(1)
        assert door.refused("too_slow") == 1
        assert (await read_answer(reader))[0] == status
        assert (await reader.read()).count(b"HTTP/1.1") == (1 if status == 200 else 0)


async def test_a_connection_that_waits_between_requests_is_left_alone(door: Door) -> None:
    async with door.open(GET + b"\r\n") as (reader, writer):
        assert await read_answer(reader) == (200, b"0")
        door.pass_seconds(5 * REQUEST_LIMIT_S)
        writer.write(GET + b"\r\n")
        assert await read_answer(reader) == (200, b"0")
    assert door.refused("too_slow") == 0


async def test_half_open_connections_in_thousands_cost_nobody_else_an_answer() -> None:
    """With room for far fewer, those that wait longest make room for whoever comes."""
    async with serving(most=100) as door:
        strangers = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(1_000)]
        for n, (_, writer) in enumerate(strangers):
            writer.write(GET[: n % len(GET)])
        started = time.monotonic()
        for _ in range(50):
            assert await door.answer(GET + b"\r\n") == (200, b"0")
        assert time.monotonic() - started < 5
        assert door.refused("too_many") >= 900
        for _, writer in strangers:
            writer.transport.abort()


async def test_a_connection_too_many_is_refused_where_all_others_are_used(door: Door) -> None:
    async with serving(most=2) as small, small.open(GET + b"\r\n") as one, small.open(GET + b"\r\n") as two:
        assert await read_answer(one[0]) == await read_answer(two[0]) == (200, b"0")
        status, body = await small.answer()
        assert status == 503
        assert b"too many connections" in body
        one[1].write(GET + b"\r\n")
        assert await read_answer(one[0]) == (200, b"0")


async def test_what_is_not_http_is_refused(door: Door) -> None:
    assert (await door.answer(b"nonsense\r\n\r\n"))[0] == 400
    assert door.refused("malformed") == 1


def test_a_running_service_refuses_and_says_so(service: ServiceProcess) -> None:
    async def ask() -> tuple[int, bytes]:
        return await Door(None, None, service.port).answer(head(100_000))  # type: ignore[arg-type]  # no server of ours

    status, _ = asyncio.run(ask())
    assert status == 431
    assert service.metric('http_connections_refused_total{reason="head_too_large"}') >= 1
    [line] = [line for line in service.log() if line["event"] == "connection refused"]
    assert line["client"] == "127.0.0.1"
    assert "over 65536 bytes" in line["reason"]


def test_a_flood_of_lines_is_told_in_few(clock: Clock) -> None:
    lines: list[dict[str, Any]] = []

    class Logger:
        def warning(self, event: str, **words: Any) -> None:
            lines.append({"event": event, **words})

    log = Throttled(Logger(), 20, clock)
    for _ in range(1_000):
        log.warning("refused", n=1)
    assert len(lines) == 20
    clock.now += 1
    log.warning("refused", n=2)
    assert lines[20:] == [{"event": "refused", "n": 2, "leftOut": 980}]
