"""The SDK's request handler against servers that behave, and servers that don't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pubnub.enums import PNStatusCategory
from pubnub.exceptions import PubNubException
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import PubNubAsyncio

from service.sdk_http import LIMIT, SdkHttp

SENT = b'[1,"Sent","17000000000000001"]'
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def request(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


@asynccontextmanager
async def client_of(talk: Talk, *, limit_s: int = 10, user_id: str = "ann") -> AsyncIterator[PubNubAsyncio]:
    """Yield an SDK client whose connections ``talk`` answers; it is told each connection's number."""
    number = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        try:
            await talk(reader, writer, number)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    config = PNConfiguration()
    config.publish_key = config.subscribe_key = "demo"
    config.user_id = user_id
    config.origin, config.ssl = f"{host}:{port}", False
    config.enable_subscribe = False
    config.non_subscribe_request_timeout = limit_s
    client = PubNubAsyncio(config, custom_request_handler=SdkHttp)
    await client.create_session()
    try:
        yield client
    finally:
        await client.close_session()
        server.close()


def publish(client: PubNubAsyncio, message: Any = "hello") -> Awaitable[Any]:
    return client.publish().channel("game-1").message(message).result()


async def test_one_connection_carries_one_request_after_the_other() -> None:
    seen: list[tuple[int, str]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            seen.append((number, await request(reader)))
            # In pieces, as a network may cut it.
            for part in (answer(SENT)[:9], answer(SENT)[9:50], answer(SENT)[50:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)

    async with client_of(talk) as client:
        for _ in range(3):
            assert (await publish(client, {"n": "é/ü"})).timetoken == 17000000000000001
    assert [number for number, _ in seen] == [1, 1, 1]
    head = seen[0][1]
    assert head.startswith("GET /publish/demo/demo/0/game-1/0/%7B%22n%22")
    assert "uuid=ann" in head.split("\r\n")[0]
    assert "Host: 127.0.0.1:" in head
    assert "User-Agent: PubNub-Python-Asyncio" in head


async def test_chunked_answers_and_bodies_of_a_post() -> None:
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        head = await request(reader)
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"a\r\n" + SENT[:10] + b"\r\n14\r\n" + SENT[10:] + b"\r\n0\r\n\r\n")
        await reader.read()

    async with client_of(talk) as client:
        result = await client.publish().channel("c").message({"n": "é"}).use_post(True).result()
        assert result.timetoken == 17000000000000001
    assert [json.loads(body) for body in bodies] == [{"n": "é"}]


@pytest.mark.parametrize(
    ("status", "category"),
    [
        ("400 Bad Request", PNStatusCategory.PNBadRequestCategory),
        ("403 Forbidden", PNStatusCategory.PNAccessDeniedCategory),
        ("503 Service Unavailable", PNStatusCategory.PNUnknownCategory),
    ],
)
async def test_errors_arrive_as_the_sdk_has_them(status: str, category: object) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(answer(b'[0,"no","17000000000000001"]', status))
        await reader.read()

    async with client_of(talk) as client:
        with pytest.raises(PubNubException) as caught:
            await publish(client)
    assert caught.value._status_code == int(status[:3])
    assert caught.value.status.category is category
    assert caught.value.status.is_error()


async def test_an_error_that_is_not_json_keeps_its_status() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(answer(b"<html>upstream is gone</html>", "502 Bad Gateway"))
        await reader.read()

    async with client_of(talk) as client:
        with pytest.raises(PubNubException, match="upstream is gone") as caught:
            await publish(client)
    assert caught.value._status_code == 502


async def test_a_retry_after_arrives_and_is_not_taken_for_the_next_answers() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for more in ("retry-AFTER: 7 \r\n", "Retry-After: \r\n", ""):
            await request(reader)
            writer.write(answer(b"{}", "429 Too Many Requests", more))

    async with client_of(talk) as client:
        heard = []
        for _ in range(3):
            with pytest.raises(PubNubException) as caught:
                await publish(client)
            heard.append(caught.value.status.client_response.retry_after)
    assert heard == ["7", "", None]


async def test_an_idle_connection_that_was_closed_meanwhile_is_not_an_error() -> None:
    numbers: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        numbers.append(number)
        writer.write(answer(SENT))
        if number == 1:
            await request(reader)  # heard, but not answered
            return
        await reader.read()

    async with client_of(talk) as client:
        await publish(client)
        await publish(client)
    assert numbers == [1, 2]


async def test_a_new_connection_that_is_closed_is_an_error_and_asked_once() -> None:
    numbers: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        numbers.append(number)

    async with client_of(talk) as client:
        with pytest.raises(ConnectionError):
            await publish(client)
    assert numbers == [1]


async def test_an_answer_cut_short_is_an_error_also_on_a_kept_connection() -> None:
    numbers: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        numbers.append(number)
        writer.write(answer(SENT))
        await request(reader)
        writer.write(answer(SENT)[:-5])
        await writer.drain()

    async with client_of(talk) as client:
        await publish(client)
        with pytest.raises(ConnectionError):
            await publish(client)
    assert numbers == [1]


async def test_a_request_without_an_answer_ends_in_time_and_its_connection_is_not_used_again() -> None:
    numbers: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        numbers.append(number)
        if number > 1:
            writer.write(answer(SENT))
        await reader.read()

    async with client_of(talk, limit_s=1) as client:
        with pytest.raises(TimeoutError):
            await publish(client)
        assert (await publish(client)).timetoken
    assert numbers == [1, 2]


async def test_a_cancelled_request_leaves_no_answer_for_the_next() -> None:
    heard = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        heard.set()
        if number == 1:
            await asyncio.sleep(0.1)
            writer.write(answer(b'[1,"Sent","1"]'))
        else:
            writer.write(answer(SENT))
        await reader.read()

    async with client_of(talk) as client:
        first = asyncio.ensure_future(publish(client))
        await heard.wait()
        first.cancel()
        assert (await publish(client)).timetoken == 17000000000000001
        assert first.cancelled()


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_not_http_is_an_error(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(said)
        await reader.read()

    async with client_of(talk) as client:
        with pytest.raises(ConnectionError, match="not HTTP"):
            await publish(client)


async def test_what_is_not_json_is_an_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(answer(SENT[:-1]))
        await reader.read()

    async with client_of(talk) as client:
        with pytest.raises(ValueError, match="delimiter"):
            await publish(client)


async def test_connections_are_bounded_and_requests_wait_for_one() -> None:
    numbers: set[int] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        numbers.add(number)
        while True:
            await request(reader)
            await asyncio.sleep(0.01)
            writer.write(answer(SENT))

    async with client_of(talk) as client:
        results = await asyncio.gather(*(publish(client, n) for n in range(3 * LIMIT)))
    assert len(results) == 3 * LIMIT
    assert max(numbers) == LIMIT


async def test_nothing_slips_into_the_request_line() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        raise AssertionError("a request was sent")

    # The SDK does not escape user ids.
    async with client_of(talk, user_id="ann HTTP/1.1\r\nX-Forged: 1\r\n") as client:
        with pytest.raises(ValueError, match="percent-encoded"):
            await publish(client)


async def test_a_closed_client_opens_nothing() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(answer(SENT))
        await reader.read()

    async with client_of(talk) as client:
        await publish(client)
        await client.close_session()
        with pytest.raises(ConnectionError, match="closed"):
            await publish(client)
