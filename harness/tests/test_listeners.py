"""Players who listen over WebSockets, server-sent events and in ways of a system's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from harness.history import HistoryWriter, read_history
from harness.observe import player
from harness.observe.player import HeardItem, Player
from harness.system import (
    Ear,
    Heard,
    Item,
    Lifecycle,
    Listener,
    ServerSentEvents,
    Session,
    SqlWitness,
    System,
    SystemFileError,
    Timed,
    Unheard,
    Unreadable,
    WebSocket,
)
from harness.system.listeners import EventStream, decoded
from harness.system.listening import listener_of
from harness.target import Target

TARGET = Target("http://127.0.0.1:9", "key", "secret", "sub")
ENOUGH_S = 20.0


class Auction(System):
    """Messages are ``{"lot", "now"}``: no ids, no numbers."""

    name = "auction"
    lifecycle = Lifecycle(
        "announced",
        ("announced->bidding", "bidding->held", "held->bidding", "bidding->sold"),
        {"bidding": Timed("2s")},
        frozenset({"sold"}),
    )
    witness = SqlWitness(moves="SELECT 1", overdue="SELECT 1", due_soon="SELECT 1")

    def start(self, session: Session, item: Item) -> None: ...

    def listener(self, item: str, player: str, headers: Mapping[str, str]) -> Any:
        return headers.get("listener")

    def read(self, message: Any) -> Any:
        if message == "nothing of ours":
            return None
        if message == "a riddle":
            return "an answer"
        if message == "an apology":
            raise Unreadable("it apologises")
        return Heard(message["lot"], "moved", state=message["now"])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "_AGAIN_FIRST_S", 0.05)
    monkeypatch.setattr(player, "_CHANCE_S", 0.0)


class Listening:
    """One player, and what it records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = HistoryWriter(folder, "observer-1", "a-run")
        self._players: list[Player] = []
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.count = 0

    async def begin(self, listener: Listener) -> bool:
        item = HeardItem("lot-1", lambda game, phase: self.heard.put_nowait(phase), self._counted, set())
        self._players.append(Player("player-1", item, Auction(TARGET), listener, self._history))
        return await self._players[-1].connect()

    async def until_heard(self, *states: str) -> None:
        async with asyncio.timeout(ENOUGH_S):
            assert [await self.heard.get() for _ in states] == list(states)

    async def end(self) -> list[dict[str, Any]]:
        """Leave, and return the record."""
        for one in self._players:
            await one.disconnect()
        self._history.flush()
        return read_history(self._folder).table.to_pylist()

    def _counted(self) -> None:
        self.count += 1


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    return Listening(tmp_path / "history")


Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def serve_one(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_get("/", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield serve_one
    for server in servers:
        await server.close()


def socket_that_says(
    *connections: list[dict[str, str]], seen: list[Any] | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Serve a WebSocket that says something else each time, and ends; the last time it stays."""
    left = list(connections)

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if seen is not None:
            seen.extend([request.headers.get("Authorization"), await socket.receive_json()])
        for message in left.pop(0):
            await socket.send_json(message)
        if left:
            await socket.close()
        else:
            await socket.receive()
        return socket

    return handler


def lot(now: str, lot: str = "lot-1") -> dict[str, str]:
    return {"lot": lot, "now": now}


def messages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"] not in {"subscribe", "unsubscribe"}]


async def test_a_websocket_is_heard_and_its_player_comes_back(listening: Listening, serve: Serve) -> None:
    url = await serve(socket_that_says([lot("bidding")], [], [lot("sold")]))
    assert await listening.begin(WebSocket(url))
    await listening.until_heard("bidding", "sold")
    rows = await listening.end()
    assert [(row["name"], row["ok"], row["place"]) for row in rows if row["place"]] == [
        ("subscribe", True, "WebSocket")
    ]
    assert rows[-1]["name"] == "unsubscribe"
    heard = messages(rows)
    assert [row["target"] for row in heard] == ["bidding", "sold"]
    # Nobody tells when they were accepted.
    assert [row["start_ns"] for row in heard] == [None, None]
    assert listening.count == 2


async def test_an_event_without_an_id_is_item_and_state_where_that_is_one_event(
    listening: Listening, serve: Serve
) -> None:
    await listening.begin(WebSocket(await serve(socket_that_says([lot("bidding"), lot("sold")]))))
    await listening.until_heard("bidding", "sold")
    # A lot may be held and bid for again.
    assert [row["event"] for row in messages(await listening.end())] == [None, "lot-1=sold"]


async def test_a_websocket_bears_headers_and_says_what_it_wants(listening: Listening, serve: Serve) -> None:
    seen: list[Any] = []
    url = await serve(socket_that_says([lot("sold")], seen=seen))
    await listening.begin(WebSocket(url, {"Authorization": "Token t"}, says=[{"join": "lot-1"}]))
    await listening.until_heard("sold")
    await listening.end()
    assert seen == ["Token t", {"join": "lot-1"}]


async def refuse(_: web.Request) -> web.StreamResponse:
    return web.json_response({}, status=401)


async def no_stream(_: web.Request) -> web.StreamResponse:
    return web.json_response({})


class Silent(Listener):
    way = "carrier pigeon"

    async def listen(self, ear: Ear) -> None:
        raise Unheard("no pigeon")


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (refuse, WebSocket, "http 401"),
        (refuse, ServerSentEvents, "http 401"),
        (no_stream, ServerSentEvents, "application/json is no stream of events"),
        (no_stream, lambda _: Silent(), "no pigeon"),
        (no_stream, lambda _: WebSocket("http://127.0.0.1:9"), "connection refused"),
    ],
)
async def test_who_can_not_be_connected_says_why(
    answer: Any, kind: Any, why: str, listening: Listening, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "CONNECT_LIMIT_S", 0.3)
    assert not await listening.begin(kind(await serve(answer)))
    assert [(row["name"], row["ok"], row["error"]) for row in await listening.end()] == [
        ("subscribe", False, why),
        ("unsubscribe", True, None),
    ]


async def test_server_sent_events_are_taken_up_where_they_ended(listening: Listening, serve: Serve) -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        now, id = ("bidding", "id: 7\n") if len(asked) == 1 else ("sold", "")
        await response.write(f'retry: 20\n{id}data: {{"lot": "lot-1",\ndata: "now": "{now}"}}\n\n'.encode())
        if len(asked) > 2:
            await asyncio.Event().wait()
        return response

    assert await listening.begin(ServerSentEvents(await serve(handler)))
    await listening.until_heard("bidding", "sold")
    await listening.end()
    assert asked[:2] == [None, "7"]
    assert set(asked[2:]) <= {"7"}


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        (["data: a\n\ndata: b\n\n"], [("a", "", ""), ("b", "", "")]),
        (["da", "ta: a\r", "\n\r\nda", "ta: b\r\n\r\n"], [("a", "", ""), ("b", "", "")]),
        (["event: bid\ndata:x\nid: 3\n\ndata: y\n\n"], [("x", "bid", "3"), ("y", "", "3")]),
        ([": still here\n\nevent: empty\n\ndata\n\n"], [("", "", "")]),
        (["id: a\0b\ndata: a\ndata:  b\n\ndata: not yet\n"], [("a\n b", "", "")]),
    ],
)  # fmt: skip
def test_a_stream_is_read_as_browsers_do(chunks: list[str], events: list[tuple[str, str, str]]) -> None:
    stream = EventStream()
    found = [event for chunk in chunks for event in stream.feed(chunk.encode())]
    assert [(event.data, event.name, event.id) for event in found] == events
    assert stream.again_s is None


def test_a_character_may_come_in_two_parts_and_time_until_the_next_try_in_digits() -> None:
    stream = EventStream("before")
    data = "\ufeffretry: 1500\nretry: soon\ndata: \N{EURO SIGN}\n\n".encode()
    (event,) = [event for at in range(len(data)) for event in stream.feed(data[at : at + 1])]
    assert (event.data, event.id, stream.again_s) == ("\N{EURO SIGN}", "before", 1.5)


class Scripted(Listener):
    """Hands over what it is given, and stays."""

    way = "script"

    def __init__(self, *script: Any, of_all: bool = False) -> None:
        self._script = script
        self.of_all = of_all

    async def listen(self, ear: Ear) -> None:
        ear.connected()
        for message in self._script:
            ear.hear(message, 5)
        await asyncio.Event().wait()


async def test_what_a_systems_file_can_not_read_is_a_row_with_the_line_and_stops_nobody(
    listening: Listening,
) -> None:
    script = ["a riddle", {"lot": "lot-1"}, "an apology", "nothing of ours", lot("flown"), lot("sold")]
    assert await listening.begin(Scripted(*script))
    *bad, good = messages(await listening.end())
    assert {row["name"] for row in bad} == {"unreadable"}
    riddle, key, apology, state = [row["error"].partition(", as in ")[0] for row in bad]
    assert "read: TypeError: it returned str, neither Heard nor None" in riddle
    assert key.startswith(f"{__file__}:")
    assert key.endswith(": read: KeyError: 'now'")
    assert (apology, state) == ("it apologises", "the lifecycle has no state 'flown'")
    assert (good["name"], good["ok"], good["start_ns"]) == ("moved", True, 5)


def nested(depth: int) -> list[Any]:
    """A message of arrays in arrays, deeper than JSON can be written."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


async def test_whatever_comes_is_a_row_and_stops_nobody(listening: Listening) -> None:
    deep = decoded("[" * 16_384 + "]" * 16_384)
    assert isinstance(deep, str), "32 KiB of nesting are no JSON that anybody could read"
    script = [
        None,
        7,
        float("nan"),
        [lot("held")],
        deep,
        nested(5_000),
        {"lot": "lot-1", "now": float("nan")},
    ]
    assert await listening.begin(Scripted(*script, lot("sold")))
    *bad, good = messages(await listening.end())
    assert [(row["name"], row["ok"]) for row in bad] == [("unreadable", False)] * len(script)
    assert max(len(row["error"]) for row in bad) < 400
    assert (good["name"], good["ok"]) == ("moved", True)


@pytest.mark.parametrize(
    "told", [{"ends": nested(5_000)}, {"ends": object()}, {"ends": "x" * 5_000}], ids=["deep", "none", "long"]
)
def test_what_can_not_be_compared_is_unreadable(told: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="what it tells"):
        player._said(Heard("lot-1", "moved", state="sold", told=told))


@pytest.mark.parametrize(("of_all", "errors"), [(False, ["wrong item", None]), (True, [None])])
async def test_messages_of_other_items_are_wrong_unless_all_items_are_heard_there(
    of_all: bool, errors: list[str | None], listening: Listening
) -> None:
    await listening.begin(Scripted(lot("sold", "lot-2"), lot("sold"), of_all=of_all))
    assert [row["error"] for row in messages(await listening.end())] == errors
    assert listening.heard.get_nowait() == "sold"
    assert listening.heard.empty()


def test_how_a_player_listens_must_be_said() -> None:
    with pytest.raises(SystemFileError, match=r"listener: TypeError: it returned None"):
        listener_of(Auction(TARGET), "lot-1", "player-1", {})


@pytest.mark.parametrize(
    ("moves", "event"), [("SELECT id, event_id", "e-1"), ("SELECT id -- event_id", "lot-1=sold")]
)
def test_a_move_is_called_as_its_witness_knows_it(tmp_path: Path, moves: str, event: str) -> None:
    class WithIds(Auction):
        witness = SqlWitness(moves=moves)

        def read(self, message: Any) -> Any:
            return Heard("lot-1", "moved", "e-1", state="sold")

    item = HeardItem("lot-1", lambda game, phase: None, lambda: None, set())
    with HistoryWriter(tmp_path, "observer-1", "a-run") as history:
        Player("player-1", item, WithIds(TARGET), WebSocket("ws://127.0.0.1:9"), history).hear({})
    (row,) = read_history(tmp_path).table.to_pylist()
    assert (row["event"], row["target"]) == (event, "sold")
