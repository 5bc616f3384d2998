"""A second stack stands for production, its variables in the shell: without consent nothing is sent to it."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import requests

from harness.stack import Stack, StackOptions, start_stack
from harness.tests.database_system import in_session
from harness.tests.helpers import eventually

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
    rows: list[asyncpg.Record] = in_session(
        str(stack.target.database_url), lambda session: session.fetch(statement)
    )
    return rows


def state(stack: Stack) -> dict[str, object]:
    """Return what an accident would change: rows, a customer's game, triggers, proxies, ticks."""
    rows = {table: query(stack, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    calls = requests.get(
        f"{stack.target.service_url}/metrics", timeout=5, headers=stack.target.authorization
    ).text
    return {
        "rows": rows,
        "customer": query(stack, "SELECT status FROM games WHERE id = 'customer-1'")[0][0],
        "triggers": query(stack, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")[0][0],
        "proxies": {name: (proxy.enabled, list(proxy.toxics)) for name, proxy in stack.proxies.all().items()},
        "ticks": [line for line in calls.splitlines() if "tick" in line and not line.startswith("#")],
    }


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
        [*STORMWATCH, "smoke"],
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


@contextmanager
def going_on(
    stack: Stack, folder: Path, *options: str, headless: bool = True, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the load on production that lasts until it is ended."""
    command = [*LOCUST, "--no-report", "--drain=1s", *SHORT, "--duration=60s", *options]
    command += ["--headless"] if headless else []
    with (folder / "locust.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | stack.target.environment() | {"STORMWATCH_REPORTS": str(folder)} | more,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def games_of_runs(stack: Stack) -> int:
    return int(query(stack, "SELECT count(*) FROM games WHERE id ~ '^sw[0-9a-f]{8}-[0-9]'")[0][0])


def test_ctrl_c_leaves_nothing_of_a_run_on_a_deployment(production: Stack, tmp_path: Path) -> None:
    before = state(production)
    address = production.target.service_url.removeprefix("http://")
    with going_on(production, tmp_path, STORMWATCH_MAY_LOAD=address) as locust:
        eventually(lambda: games_of_runs(production) > 0 or locust.poll() is not None)
        locust.send_signal(signal.SIGINT)
        locust.wait(60)
    said = (tmp_path / "locust.log").read_text(encoding="utf-8")
    assert " games, " in said, "it does not say what was removed"
    assert state(production) == before


#: Has a name lead elsewhere as soon as a file is there, for a process that finds this among its modules.
RESOLVER = """
import _socket, os

real = _socket.getaddrinfo

def getaddrinfo(host, *more, **named):
    if host in ("staging.test", b"staging.test"):
        host = "127.0.0.2" if os.path.exists(os.environ["MOVED"]) else "127.0.0.1"
    return real(host, *more, **named)

_socket.getaddrinfo = getaddrinfo
"""


def test_a_name_that_leads_elsewhere_in_mid_run_ends_the_run_as_inconclusive(
    production: Stack, tmp_path: Path
) -> None:
    before = games_of_runs(production)
    (tmp_path / "sitecustomize.py").write_text(RESOLVER, encoding="utf-8")
    name = production.target.service_url.removeprefix("http://").replace("127.0.0.1", "staging.test")
    with going_on(
        production,
        tmp_path,
        SUPABASE_URL=f"http://{name}",
        STORMWATCH_MAY_LOAD=f"{name},127.0.0.1",
        MOVED=str(tmp_path / "moved"),
        PYTHONPATH=str(tmp_path),
    ) as locust:
        eventually(lambda: games_of_runs(production) > before or locust.poll() is not None)
        (tmp_path / "moved").touch()
        locust.wait(60)
    said = (tmp_path / "locust.log").read_text(encoding="utf-8")
    moved = "staging.test leads to 127.0.0.2 now, and to 127.0.0.1 when consent was given"
    assert f"{moved}: nobody consented to that, the run ends" in said, said
    run = json.loads((tmp_path / "latest" / "run.json").read_text(encoding="utf-8"))
    assert run["interrupted"], "it counts as if it had come to its end"
    assert moved in [doubt["reason"] for doubt in run["missing"]]
    # Where the games are is not where the name leads: they are named, and are removed by hand.
    prefix = run["game_prefix"]
    assert f"`stormwatch clean {prefix}` removes it" in said
    address = production.target.service_url.removeprefix("http://")
    done = told(production, tmp_path, [*STORMWATCH, "clean", prefix], STORMWATCH_MAY_LOAD=address)
    assert done.returncode == 0, done.stderr
    assert games_of_runs(production) == before


def is_ready(page: str, name: str) -> bool:
    """Return whether a web UI's target is known: a form for another is refused with its name."""
    try:
        answer = requests.post(f"{page}/swarm", data={"host": "http://another"}, timeout=10)
    except requests.ConnectionError:
        return False
    return name in answer.text


def test_a_name_that_led_elsewhere_before_a_run_of_the_web_ui_begins_none(
    production: Stack, tmp_path: Path
) -> None:
    before = state(production)
    (tmp_path / "sitecustomize.py").write_text(RESOLVER, encoding="utf-8")
    name = production.target.service_url.removeprefix("http://").replace("127.0.0.1", "staging.test")
    with socket.create_server(("127.0.0.1", 0)) as free:
        page = f"http://127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path / "locust.log"
    with going_on(
        production,
        tmp_path,
        f"--web-port={page.rpartition(':')[2]}",
        headless=False,
        SUPABASE_URL=f"http://{name}",
        STORMWATCH_MAY_LOAD=f"{name},127.0.0.1",
        MOVED=str(tmp_path / "moved"),
        PYTHONPATH=str(tmp_path),
    ) as locust:
        eventually(lambda: is_ready(page, name) or locust.poll() is not None)
        (tmp_path / "moved").touch()
        requests.post(f"{page}/swarm", data={"games": "2"}, timeout=10)
        refusal = "nobody consented to that; start Locust again"
        eventually(lambda: refusal in log.read_text(encoding="utf-8") or locust.poll() is not None)
        assert refusal in log.read_text(encoding="utf-8")
        assert games_of_runs(production) == 0
        locust.send_signal(signal.SIGINT)
        locust.wait(60)
    assert state(production) == before


def test_a_clean_up_that_is_refused_says_how_much_is_left_and_why(production: Stack, tmp_path: Path) -> None:
    mark = "sw89abcdef-"
    query(production, f"INSERT INTO games (id, prompt) VALUES ('{mark}1-1', 'x'), ('{mark}1-2', 'x')")
    query(production, "CREATE ROLE looker LOGIN PASSWORD 'looks'")
    query(production, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
    assert production.target.database_url is not None
    where = production.target.database_url.rpartition("@")[2]
    done = told(
        production,
        tmp_path,
        [*STORMWATCH, "clean", mark],
        STORMWATCH_MAY_LOAD=production.target.service_url.removeprefix("http://"),
        DATABASE_URL=f"postgresql://looker:looks@{where}",
        SUPABASE_SERVICE_ROLE_KEY="wrong",
    )
    assert done.returncode != 0
    assert f"{mark}: nothing removed; " in done.stdout
    assert "DELETE /rest/v1/submissions answered 401" in done.stdout
    assert "its database refused: permission denied" in done.stdout
    assert "not all could be removed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "looks" not in done.stdout + done.stderr
    query(production, f"DELETE FROM games WHERE starts_with(id, '{mark}')")
    query(production, "DROP OWNED BY looker")
    query(production, "DROP ROLE looker")


@pytest.mark.parametrize("meant", [True, False], ids=["the address", "a plain yes"])
def test_consent_is_the_address_typed_at_a_terminal(production: Stack, tmp_path: Path, meant: bool) -> None:
    mark = "sw89abcdef-"
    query(production, f"INSERT INTO games (id, prompt) VALUES ('{mark}1-1', 'x')")
    address = production.target.service_url.removeprefix("http://")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*STORMWATCH, "clean", mark],
        env=os.environ | production.target.environment(),
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        encoding="utf-8",
    ) as process:
        os.close(theirs)
        said = ""
        while f"Type {address} to go on: " not in said:
            said += os.read(ours, 4096).decode()
        assert mark in said, "what will be removed is told before it is asked"
        os.write(ours, f"{address if meant else 'yes'}\n".encode())
        shown = process.communicate(timeout=60)[0]
    os.close(ours)
    assert process.returncode == (0 if meant else 2)
    assert ("1 games removed" in shown) == meant
    left = query(production, f"SELECT id FROM games WHERE starts_with(id, '{mark}')")
    assert len(left) == (0 if meant else 1)
    query(production, f"DELETE FROM games WHERE starts_with(id, '{mark}')")
