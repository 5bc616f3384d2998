"""Faults of ticks against a real server, and a replica that does nothing but tick."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from harness.faults import Deployment, Fault, FaultError, MissingPartError, NotExercisedError, ticks
from harness.faults.ticks import CrashAtTick, Crowd, Herd, KillAtTick, PauseAtTick, SlowTicks
from harness.history import HistoryWriter, read_history
from harness.stack import Postgres, StackError
from harness.target import Target

TABLES = """
    CREATE TABLE games (
        id text PRIMARY KEY, status text NOT NULL, prompt text, phase_started_at timestamptz,
        phase_expires_at timestamptz, created_at timestamptz DEFAULT now());
    INSERT INTO games (id, status) SELECT 'sw01234567-' || n, 'drawing' FROM generate_series(1, 5) AS n;
"""
TICK = "BEGIN; SELECT pg_advisory_xact_lock(8462001); UPDATE games SET status = 'voting'; COMMIT"
WRITE = "UPDATE games SET status = status"

#: Ticks until it is killed, also after its database was gone; a session says which process it is of.
REPLICA = f"""
import asyncio, asyncpg, os, sys
async def main():
    while True:
        try:
            c = await asyncpg.connect(sys.argv[1], server_settings={{
                "application_name": f"replica-{{os.getpid()}}@here",
                "client_connection_check_interval": "200ms",
                "idle_in_transaction_session_timeout": "1s"}})
            while True:
                await c.execute({TICK!r})
                await asyncio.sleep(0.05)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            await asyncio.sleep(0.1)
asyncio.run(main())
"""


class Replicas:
    """A system of one database and replicas that only tick."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.parts: dict[str, Any] = {"postgres": postgres.part}
        self.target = Target("http://127.0.0.1:9", "key", "secret", "sub", database_url=postgres.url)

    def start(self, name: str) -> None:
        self.parts[name] = subprocess.Popen([sys.executable, "-c", REPLICA, self.postgres.service_url])

    def pid(self, name: str) -> int | None:
        part = self.parts[name]
        if isinstance(part, subprocess.Popen):
            return part.pid if part.poll() is None else None
        return part.pid

    def kill(self, name: str) -> None:
        self.parts[name].kill()
        if isinstance(self.parts[name], subprocess.Popen):
            self.parts[name].wait()

    def terminate(self, name: str) -> None:
        self.parts[name].terminate()

    def pause(self, name: str) -> None:
        self.parts[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.parts[name].send_signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        if name == "postgres":
            self.parts[name].restart(10, 20)
        else:
            self.start(name)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(max_connections=30) as postgres:
        asyncio.run(execute(postgres.service_url, TABLES))
        yield postgres


@pytest.fixture
def system(postgres: Postgres) -> Iterator[Replicas]:
    replicas = Replicas(postgres)
    yield replicas
    for part in replicas.parts.values():
        if isinstance(part, subprocess.Popen):
            part.kill()
            part.wait()
    eventually(lambda: left_behind(postgres) is None)


async def execute(url: str, statement: str) -> Any:
    session = await asyncpg.connect(url, timeout=10)
    try:
        await session.execute(statement)
    finally:
        await session.close(timeout=5)


async def value(url: str, question: str) -> Any:
    session = await asyncpg.connect(url, timeout=10)
    try:
        return await session.fetchval(question)
    finally:
        await session.close(timeout=5)


def takes_s(postgres: Postgres, statement: str) -> float:
    before = time.monotonic()
    asyncio.run(execute(postgres.service_url, statement))
    return time.monotonic() - before


def left_behind(postgres: Postgres) -> Any:
    return asyncio.run(
        value(
            postgres.url,
            "SELECT array_agg(name) FROM (SELECT tgname::text AS name FROM pg_trigger WHERE NOT tgisinternal "
            "UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stormwatch%') AS found",
        )
    )


def holder(postgres: Postgres) -> str | None:
    return asyncio.run(
        value(
            postgres.url,
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
            "WHERE locktype = 'advisory' AND granted",
        )
    )


def eventually(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def test_slow_ticks_are_slow_and_nothing_else_is(system: Replicas, postgres: Postgres) -> None:
    with SlowTicks(delay="700ms").inject(system):
        assert takes_s(postgres, TICK) >= 0.7
        asyncio.run(execute(postgres.service_url, f"SET statement_timeout = '600ms'; {WRITE}"))


def test_another_lock_is_no_tick(system: Replicas, postgres: Postgres) -> None:
    other = TICK.replace("8462001", str((1 << 32) + 8462001))
    with pytest.raises(NotExercisedError, match="no tick came by"), SlowTicks(delay="20s").inject(system):
        asyncio.run(execute(postgres.service_url, f"SET statement_timeout = '5s'; {other}"))


def test_a_replica_is_killed_in_the_middle_of_its_tick(system: Replicas, postgres: Postgres) -> None:
    system.start("service-1")
    system.start("service-2")
    killed = system.pid("service-2")
    with KillAtTick("service-2").inject(system):
        assert not psutil.pid_exists(killed)
        # The lock is free again as soon as the server notices; then the other one has it.
        eventually(lambda: f"-{system.pid('service-1')}@" in (holder(postgres) or ""))
    assert system.pid("service-2") not in {None, killed}


def test_a_replica_is_paused_in_the_middle_of_its_tick(system: Replicas, postgres: Postgres) -> None:
    system.start("service-1")
    with PauseAtTick("service-1").inject(system):
        assert psutil.Process(system.pid("service-1")).status() == psutil.STATUS_STOPPED
        assert holder(postgres) == f"replica-{system.pid('service-1')}@here"
    eventually(lambda: psutil.Process(system.pid("service-1")).status() != psutil.STATUS_STOPPED)


@pytest.mark.parametrize("fault", [KillAtTick("service-1"), PauseAtTick("service-1"), CrashAtTick()], ids=str)
def test_without_a_tick_nobody_is_harmed(
    system: Replicas, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "_CAUGHT_LIMIT_S", 0.3)
    system.parts["service-1"] = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    server = system.pid("postgres")
    with pytest.raises(NotExercisedError, match="nobody was at a tick"), fault.inject(system):
        pass
    assert psutil.Process(system.pid("service-1")).status() != psutil.STATUS_STOPPED
    assert system.pid("postgres") == server


def test_the_server_is_killed_in_the_middle_of_a_tick(system: Replicas, postgres: Postgres) -> None:
    asyncio.run(execute(postgres.service_url, "UPDATE games SET status = 'drawing'"))
    tick = threading.Thread(target=failing_tick, args=(postgres,))
    tick.start()
    with CrashAtTick().inject(system):
        assert system.pid("postgres") is None
        tick.join()
    assert asyncio.run(value(postgres.url, "SELECT count(*) FROM games WHERE status = 'voting'")) == 0


def failing_tick(postgres: Postgres) -> None:
    eventually(lambda: left_behind(postgres) is not None)
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        asyncio.run(execute(postgres.service_url, TICK))


@contextmanager
def replica_of(postgres: Postgres) -> Iterator[str]:
    """A replica that ticks when it is told to, and skips while another tick is at work; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["x-cron-secret"] == "secret"
            try:
                asyncio.run(execute(postgres.service_url, f"SET lock_timeout = '100ms'; {TICK}"))
                answer = {"processed": 5, "errors": 0, "skipped": 0}
            except asyncpg.LockNotAvailableError:
                answer = {"processed": 0, "errors": 0, "skipped": 1}
            body = json.dumps(answer).encode()
            self.send_response(200 if self.path == "/functions/v1/monitor-game-timers" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_crowd_ticks_in_the_same_instant_and_is_recorded(
    system: Replicas, postgres: Postgres, tmp_path: Path
) -> None:
    crowd = Crowd(every="1s", at_once=3, hold="400ms")
    with replica_of(postgres) as url, HistoryWriter(tmp_path, "faults", "run") as history:
        system.target = replace(system.target, service_url=url)
        with crowd.inject(system, history):
            time.sleep(2.5)
    rows = [row for row in read_history(tmp_path).table.to_pylist() if row["kind"] == "monitor"]
    instants = {row["intended_ns"] for row in rows}
    assert len(instants) >= 2
    for instant in instants:
        assert sorted(row["name"] for row in rows if row["intended_ns"] == instant) == [
            "skip",
            "skip",
            "tick",
        ]
    assert {row["actor"] for row in rows} == {"crowd"}
    assert all(row["ok"] and row["end_ns"] > row["start_ns"] >= row["intended_ns"] for row in rows)


def test_a_crowd_that_nobody_answers_is_not_exercised(system: Replicas) -> None:
    with pytest.raises(NotExercisedError, match="no tick came by"), Crowd(every="100ms").inject(system):
        time.sleep(0.3)


def test_a_herd_falls_due_at_once_in_the_run_of_now(system: Replicas, postgres: Postgres) -> None:
    herd = "FROM games WHERE id LIKE 'sw01234567-herd-%'"
    with Herd(games=40, after="1s").inject(system):
        found = asyncio.run(
            value(postgres.url, f"SELECT array[count(*), count(DISTINCT phase_expires_at)] {herd}")
        )
        assert found == [40, 1]
        asyncio.run(
            execute(postgres.service_url, "UPDATE games SET status = 'completed' WHERE status = 'voting'")
        )


def test_a_herd_that_nobody_moves_is_not_exercised(system: Replicas) -> None:
    with pytest.raises(NotExercisedError, match="none of its games was moved"), Herd(games=3).inject(system):
        pass


@pytest.mark.parametrize(
    "fault", [SlowTicks(), CrashAtTick(), KillAtTick("service-1"), Crowd(), Herd()], ids=str
)
def test_a_deployment_lacks_what_they_need(fault: Fault) -> None:
    target = Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(MissingPartError), fault.inject(Deployment(target)):
        pass


def test_who_is_down_can_not_be_caught(system: Replicas) -> None:
    system.start("service-1")
    system.kill("service-1")
    with pytest.raises(FaultError, match="service-1 is not running"), KillAtTick("service-1").inject(system):
        pass


def test_a_part_that_does_not_come_back_is_the_harness_failure(system: Replicas) -> None:
    system.start("service-1")

    def refuse(name: str) -> None:
        raise StackError(f"{name} does not come up")

    system.restart = refuse  # type: ignore[method-assign]  # of this one alone
    with (
        pytest.raises(FaultError, match="service-1 does not come up"),
        KillAtTick("service-1").inject(system),
    ):
        pass
