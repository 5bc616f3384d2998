"""A second stack stands for production, its variables in the shell: without consent nothing is sent to it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import requests

from harness.stack import Stack, StackOptions, start_stack

STORMWATCH = [sys.executable, "-m", "harness.cli"]
LOCUST = [
    sys.executable,
    "-m",
    "locust",
    "-f",
    str(Path(__file__).parents[2] / "scenarios" / "concurrent_games.py"),
]
TABLES = ("games", "game_participants", "submissions", "event_outbox", "game_transitions")
SHORT = ("--games=2", "--players=1", "--briefing=300ms", "--drawing=300ms", "--voting=300ms", "--duration=1s")


@pytest.fixture(scope="module")
def production() -> Iterator[Stack]:
    """Somebody's system, with a game of a customer that is overdue: any tick would move it."""
    with start_stack(StackOptions(advertise=False)) as stack:
        query(
            stack,
            "INSERT INTO games (id, status, prompt, phase_started_at, phase_expires_at) "
            "VALUES ('customer-1', 'drawing', 'x', now() - interval '1 hour', now() - interval '30 min')",
        )
        yield stack


def query(stack: Stack, statement: str) -> list[asyncpg.Record]:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(stack.target.database_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(ask())


def state(stack: Stack) -> dict[str, object]:
    """Return what an accident would change: rows, a customer's game, triggers, proxies, ticks."""
    rows = {table: query(stack, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    calls = requests.get(f"{stack.target.service_url}/metrics", timeout=5, headers=bearer(stack)).text
    return {
        "rows": rows,
        "customer": query(stack, "SELECT status FROM games WHERE id = 'customer-1'")[0][0],
        "triggers": query(stack, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")[0][0],
        "proxies": {name: (proxy.enabled, list(proxy.toxics)) for name, proxy in stack.proxies.all().items()},
        "ticks": [line for line in calls.splitlines() if "tick" in line and not line.startswith("#")],
    }


def bearer(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.target.service_role_key}"}


def told(stack: Stack, folder: Path, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who has production's variables in the shell."""
    return subprocess.run(
        command,
        env=os.environ | stack.target.environment() | more,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=90,
    )


@pytest.mark.parametrize(
    "command",
    [
        [*STORMWATCH, "fault", "database:trigger-dropped", "--for", "1s"],
        [*STORMWATCH, "fault", "database:connections", "--for", "1s"],
        [*STORMWATCH, "fault", "network:down", "load-service", "--for", "1s"],
        [*STORMWATCH, "fault", "random", "--for", "5s"],
        [*STORMWATCH, "fault", "mend"],
        [*STORMWATCH, "run"],
        [*STORMWATCH, "run", "--no-load"],
        [*STORMWATCH, "clean"],
        [*LOCUST, "--headless", *SHORT],
    ],
    ids=lambda command: " ".join(command[2:5]).rpartition("/")[2],
)
def test_nothing_happens_to_a_system_that_nobody_consented_to(
    production: Stack, tmp_path: Path, command: list[str]
) -> None:
    before = state(production)
    done = told(production, tmp_path, command)
    assert done.returncode == 2, done.stderr
    address = production.target.service_url.removeprefix("http://")
    assert f"{address} is no stack of ours and may not be" in done.stderr.splitlines()[-1]
    assert f"={address}" in done.stderr.splitlines()[-1], "the way out is not named"
    assert "Traceback" not in done.stderr
    assert state(production) == before
    assert before["customer"] == "drawing"


def test_with_consent_to_load_a_run_ticks_nobody_and_removes_what_it_made(
    production: Stack, tmp_path: Path
) -> None:
    before = state(production)
    address = production.target.service_url.removeprefix("http://")
    command = [*LOCUST, "--headless", "--no-report", "--drain=1s", *SHORT]
    done = told(production, tmp_path, command, STORMWATCH_MAY_LOAD=address)
    assert done.returncode == 0, done.stderr
    assert "is about to be loaded" in done.stderr
    assert "removed" in done.stderr
    assert state(production) == before


def test_a_killed_runs_games_are_found_by_their_mark_and_removed(production: Stack, tmp_path: Path) -> None:
    before = state(production)
    query(
        production,
        "INSERT INTO games (id, prompt, created_at) VALUES "
        "('sw0123abcd-1-1', 'x', now() - interval '1 hour'), ('sw4567abcd-1-1', 'x', now()), "
        "('swan-lake', 'x', now() - interval '1 hour')",
    )
    address = production.target.service_url.removeprefix("http://")
    listed = told(production, tmp_path, [*STORMWATCH, "clean", "--list"])
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == ["sw0123abcd-", "sw4567abcd-"]
    done = told(production, tmp_path, [*STORMWATCH, "clean"], STORMWATCH_MAY_LOAD=address)
    assert "sw0123abcd-: 1 games removed" in done.stdout
    assert "left alone, it may still go on" in done.stdout
    # Without the database, over the API; a customer's game is never touched.
    named = told(
        production,
        tmp_path,
        [*STORMWATCH, "clean", "sw4567abcd-"],
        STORMWATCH_MAY_LOAD=address,
        DATABASE_URL="",
    )
    assert "sw4567abcd-: 1 games removed" in named.stdout
    left = [row["id"] for row in query(production, "SELECT id FROM games WHERE starts_with(id, 'sw')")]
    assert left == ["swan-lake"]
    query(production, "DELETE FROM games WHERE id = 'swan-lake'")
    assert state(production) == before
