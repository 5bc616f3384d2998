"""Start, migration and end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from service.migrate import Migration, MigrationError, load_migrations, migrate
from service.tests.parts import StartService
from service.tests.support import API, PubNub, Urls, base_environment, eventually, free_port, name


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
     encoding="utf-8")  # fmt: skip


def test_help_names_the_settings() -> None:
    done = run(base_environment("", ""), "--help")
    assert done.returncode == 0
    for word in ("--check", "--migrate", "--port", "DATABASE_URL", "CRON_SECRET"):
        assert word in done.stdout


def test_a_missing_setting_stops_the_start_with_its_name() -> None:
    environment = base_environment("postgresql://u:p@127.0.0.1:1/d", "http://127.0.0.1:1")
    del environment["CRON_SECRET"]
    done = run(environment)
    assert done.returncode == 2
    assert done.stderr.strip() == "service: CRON_SECRET is not set"


def test_no_database_stops_the_start_without_a_traceback_or_a_secret() -> None:
    url = f"postgresql://u:pw-very-secret@127.0.0.1:{free_port()}/d"
    done = run(base_environment(url, "http://127.0.0.1:1") | {"DATABASE_WAIT": "500ms"})
    assert done.returncode == 1
    assert done.stderr.startswith("service: DATABASE_URL")
    assert "Traceback" not in done.stdout + done.stderr
    assert "pw-very-secret" not in done.stdout + done.stderr


def test_check_says_which_part_is_ill(own_database: Urls, emulator: EmulatorProcess) -> None:
    well = run(base_environment(own_database.service, emulator.url), "--check")
    assert well.returncode == 0, well.stdout
    ill = run(base_environment(own_database.service, f"http://127.0.0.1:{free_port()}"), "--check")
    assert ill.returncode == 1
    lines = {line.split()[0]: line for line in ill.stdout.splitlines() if not line.startswith("{")}
    assert " ok " in lines["database"]
    assert "connection refused" in lines["pubnub"]


def test_migrate_applies_once(own_database: Urls) -> None:
    environment = base_environment(own_database.service, "http://127.0.0.1:1")
    assert "applied: games, events, functions" in run(environment, "--migrate").stdout
    assert "nothing" in run(environment, "--migrate").stdout
    found = own_database.fetch("SELECT proname FROM pg_proc WHERE proname = 'broadcast_game_event'")
    assert len(found) == 1


async def test_replicas_that_start_together_migrate_once(own_database: Urls) -> None:
    connections = [await asyncpg.connect(own_database.service) for _ in range(6)]
    applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, 0, len(load_migrations())]
    for connection in connections:
        await connection.close()


async def test_a_failing_migration_changes_nothing(own_database: Urls) -> None:
    connection = await asyncpg.connect(own_database.service)
    broken = [
        Migration(1, "one", "CREATE TABLE one (id int)"),
        Migration(2, "two", "CREATE TABLE one (id int)"),
    ]
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(connection, broken)
    assert await connection.fetchval("SELECT to_regclass('one')") is None
    await connection.close()


async def test_a_migration_must_not_change_once_applied(own_database: Urls) -> None:
    connection = await asyncpg.connect(own_database.service)
    await migrate(connection, [Migration(1, "one", "CREATE TABLE one (id int)")])
    with pytest.raises(MigrationError, match=r"0001 .* was changed"):
        await migrate(connection, [Migration(1, "one", "CREATE TABLE one (id bigint)")])
    with pytest.raises(MigrationError, match="does not know"):
        await migrate(connection, [])
    await connection.close()


def test_migrations_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "0002_two.sql").write_text("SELECT 1", encoding="utf-8")
    with pytest.raises(MigrationError, match="numbered"):
        load_migrations(tmp_path)
    (tmp_path / "two.sql").write_text("SELECT 1", encoding="utf-8")
    with pytest.raises(MigrationError, match=r"two\.sql"):
        load_migrations(tmp_path)


def test_a_taken_port_is_named(
    start_service: StartService, own_database: Urls, emulator: EmulatorProcess
) -> None:
    port = start_service().port
    done = run(base_environment(own_database.service, emulator.url, port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_finishes_what_is_in_flight(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service()
    game_id = name()
    service.create(id=game_id)
    # Messages take a while, so that one is under way as the service is told to end.
    pubnub.break_("delay", delay_s=1.0, operations=["publish"], channels=[f"game-{game_id}"])
    service.move(game_id, "briefing")
    eventually(lambda: service.metric("relay_buffered") == 1, "the relay did not take the event")
    assert service.stop() == 0
    (row,) = own_database.fetch("SELECT state, attempts FROM event_outbox")
    assert row in ({"state": "published", "attempts": 1}, {"state": "pending", "attempts": 0})
    assert service.log()[-1]["event"] == "stopped"
    left = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name LIKE 'stormwatch-%' AND datname = current_database()"
    )
    eventually(lambda: own_database.value(left) == 0, "connections were left open")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health", timeout=5)


def test_a_killed_service_repeats_no_transition(start_service: StartService, own_database: Urls) -> None:
    service = start_service()
    rows = [{"prompt": "x", "briefing_duration_s": 0.1, "drawing_duration_s": 3600} for _ in range(300)]
    assert service.http.post("/rest/v1/games", headers=API, json=rows).status_code == 201
    service.http.patch("/rest/v1/games?status=eq.waiting", headers=API, json={"status": "briefing"})
    service.kill()
    other = start_service()
    eventually(lambda: other.tick()["processed"] == 0, "the games were not moved")
    assert own_database.value("SELECT count(*) FROM games WHERE status = 'drawing'") == 300
    assert (
        own_database.value(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM game_transitions GROUP BY game_id, seq) AS t"
        )
        == 1
    )
    published = "SELECT count(*) FROM event_outbox WHERE state = 'published'"
    eventually(lambda: own_database.value(published) == 600, "events were lost")
