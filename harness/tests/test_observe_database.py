"""The database reader against the service's own database: what moved, what was published, what never was."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from harness.history import HistoryWriter, read_history
from harness.observe.database import due_soon, reader_of, why_unreadable
from harness.stack import Stack, start_stack
from harness.system import find_system
from harness.target.sessions import Who, open_session

SYSTEM = find_system()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack() as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}-"


class Reading:
    """A reader and its record."""

    def __init__(self, url: str, prefix: str, folder: Path) -> None:
        self._folder = folder
        self._history = HistoryWriter(folder, "reader", "a-run")
        reader = reader_of(SYSTEM, url, prefix, self._history, may_watch=True)
        assert reader is not None
        self.reader = reader

    async def finish(self) -> list[dict[str, Any]]:
        assert await self.reader.finish(within_s=5.0) is None
        return self.rows()

    def rows(self) -> list[dict[str, Any]]:
        self._history.flush()
        return read_history(self._folder).table.to_pylist()


@pytest.fixture
def reading(stack: Stack, prefix: str, tmp_path: Path) -> Reading:
    assert stack.target.database_url is not None
    return Reading(stack.target.database_url, prefix, tmp_path / "history")


async def start_game(url: str, game: str, *, briefing_s: float = 3600.0) -> None:
    """Make a game and move it to its briefing, as the API does."""
    connection = await asyncpg.connect(url)
    insert = "INSERT INTO games (id, prompt, briefing_duration_s) VALUES ($1, 'x', $2)"
    await connection.execute(insert, game, briefing_s)
    await connection.execute("UPDATE games SET status = 'briefing' WHERE id = $1", game)
    await connection.close()


def of(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


async def test_a_move_is_read_with_its_commit_its_trigger_its_event_and_the_timer_that_it_set(
    stack: Stack, reading: Reading, prefix: str
) -> None:
    await start_game(stack.target.database_url or "", f"{prefix}1")
    await reading.reader.connect()
    rows = await reading.finish()
    (move,) = of("transition", rows)
    assert (move["name"], move["game"], move["seq"]) == ("waiting->briefing", f"{prefix}1", 1)
    assert move["intended_ns"] is None, "nobody's timer moved it"
    assert move["end_ns"] >= move["start_ns"], "committed after it was moved"
    (trigger,) = of("trigger", rows)
    (published,) = of("publish", rows)
    assert move["event"] == trigger["event"] == published["event"]
    assert trigger["value"] > 0
    assert trigger["end_ns"] - trigger["start_ns"] == round(trigger["value"] * 1e6)
    (timer,) = of("timer", rows)
    assert (timer["name"], timer["target"], timer["start_ns"]) == ("set", "briefing", move["start_ns"])
    assert timer["intended_ns"] > timer["start_ns"], "it ends after it was set"


async def test_sessions_of_the_service_are_counted_and_ours_are_not(stack: Stack, reading: Reading) -> None:
    url = stack.target.database_url or ""
    sessions = [await asyncpg.connect(url) for _ in range(30)]
    ours = [await open_session(url, who, limit_s=10) for who in Who for _ in range(20)]
    await reading.reader.connect()
    for session in (*sessions, *ours):
        await session.close()
    counted = [row for row in await reading.finish() if row["name"] == "service_sessions"]
    # The service's pool and relay have some too.
    assert [row["actor"] for row in counted] == ["database"]
    assert 30 <= counted[0]["value"] <= 30 + 21


async def test_nothing_is_read_twice_and_nothing_of_other_runs(
    stack: Stack, reading: Reading, prefix: str
) -> None:
    url = stack.target.database_url or ""
    await reading.reader.connect()
    await start_game(url, f"{prefix}1")
    await start_game(url, f"x{prefix}1")
    for _ in range(3):
        await reading.reader.connect()
    rows = await reading.finish()
    assert [row["game"] for row in of("transition", rows)] == [f"{prefix}1"]
    assert [row["game"] for row in of("publish", rows)] == [f"{prefix}1"]


async def test_a_move_committed_after_one_with_a_higher_id_is_not_missed(
    stack: Stack, reading: Reading, prefix: str
) -> None:
    url = stack.target.database_url or ""
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO games (id, prompt) VALUES ($1, 'x')", f"{prefix}slow")
    slow = connection.transaction()
    await slow.start()
    await connection.execute("UPDATE games SET status = 'briefing' WHERE id = $1", f"{prefix}slow")
    await start_game(url, f"{prefix}quick")
    await reading.reader.connect()
    await slow.commit()
    await connection.close()
    await reading.reader.connect()
    assert [row["game"] for row in of("transition", reading.rows())] == [f"{prefix}quick", f"{prefix}slow"]
    await reading.finish()


async def test_games_that_are_to_fall_due_are_counted(stack: Stack, prefix: str) -> None:
    url = stack.target.database_url or ""
    await start_game(url, f"{prefix}1", briefing_s=30)
    await start_game(url, f"x{prefix}2", briefing_s=30)
    assert await due_soon(url, prefix, 0, 31, SYSTEM) == 1
    assert await due_soon(url, prefix, 0, 10, SYSTEM) == 0
    assert await due_soon(url, prefix, 31, 60, SYSTEM) == 0


async def test_a_game_past_due_and_not_moved_is_named_at_the_end(
    stack: Stack, reading: Reading, prefix: str
) -> None:
    await start_game(stack.target.database_url or "", f"{prefix}1", briefing_s=0.1)
    await asyncio.sleep(0.2)
    rows = await reading.finish()
    (overdue,) = [row for row in rows if row["name"] == "overdue"]
    assert (overdue["game"], overdue["ok"], overdue["error"]) == (f"{prefix}1", False, "briefing")
    assert overdue["end_ns"] > overdue["intended_ns"]


async def test_an_event_that_was_not_published_is_waiting_at_the_end(
    stack: Stack, reading: Reading, prefix: str
) -> None:
    stack.proxies.disable("service-pubnub")
    try:
        await start_game(stack.target.database_url or "", f"{prefix}1")
        await reading.reader.connect()
        assert of("publish", reading.rows()) == [], "what is not final is told at the end only"
        rows = await reading.finish()
    finally:
        stack.proxies.enable("service-pubnub")
    (waiting,) = of("publish", rows)
    assert (waiting["ok"], waiting["error"], waiting["end_ns"]) == (None, "waiting", None)
    depths = [row["value"] for row in rows if row["name"] == "outbox_depth"]
    assert max(depths) >= 1


async def test_a_database_that_was_gone_is_read_on(stack: Stack, reading: Reading, prefix: str) -> None:
    url = stack.target.database_url or ""
    await start_game(url, f"{prefix}before")
    await reading.reader.connect()
    following = asyncio.create_task(reading.reader.follow())
    await asyncio.to_thread(stack.restart, "postgres")
    await start_game(url, f"{prefix}after")
    try:
        for _ in range(200):
            if len(of("transition", reading.rows())) == 2:
                break
            await asyncio.sleep(0.1)
    finally:
        following.cancel()
    assert [row["game"] for row in of("transition", reading.rows())] == [f"{prefix}before", f"{prefix}after"]


async def test_the_offset_of_the_databases_clock_is_known_with_its_bound(reading: Reading) -> None:
    await reading.reader.connect()
    rows = await reading.finish()
    offsets = [row["value"] for row in rows if row["name"] == "clock_offset_ms"]
    bounds = [row["value"] for row in rows if row["name"] == "clock_error_bound_ms"]
    # The very same clock: what is found must be 0, give or take the bound.
    assert len(offsets) == len(bounds) == 2
    assert all(abs(offset) <= bound + 0.001 for offset, bound in zip(offsets, bounds, strict=True))


async def test_what_cannot_be_read_is_named(stack: Stack) -> None:
    url = stack.target.database_url or ""
    assert await why_unreadable(url, SYSTEM) is None
    assert "refused" in str(
        await why_unreadable("postgresql://127.0.0.1:1/x", SYSTEM)
    ) or "Connect call failed" in str(await why_unreadable("postgresql://127.0.0.1:1/x", SYSTEM))
    elsewhere = url.rsplit("/", 1)[0] + "/template1"
    assert "does not exist" in str(await why_unreadable(elsewhere, SYSTEM))
