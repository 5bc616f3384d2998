"""The trigger that makes the events, dropped and put back as it was, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.faults import Deployment, MissingPartError, NotExercisedError
from harness.stack import Postgres
from harness.target import Target
from harness.tests.database_system import execute, in_session
from harness.tests.permitted import deployment
from scenarios.drawing_game.faults.trigger import TRIGGER, TriggerDropped

TABLES = f"""
    CREATE TABLE games (id text PRIMARY KEY, status text NOT NULL);
    CREATE TABLE events (game_id text);
    CREATE TABLE game_transitions (game_id text, event_id uuid);
    CREATE FUNCTION broadcast_game_event() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO events SELECT id FROM new_games; RETURN NULL; END $$;
    CREATE FUNCTION log_game_transition() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO game_transitions
       SELECT id, (SELECT gen_random_uuid() FROM pg_trigger WHERE tgname = '{TRIGGER}')
       FROM new_games; RETURN NULL; END $$;
    CREATE TRIGGER {TRIGGER} AFTER UPDATE ON games
    REFERENCING OLD TABLE AS old_games NEW TABLE AS new_games
    FOR EACH STATEMENT EXECUTE FUNCTION broadcast_game_event();
    COMMENT ON TRIGGER {TRIGGER} ON games IS 'it''s the one that tells';
    CREATE TRIGGER z_log AFTER UPDATE ON games REFERENCING NEW TABLE AS new_games
    FOR EACH STATEMENT EXECUTE FUNCTION log_game_transition();
    INSERT INTO games VALUES ('game-1', 'drawing');
"""

AS_IT_IS = f"""
    SELECT pg_get_triggerdef(oid), tgenabled::text, obj_description(oid, 'pg_trigger')
    FROM pg_trigger WHERE tgname = '{TRIGGER}'
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(max_connections=20) as postgres:
        yield postgres


@pytest.fixture
def system(postgres: Postgres) -> Iterator[Deployment]:
    run(postgres, TABLES)
    yield deployment(
        Target(
            service_url="http://127.0.0.1:9",
            service_role_key="key",
            cron_secret="secret",
            pubnub_subscribe_key="sub",
            database_url=postgres.url,
        )
    )
    run(postgres, "DROP TABLE games, events, game_transitions")
    run(postgres, "DROP FUNCTION broadcast_game_event(), log_game_transition()")


def run(postgres: Postgres, statement: str) -> None:
    execute(postgres.service_url, statement)


def fetch(postgres: Postgres, question: str) -> Any:
    rows = in_session(postgres.service_url, lambda session: session.fetch(question))
    return [tuple(row) for row in rows]


def move(postgres: Postgres) -> None:
    run(postgres, "UPDATE games SET status = 'voting'")


def events(postgres: Postgres) -> int:
    return len(fetch(postgres, "SELECT * FROM events"))


def test_games_move_without_events_while_it_lasts(system: Deployment, postgres: Postgres) -> None:
    with TriggerDropped().inject(system):
        move(postgres)
        assert events(postgres) == 0
    move(postgres)
    assert events(postgres) == 1


@pytest.mark.parametrize(
    "enabled",
    ["ENABLE", "DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS"],
)
def test_it_is_put_back_exactly_as_it_was(system: Deployment, postgres: Postgres, enabled: str) -> None:
    run(postgres, f"ALTER TABLE games {enabled} TRIGGER {TRIGGER}")
    before = fetch(postgres, AS_IT_IS)
    with TriggerDropped().inject(system):
        assert fetch(postgres, AS_IT_IS) == []
        move(postgres)
    assert fetch(postgres, AS_IT_IS) == before
    assert before[0][2] == "it's the one that tells"


def test_it_is_put_back_when_the_block_fails(system: Deployment, postgres: Postgres) -> None:
    before = fetch(postgres, AS_IT_IS)
    with pytest.raises(ZeroDivisionError), TriggerDropped().inject(system):
        raise ZeroDivisionError
    assert fetch(postgres, AS_IT_IS) == before


def test_it_is_put_back_also_if_somebody_else_did(system: Deployment, postgres: Postgres) -> None:
    ((definition, _, _),) = before = fetch(postgres, AS_IT_IS)
    with TriggerDropped().inject(system):
        move(postgres)
        run(postgres, definition)
    assert fetch(postgres, AS_IT_IS) == before


def test_without_a_move_it_is_not_exercised(system: Deployment, postgres: Postgres) -> None:
    with pytest.raises(NotExercisedError, match="no game moved meanwhile"), TriggerDropped().inject(system):
        pass
    assert len(fetch(postgres, AS_IT_IS)) == 1


def test_a_database_without_the_trigger_has_no_such_part(system: Deployment, postgres: Postgres) -> None:
    run(postgres, f"DROP TRIGGER {TRIGGER} ON games")
    with pytest.raises(MissingPartError, match=f"the database has no trigger {TRIGGER}"):
        TriggerDropped().inject(system).__enter__()


def test_a_database_that_is_not_known_is_refused() -> None:
    target = Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(MissingPartError, match="DATABASE_URL"):
        TriggerDropped().inject(deployment(target)).__enter__()
