"""The API as the only witness: what looks at it tell, and what they could not see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.history import Doubt, HistoryWriter, read_history
from harness.history.names import Reading
from harness.observe.api_looks import ApiLooks
from harness.observe.seen_states import Looked, SeenStates
from harness.system import ApiWitness, Call, Lifecycle, Seen, System, Timed
from harness.target import Target
from harness.tests.http_stub import Request, served

OPEN, CLOSED = {"state": "open"}, {"state": "closed"}
EVENTUALLY_S = 20.0


class Quiz(System):
    name = "quiz"
    lifecycle = Lifecycle(
        begins="made",
        moves=("made->open", "open->closed"),
        timed={"open": Timed("5s")},
        ends=frozenset({"closed"}),
    )
    witness = ApiWitness(every="20ms")

    def start(self, session: Any, item: Any) -> None:
        raise NotImplementedError

    def channel(self, item: str, player: str) -> str:
        return item

    def read(self, message: Any) -> None:
        return None

    def look(self, item: str) -> Call:
        return Call("GET", f"/rounds/{item}")

    def seen(self, body: Any) -> Iterator[Seen]:
        for one in body if isinstance(body, list) else [body]:
            times = {
                name: datetime.fromisoformat(one[name])
                for name in ("due_at", "entered_at", "now")
                if name in one
            }
            yield Seen(one.get("id", "1"), one["state"], **times)


class QuizAtOnce(Quiz):
    look = None  # type: ignore[assignment]

    def look_at_all(self) -> Call:
        return Call("GET", "/rounds")


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(EVENTUALLY_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


class Rounds:
    """An API that answers as it is told to, and the looks at it."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (404, None)
        self.asked: list[Request] = []
        self.looks: ApiLooks

    def __call__(self, request: Request) -> tuple[int, Any]:
        self.asked.append(request)
        status, body = self.answer
        if isinstance(body, dict) and body.get("now") == "its own":
            body = body | {"now": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
        return status, body

    async def tells(self, status: int, body: Any, looks: int = 3) -> None:
        """Answer so from now on, and wait until so many looks asked for it."""
        self.answer = (status, body)
        count = len(self.asked)
        await eventually(lambda: len(self.asked) >= count + looks)


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


@asynccontextmanager
async def looking(rounds: Rounds, folder: Path, kind: type[Quiz] = Quiz) -> AsyncIterator[list[Doubt]]:
    """Look at round 1 while the block runs; the doubts of the end are added to the value."""
    doubts: list[Doubt] = []
    with served(rounds) as url, HistoryWriter(folder, "observer-1", "a-run") as history:
        looks = ApiLooks(kind(Target(url, "key", "secret", "sub")), Quiz.witness, history)
        await looks.begin("1")
        yield doubts
        doubts += await looks.finish()


def rows(folder: Path, kind: str = "transition") -> list[dict[str, Any]]:
    return [row for row in read_history(folder).table.to_pylist() if row["kind"] == kind]


@pytest.mark.parametrize("kind", [Quiz, QuizAtOnce])
async def test_moves_are_told_with_the_time_between_two_looks(
    rounds: Rounds, tmp_path: Path, kind: type[Quiz]
) -> None:
    async with looking(rounds, tmp_path, kind) as doubts:
        await rounds.tells(200, [])
        await rounds.tells(200, [OPEN, OPEN | {"id": "of others"}])
        await rounds.tells(200, [CLOSED], looks=1)
    first, second = rows(tmp_path)
    assert (first["name"], second["name"]) == ("made->open", "open->closed")
    assert first["game"] == second["game"] == "1"
    assert 0 < first["value"] < EVENTUALLY_S
    assert doubts == []


async def test_a_round_that_is_over_is_looked_at_no_more(rounds: Rounds, tmp_path: Path) -> None:
    rounds.answer = (200, OPEN)
    async with looking(rounds, tmp_path):
        await rounds.tells(200, OPEN)
        rounds.answer = (200, CLOSED)
        looks = [task for task in asyncio.all_tasks() if "_keep_looking" in repr(task.get_coro())]
        assert len(looks) == 1
        await asyncio.wait_for(looks[0], EVENTUALLY_S)


async def test_the_systems_own_times_are_exact_and_by_its_clock(rounds: Rounds, tmp_path: Path) -> None:
    entered = datetime(2026, 1, 1, 12, tzinfo=UTC)
    rounds.answer = (200, {"state": "made", "now": "its own"})
    async with looking(rounds, tmp_path):
        body = OPEN | {"now": "its own", "entered_at": entered.isoformat(), "due_at": entered.isoformat()}
        await rounds.tells(200, body)
    move, overdue = rows(tmp_path)
    assert (move["start_ns"], move["value"]) == (round(entered.timestamp()) * 10**9, None)
    assert (overdue["name"], overdue["error"]) == ("overdue", "open")
    offsets = [row["value"] for row in rows(tmp_path, "resource") if row["name"] == Reading.CLOCK_OFFSET]
    assert abs(offsets[0] - 3_600_000) < 60_000


@pytest.mark.parametrize(("kind", "gone"), [(Quiz, (404, None)), (QuizAtOnce, (200, []))])
async def test_a_round_that_is_gone_before_its_timer_ends_never_moves(
    rounds: Rounds, tmp_path: Path, kind: type[Quiz], gone: tuple[int, Any]
) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1)
    running = OPEN | {"due_at": due.isoformat()}
    async with looking(rounds, tmp_path, kind) as doubts:
        await rounds.tells(200, [running] if kind is QuizAtOnce else running)
        await rounds.tells(*gone)
        await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
        await rounds.tells(*gone)
    _, overdue = rows(tmp_path)
    assert (overdue["name"], overdue["game"], overdue["error"]) == ("overdue", "1", "open")
    assert doubts == []


def test_of_what_is_gone_after_its_timer_ended_nobody_knows_and_who_is_back_is_not_gone() -> None:
    looks = SeenStates(Quiz.lifecycle, frozenset())
    looks.row(Looked("moved and removed", "open", 10, None, 5, 6))
    looks.missed("moved and removed", 12)
    looks.row(Looked("back", "open", 30, None, 5, 6))
    looks.missed("back", 12)
    looks.row(Looked("back", "open", 30, None, 20, 21))
    looks.row(Looked("lost", "open", 30, None, 5, 6))
    looks.missed("lost", 12)
    assert list(looks.overdue()) == [], "nothing is due yet"
    looks.missed("lost", 31)
    assert [row.game for row in looks.overdue()] == ["lost"]
    ended_by_hand = SeenStates(Quiz.lifecycle, frozenset({"closed"}))
    ended_by_hand.row(Looked("closed early and removed", "open", 30, None, 5, 6))
    ended_by_hand.missed("closed early and removed", 12)
    ended_by_hand.missed("closed early and removed", 31)
    assert list(ended_by_hand.overdue()) == []


async def test_when_a_round_is_gone_is_told_by_the_systems_clock(tmp_path: Path) -> None:
    ahead = timedelta(hours=1)
    due = datetime.now(UTC) + ahead + timedelta(seconds=1)

    class Removed(Rounds):
        """Is over when its timer ends, and gone."""

        def __call__(self, request: Request) -> tuple[int, Any]:
            return super().__call__(request) if datetime.now(UTC) + ahead < due else (404, None)

    rounds = Removed()
    rounds.answer = (200, OPEN | {"now": "its own", "due_at": due.isoformat()})
    async with looking(rounds, tmp_path):
        await asyncio.sleep(1.5)
    assert [row["name"] for row in rows(tmp_path)] == []


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, None, "http 500"),
        (200, {"phase": "open"}, "unreadable: KeyError: 'state'"),
        (
            200,
            OPEN | {"due_at": "2026-01-01T00:00:00"},
            "unreadable: ValueError: due_at of 1 has no",
        ),
    ],
)
async def test_what_could_not_be_seen_is_a_doubt(
    rounds: Rounds, tmp_path: Path, status: int, body: Any, why: str
) -> None:
    rounds.answer = (200, OPEN)
    async with looking(rounds, tmp_path) as doubts:
        await rounds.tells(status, body)
    assert len(doubts) == 1
    assert why in doubts[0].reason


async def test_an_outage_in_between_is_none(rounds: Rounds, tmp_path: Path) -> None:
    rounds.answer = (200, OPEN)
    async with looking(rounds, tmp_path) as doubts:
        await rounds.tells(503, None)
        await rounds.tells(200, CLOSED, looks=1)
    assert doubts == []
    (row,) = rows(tmp_path)
    assert row["name"] == "open->closed"
