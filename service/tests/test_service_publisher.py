"""What a publish that failed says, against the emulator and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from service.breaker import Breaker
from service.metrics import Metrics
from service.publisher import (
    AccessDenied,
    MessageRefused,
    Publisher,
    PublishError,
    message_size,
    retry_after_s,
)
from service.tests.support import PubNub, free_port, name, settings

NOW = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
SENT = b'[1,"Sent","17000000000000001"]'
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def publisher_to(url: str, limit: str = "3s", **more: object) -> AsyncIterator[Publisher]:
    breaker = Breaker(failures=10, open_s=0.1, open_max_s=0.1)
    publisher = Publisher(settings(pubnub_origin=url, pubnub_timeout=limit, **more), breaker, Metrics())
    await publisher.open()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def publisher_of(talk: Talk, limit: str = "3s", **more: object) -> AsyncIterator[Publisher]:
    """Yield a publisher whose connections ``talk`` answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with publisher_to(f"http://{host}:{port}", limit, **more) as publisher:
            yield publisher


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def says(*answers: bytes) -> Talk:
    """Answer requests on one connection one after the other, then hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()

    return talk


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("61", 60),
        ("9" * 5000, 60),
        ("Thu, 01 May 2031 12:00:07 GMT", 7),
        ("Thursday, 01-May-31 12:00:07 GMT", 7),
        ("Thu May  1 12:00:07 2031", 7),
        ("Thu, 01 May 2031 13:00:00 GMT", 60),
        ("Thu, 01 May 2031 11:59:59 GMT", 0),
        ("Thu, 99 May 2031 12:00:07 GMT", 0),
        ("Thu, 01 May 2031 12:00:07 +9999999999999", 0),
        ("", 0),
        ("-7", 0),
        ("1e3", 0),
        ("inf", 0),
        ("7 s", 0),
        ("٧", 0),
        ("soon", 0),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_and_nonsense_asks_for_nothing(value: str, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds


async def test_what_a_url_cannot_hold_goes_by_post(emulator: EmulatorProcess, pubnub: PubNub) -> None:
    channel = name()
    async with publisher_to(emulator.url) as publisher:
        for text in ("x", "x" * 30_000, "x" * 32_000, "(" * 31_000):
            await publisher.publish(channel, text)
    methods = [entry["method"] for entry in pubnub.attempts(channel=channel)]
    assert methods == ["GET", "GET", "POST", "POST"]


@pytest.mark.parametrize("text", ["x", '"', "é", "(", "?"])
async def test_a_message_is_as_long_as_pubnub_counts_it(emulator: EmulatorProcess, text: str) -> None:
    channel = name()
    empty = message_size(channel, "")
    count = (32 * 1024 - empty) // (message_size(channel, text) - empty)
    async with publisher_to(emulator.url) as publisher:
        await publisher.publish(channel, text * count)
        with pytest.raises(MessageRefused, match="http 413"):
            await publisher.publish(channel, text * (count + 1))


async def test_publishes_bear_the_token_that_the_file_holds_now(tmp_path: Path) -> None:
    asked: list[str | None] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, _, _ = (await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP/1.1")
            asked.append(parse_qs(line).get("auth", [None])[0])
            writer.write(answer(SENT))

    path = tmp_path / "token"
    async with publisher_of(talk, pubnub_token_file=path) as publisher:
        for token in (None, "p0F2Ak-_==", "other-token", None):
            path.write_text(f"{token}\n", encoding="ascii") if token else path.unlink(missing_ok=True)
            await publisher.publish("c", {})
    assert asked == [None, "p0F2Ak-_==", "other-token", None]


@pytest.mark.parametrize(
    ("status", "asked_s", "heeded_s"),
    [(429, 2, 2), (503, 7, 7), (429, 3600, 60), (503, None, 0), (500, 2, 0), (403, 2, 0)],
)
async def test_a_refused_publish_says_when_pubnub_will_have_us_again(
    emulator: EmulatorProcess, pubnub: PubNub, status: int, asked_s: float | None, heeded_s: float
) -> None:
    pubnub.break_("status", status=status, operations=["publish"], retry_after_s=asked_s)
    async with publisher_to(emulator.url) as publisher:
        with pytest.raises(PublishError, match=f"http {status}") as caught:
            await publisher.publish(name(), {})
    assert caught.value.retry_after_s == heeded_s
    assert publisher.breaker.retry_after_s == pytest.approx(heeded_s, abs=1.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("502 Bad Gateway", PublishError),
        ("413 Too Large", MessageRefused),
        ("403 Forbidden", AccessDenied),
        ("302 Found", PublishError),
    ],
)
async def test_an_error_that_is_not_json_keeps_its_status(status: str, kind: type[PublishError]) -> None:
    said = answer(b"<html>no</html>", status, "Content-Type: text/html\r\nLocation: /time/0\r\n")
    async with publisher_of(says(said)) as publisher:
        with pytest.raises(PublishError, match=f"^http {status[:3]}$") as caught:
            await publisher.publish("c", {})
    assert type(caught.value) is kind


async def test_a_retry_after_in_html_is_heeded() -> None:
    said = answer(b"<html>", "503 Service Unavailable", "retry-AFTER: 7\r\n")
    async with publisher_of(says(said)) as publisher:
        with pytest.raises(PublishError) as caught:
            await publisher.publish("c", {})
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(SENT[:-1]), "bad answer"),
        (answer(b""), "bad answer"),
        (answer(b"{}"), "bad answer"),
        (answer(b'[1,"Sent","soon"]'), "bad answer"),
        (answer(SENT)[:-5], "connection failed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "connection failed"),
        (b"", "connection failed"),
    ],
)
async def test_an_answer_that_is_none_fails_the_publish(said: bytes, reason: str) -> None:
    async with publisher_of(says(said)) as publisher:
        with pytest.raises(PublishError, match=f"^{reason}$"):
            await publisher.publish("c", {})


async def test_nobody_there_and_no_answer_are_told_apart() -> None:
    async with publisher_to(f"http://127.0.0.1:{free_port()}") as publisher:
        with pytest.raises(PublishError, match="connection refused"):
            await publisher.publish("c", {})
    async with publisher_of(silence, "100ms") as publisher:
        with pytest.raises(PublishError, match="timeout"):
            await publisher.publish("c", {})


async def test_a_body_that_does_not_end_is_a_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(SENT)[:-5])
        await reader.read()

    async with publisher_of(talk, "100ms") as publisher:
        with pytest.raises(PublishError, match="timeout"):
            await publisher.publish("c", {})


async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async with publisher_of(says(answer(SENT))) as publisher:
        for _ in range(3):
            assert await publisher.publish("c", {}) == 17000000000000001


async def test_a_cancelled_publish_leaves_no_answer_for_the_next() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        first = not asked.is_set()
        asked.set()
        await asyncio.sleep(0.1 * first)
        writer.write(answer(b'[1,"Sent","1"]' if first else SENT))

    async with publisher_of(talk) as publisher:
        first = asyncio.ensure_future(publisher.publish("c", {}))
        await asked.wait()
        first.cancel()
        assert await publisher.publish("c", {}) == 17000000000000001
        assert first.cancelled()
