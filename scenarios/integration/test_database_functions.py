"""The database's own functions and rules, as an operator in psql meets them."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import asyncpg
import pytest

from service.tests.support import ServiceProcess, Urls, name

pytestmark = pytest.mark.usefixtures("service")


def test_the_verification_of_the_requirements_finds_the_function(database: Urls) -> None:
    (row,) = database.fetch(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'broadcast_game_event'"
    )
    assert "event_outbox" in row["pg_get_functiondef"]


def test_the_test_data_of_the_requirements_are_moved_by_one_tick(
    service: ServiceProcess, database: Urls
) -> None:
    for _ in range(2):  # it can be set up again
        database.fetch("SELECT setup_test_data()")
    expired = database.fetch("SELECT * FROM find_expired_games() WHERE starts_with(game_id, 'test-')")
    assert [(row["game_id"], row["status"], row["next_status"]) for row in expired] == [
        ("test-expired-1", "drawing", "voting"),
        ("test-expired-2", "voting", "completed"),
    ]
    service.tick()
    found = database.fetch("SELECT id, status FROM games WHERE starts_with(id, 'test-') ORDER BY id")
    assert [tuple(row.values()) for row in found] == [
        ("test-active-1", "briefing"),
        ("test-expired-1", "voting"),
        ("test-expired-2", "completed"),
    ]


STATES = ("waiting", "briefing", "drawing", "voting", "completed", "cancelled")
LEGAL = {
    ("waiting", "briefing"), ("briefing", "drawing"), ("drawing", "voting"), ("voting", "completed"),
    ("waiting", "cancelled"), ("briefing", "cancelled"), ("drawing", "cancelled"), ("voting", "cancelled"),
}  # fmt: skip


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_only_legal_moves_are_possible(database: Urls, before: str, after: str) -> None:
    game_id = name()
    timed = before in {"briefing", "drawing", "voting"}
    database.fetch(
        "INSERT INTO games (id, prompt, status, phase_expires_at) "
        "VALUES ($1, 'x', $2, CASE WHEN $3 THEN now() + interval '1 h' END)",
        game_id, before, timed,
    )  # fmt: skip
    if (before, after) in LEGAL:
        moved = database.fetch("SELECT * FROM transition_game_status($1, $2, $3)", game_id, after, before)[0]
        assert moved["status"] == after
        assert (moved["phase_expires_at"] is not None) == (after in {"briefing", "drawing", "voting"})
        return
    with pytest.raises(asyncpg.CheckViolationError):
        database.fetch("SELECT transition_game_status($1, $2)", game_id, after)
    if before != after:
        with pytest.raises(asyncpg.CheckViolationError):
            database.fetch("UPDATE games SET status = $2 WHERE id = $1", game_id, after)
    assert database.value("SELECT count(*) FROM game_transitions WHERE game_id = $1", game_id) == 0


def test_a_game_holds_no_more_players_than_it_may(database: Urls) -> None:
    game_id = name()
    database.fetch("INSERT INTO games (id, prompt, max_players) VALUES ($1, 'x', 1)", game_id)
    database.fetch("INSERT INTO game_participants (game_id, user_id) VALUES ($1, 'one')", game_id)
    with pytest.raises(asyncpg.CheckViolationError, match="full"):
        database.fetch("INSERT INTO game_participants (game_id, user_id) VALUES ($1, 'two')", game_id)


def test_only_players_hand_in_and_only_once(database: Urls) -> None:
    game_id = name()
    database.fetch("INSERT INTO games (id, prompt) VALUES ($1, 'x')", game_id)
    insert = "INSERT INTO submissions (game_id, user_id, content) VALUES ($1, 'one', '{}')"
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        database.fetch(insert, game_id)
    database.fetch("INSERT INTO game_participants (game_id, user_id) VALUES ($1, 'one')", game_id)
    database.fetch(insert, game_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        database.fetch(insert, game_id)


@pytest.mark.parametrize(
    "change",
    [
        "phase_expires_at = NULL",
        "phase_expires_at = 'infinity'",
        "status = 'paused'",
        "grace_until = now()",
        "max_players = 0",
        "id = 'other'",
        "drawing_duration_s = 'NaN'",
    ],
)
def test_states_that_make_no_sense_are_impossible(database: Urls, change: str) -> None:
    game_id = name()
    database.fetch(
        "INSERT INTO games (id, prompt, status, phase_expires_at) VALUES ($1, 'x', 'briefing', now())",
        game_id,
    )
    with pytest.raises(asyncpg.CheckViolationError):
        database.fetch(f"UPDATE games SET {change} WHERE id = $1", game_id)  # noqa: S608 - the test's own text
