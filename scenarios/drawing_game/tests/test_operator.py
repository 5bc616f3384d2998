"""An operator at work on a real stack: games moved, dawdlers seated, channels flooded, all recorded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import requests

from harness.faults.network import Down
from harness.faults.pubnub import Status
from harness.history import HistoryWriter, read_history
from harness.history.names import Publish
from harness.stack import Stack, StackOptions, start_stack
from harness.target.client import Answer, Client
from harness.tests.helpers import eventually
from scenarios.drawing_game.faults.flags import FlagOff
from scenarios.drawing_game.operator import DAWDLER, DEAD_LETTER, FLOOD, OPERATOR, Operator

PREFIX = "sw0a0b0c0d-"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack(StackOptions(advertise=False, service_env={"GRACE_PERIOD": "500ms"})) as stack:
        yield stack


@pytest.fixture
def history(tmp_path: Path) -> Iterator[HistoryWriter]:
    with HistoryWriter(tmp_path, "operator", "run") as history:
        yield history


def recorded(history: HistoryWriter) -> list[dict[str, Any]]:
    history.flush()
    return list(read_history(history.path.parent).table.to_pylist())


def ask(stack: Stack, question: str, *values: Any) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(stack.target.database_url)
        try:
            return await connection.fetchval(question, *values)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def overdue(stack: Stack, game: str) -> None:
    ask(
        stack,
        "INSERT INTO games (id, prompt, status, phase_expires_at) VALUES ($1, 'x', 'voting', now())",
        game,
    )


def status(stack: Stack, game: str) -> str:
    return str(ask(stack, "SELECT status FROM games WHERE id = $1", game))


def test_games_that_are_over_are_moved_and_others_left_alone(stack: Stack, history: HistoryWriter) -> None:
    ours, others = f"{PREFIX}over", "another-runs-game"
    overdue(stack, others)
    overdue(stack, ours)
    with (
        FlagOff("ENABLE_TIMER_MONITORING").inject(stack),
        Operator(stack.target, history, PREFIX).moving_games(0.05),
    ):
        eventually(lambda: status(stack, ours) == "completed")
    assert status(stack, others) == "voting"
    moves = [row for row in recorded(history) if "transition_game_status" in row["name"]]
    assert [(row["game"], row["actor"], row["ok"]) for row in moves] == [(ours, OPERATOR, True)]


def test_a_service_that_is_not_there_is_recorded_and_survived(stack: Stack, history: HistoryWriter) -> None:
    operator = Operator(stack.target, history, PREFIX)
    with Down("load-service").applied(stack), operator.moving_games(0.05):
        eventually(lambda: any(row["ok"] is False for row in recorded(history)))
    operator.replay_dead_letters()
    assert recorded(history)[-1]["ok"] is True


def test_dawdlers_go_through_drawing_without_handing_in(stack: Stack, history: HistoryWriter) -> None:
    drawing = f"SELECT count(*) FROM games WHERE id LIKE '{PREFIX}{DAWDLER}-%' AND status = 'drawing'"
    moved = "SELECT count(*) FROM game_transitions WHERE from_status = 'drawing' AND source = 'timer'"
    over = threading.Event()

    def tick() -> None:
        url = f"{stack.target.service_url}/functions/v1/monitor-game-timers"
        while not over.wait(0.1):
            requests.post(url, headers={"x-cron-secret": stack.target.cron_secret}, timeout=10)

    cron = threading.Thread(target=tick)
    cron.start()
    try:
        with Operator(stack.target, history, PREFIX, drawing_s=0.3).dawdling_games(every_s=0.1):
            assert ask(stack, moved) >= 3
        assert ask(stack, drawing) == 0
    finally:
        over.set()
        cron.join()
    assert ask(stack, "SELECT count(*) FROM submissions") == 0
    assert all(row["ok"] for row in recorded(history))


def drawing(stack: Stack, name: str, left_s: float) -> str:
    game = f"{PREFIX}{name}"
    ask(
        stack,
        "INSERT INTO games (id, prompt, status, phase_expires_at) "
        "VALUES ($1, 'x', 'drawing', clock_timestamp() + make_interval(secs => $2))",
        game,
        left_s,
    )
    return game


def accepted(stack: Stack, game: str) -> list[dict[str, Any]]:
    """What PubNub has of a game's channel."""
    target = stack.target
    path = f"/v2/history/sub-key/{target.pubnub_subscribe_key}/channel/game-{game}"
    answer = requests.get(f"{target.pubnub_origin}{path}", {"count": 100}, timeout=10)
    return list(answer.json()[0])


def test_games_in_mid_drawing_are_flooded_and_others_left_alone(stack: Stack, history: HistoryWriter) -> None:
    soon, later, other = drawing(stack, "soon", 6), drawing(stack, "later", 60), drawing(stack, "other", 2)
    before = time.monotonic()
    with Operator(stack.target, history, PREFIX).flooding(messages=20, ends_in_s=(3, 5)):
        assert time.monotonic() - before >= 0.5
        assert not accepted(stack, soon)
    assert not accepted(stack, other)
    for game in (soon, later):
        got = accepted(stack, game)
        assert [message["data"]["number"] for message in got] == list(range(1, 21))
        rows = [row for row in recorded(history) if row["name"] == FLOOD and row["game"] == game]
        assert [(row["event"], row["value"]) for row in rows] == [
            (message["eventId"], message["data"]["number"]) for message in got
        ]
        assert all(row["intended_ns"] < row["start_ns"] < row["end_ns"] for row in rows)


def test_messages_that_are_not_accepted_are_no_flood(stack: Stack, history: HistoryWriter) -> None:
    game = drawing(stack, "refused", 4)
    operator = Operator(stack.target, history, PREFIX)
    with Status("publish", status=400).applied(stack), operator.flooding(messages=3, ends_in_s=(1, 4)):
        pass
    assert not accepted(stack, game)
    assert not [row for row in recorded(history) if row["name"] == FLOOD]


def test_dead_letters_are_recorded_and_replayed(stack: Stack, history: HistoryWriter) -> None:
    game = f"{PREFIX}denied"
    overdue(stack, game)
    with Status("publish", status=403).applied(stack):
        ask(stack, "UPDATE games SET status = 'completed' WHERE id = $1", game)
        eventually(lambda: ask(stack, "SELECT state FROM event_outbox WHERE game_id = $1", game) == "dead")
    Operator(stack.target, history, PREFIX).replay_dead_letters()
    eventually(lambda: ask(stack, "SELECT state FROM event_outbox WHERE game_id = $1", game) == "published")
    rows = {row["name"]: row for row in recorded(history) if row["game"] == game}
    event = ask(stack, "SELECT event_id::text FROM event_outbox WHERE game_id = $1", game)
    assert rows[DEAD_LETTER]["event"] == rows[Publish.REPLAYED]["event"] == event
    assert (rows[DEAD_LETTER]["error"], rows[DEAD_LETTER]["value"]) == ("http 403", 1)
    assert rows[DEAD_LETTER]["start_ns"] <= rows[Publish.REPLAYED]["start_ns"]


def test_a_dead_letter_that_turns_up_late_is_replayed_too(
    stack: Stack, history: HistoryWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = {
        "gameId": f"{PREFIX}late", "eventId": "an-event", "seq": 1, "reason": "http 403", "attempts": 1,
        "failedAt": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    there = iter([[], [], [letter], []])

    def call(_: Client, method: str, path: str, **more: Any) -> Answer:
        body = {"deadLetters": next(there, [])} if method == "GET" else {"eventIds": ["an-event"]}
        return Answer(200, body, None, 0, 0)

    monkeypatch.setattr(Client, "call", call)
    Operator(stack.target, history, PREFIX).replay_dead_letters()
    assert [row["name"] for row in recorded(history)] == [DEAD_LETTER, Publish.REPLAYED]
