"""Faults of ticks against a real server, and a replica that does nothing but tick."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import psutil
import pytest

from harness.faults import Fault, FaultError, MissingPartError, NotExercisedError, held_ticks
from harness.faults.concurrent_ticks import ConcurrentTicks, DueTogether, _unheld
from harness.faults.mend import mend
from harness.faults.sessions import Sessions
from harness.faults.ticks import (
    CrashAtTick,
    KillAtTick,
    PauseAtTick,
    ResetAtCommit,
    SlowTicks,
)
from harness.history import HistoryWriter, read_history
from harness.history.names import CONCURRENT
from harness.process import Reaper
from harness.stack import Postgres, Proxies, StackError, StackProcess, toxiproxy
from harness.stack.ports import PortBlock
from harness.stack.postgres_files import OWNER
from harness.stack.proxies import SERVICE_POSTGRES
from harness.system import find_system
from harness.target import Permission, Target
from harness.target.marks import prefix_of
from harness.tests.helpers import eventually
from harness.tests.http_stub import Request, served
from harness.tests.permitted import deployment, permitted

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
        self.system = find_system()
        self.parts: dict[str, Any] = {"postgres": postgres.process}
        self.target = Target("http://127.0.0.1:9", "key", "secret", "sub", database_url=postgres.url)

    @property
    def permission(self) -> Permission:
        return permitted(self.target)

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


@pytest.fixture(scope="module")
def proxies(postgres: Postgres) -> Iterator[Proxies]:
    """A Toxiproxy with the proxy of the database."""
    with Reaper() as reaper, PortBlock() as block:
        part = StackProcess(toxiproxy.spec(toxiproxy.obtain(), block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
        proxies = Proxies(f"http://{part.endpoint}")
        proxies.create(SERVICE_POSTGRES, f"127.0.0.1:{block.take()}", f"127.0.0.1:{postgres.port}")
        yield proxies
        part.stop(1.0)


@pytest.fixture
def cuttable(system: "Replicas", proxies: Proxies) -> Iterator["Replicas"]:
    """The system behind its proxy; whatever a test did, that is up afterwards."""
    system.target = replace(system.target, toxiproxy_url=proxies.url)
    asyncio.run(execute(system.postgres.service_url, "UPDATE games SET status = 'drawing'"))
    yield system
    assert proxies.get(SERVICE_POSTGRES).enabled


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


@pytest.mark.parametrize(
    "fault", [KillAtTick("service-1"), PauseAtTick("service-1"), CrashAtTick(), ResetAtCommit()], ids=str
)
def test_without_a_tick_nobody_is_harmed(
    cuttable: Replicas, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = cuttable
    monkeypatch.setattr(held_ticks, "_CAUGHT_LIMIT_S", 0.3)
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


def address(postgres: Postgres, proxies: Proxies) -> str:
    """The database's address for a service, by the proxy."""
    host, _, port = proxies.get(SERVICE_POSTGRES).listen.partition(":")
    return postgres.url_for(OWNER, host, int(port))


@contextmanager
def ticking(postgres: Postgres, url: str) -> Iterator[list[Exception | None]]:
    """One tick, as soon as a fault waits for it, in a session that is then kept; what came of it."""
    came: list[Exception | None] = []
    over = threading.Event()

    async def tick() -> None:
        # As the service's sessions do: the server looks for who is gone while it works for them.
        settings = {"client_connection_check_interval": "100ms"}
        session = await asyncpg.connect(url, timeout=10, server_settings=settings)
        try:
            await session.execute(TICK)
            came.append(None)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            came.append(error)
        await asyncio.to_thread(over.wait)
        session.terminate()

    def tick_when_it_is_time() -> None:
        eventually(lambda: left_behind(postgres) is not None)
        asyncio.run(tick())

    thread = threading.Thread(target=tick_when_it_is_time)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()


def moved(postgres: Postgres) -> int:
    return int(asyncio.run(value(postgres.url, "SELECT count(*) FROM games WHERE status = 'voting'")))


def test_a_commit_is_made_and_its_answer_lost(
    cuttable: Replicas, postgres: Postgres, proxies: Proxies
) -> None:
    with ticking(postgres, address(postgres, proxies)) as came, ResetAtCommit().inject(cuttable):
        assert moved(postgres) == 5
        assert left_behind(postgres) is None
        assert not proxies.get(SERVICE_POSTGRES).enabled
        eventually(lambda: bool(came))
    assert isinstance(came[0], (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError))
    asyncio.run(execute(address(postgres, proxies), WRITE))


def test_a_tick_that_passes_no_proxy_gets_its_answer(
    cuttable: Replicas, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_ticks, "_CUT_LIMIT_S", 0.5)
    with (
        ticking(postgres, postgres.service_url) as came,
        pytest.raises(NotExercisedError, match="does not pass the proxy service-postgres"),
        ResetAtCommit().inject(cuttable),
    ):
        pass
    assert came == [None]


def test_a_commit_that_comes_to_nothing_is_not_exercised(
    cuttable: Replicas, postgres: Postgres, proxies: Proxies
) -> None:
    asleep = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    def strike_down() -> None:
        eventually(lambda: not proxies.get(SERVICE_POSTGRES).enabled)
        asyncio.run(execute(postgres.url, f"SELECT pg_terminate_backend(pid) {asleep}"))

    striker = threading.Thread(target=strike_down)
    striker.start()
    with (
        ticking(postgres, address(postgres, proxies)),
        pytest.raises(NotExercisedError, match="came to nothing"),
        ResetAtCommit().inject(cuttable),
    ):
        pass
    striker.join()
    assert moved(postgres) == 0


def test_a_cut_is_undone_when_the_block_fails(
    cuttable: Replicas, postgres: Postgres, proxies: Proxies
) -> None:
    with (
        ticking(postgres, address(postgres, proxies)),
        pytest.raises(ZeroDivisionError),
        ResetAtCommit().inject(cuttable),
    ):
        raise ZeroDivisionError
    asyncio.run(execute(address(postgres, proxies), WRITE))


def test_a_cut_that_was_left_behind_can_be_mended(
    cuttable: Replicas, postgres: Postgres, proxies: Proxies
) -> None:
    fault = ResetAtCommit()
    with Sessions(postgres.url) as sessions, fault.held(cuttable, sessions, 1.0, at="commits"):
        proxies.disable(SERVICE_POSTGRES)
        told = list(mend(cuttable))
        assert told[0] == "proxy service-postgres was down: up again"
        assert any(line.startswith("database: trigger stormwatch_fault_") for line in told)
        assert left_behind(postgres) is None


@contextmanager
def replica_of(postgres: Postgres) -> Iterator[str]:
    """A replica that ticks when it is told to, and skips while another tick is at work; its address."""

    def answer(request: Request) -> tuple[int, Any]:
        assert (request.path, request.headers["x-cron-secret"]) == (
            "/functions/v1/monitor-game-timers",
            "secret",
        )
        try:
            asyncio.run(execute(postgres.service_url, f"SET lock_timeout = '100ms'; {TICK}"))
            told = {"processed": 5, "skipped": 0}
        except asyncpg.LockNotAvailableError:
            told = {"processed": 0, "skipped": 1}
        return 200, {"errors": 0, "executionTime": 1.5, "timestamp": "now", "requestId": "one", **told}

    with served(answer) as url:
        yield url


def test_concurrent_ticks_leave_in_the_same_instant_and_are_recorded(
    system: Replicas, postgres: Postgres, tmp_path: Path
) -> None:
    fault = ConcurrentTicks(every="1s", at_once=3, hold="400ms")
    with replica_of(postgres) as url, HistoryWriter(tmp_path, "faults", "run") as history:
        system.target = replace(system.target, service_url=url)
        with fault.inject(system, history):
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
    assert {row["actor"] for row in rows} == {CONCURRENT}
    assert all(row["ok"] and row["end_ns"] > row["start_ns"] >= row["intended_ns"] for row in rows)


def test_concurrent_ticks_that_nobody_answers_are_not_exercised(system: Replicas) -> None:
    with (
        pytest.raises(NotExercisedError, match="no tick came by"),
        ConcurrentTicks(every="100ms").inject(system),
    ):
        time.sleep(0.3)


def test_ticks_that_are_answered_and_hold_no_lock_run_beside_each_other() -> None:
    callers = [SimpleNamespace(answered=3), SimpleNamespace(answered=4)]
    found = _unheld("no tick came by", callers, "8462001")
    assert found is not None
    assert found.startswith(
        "7 ticks were answered, and none wrote under the lock 8462001: they run without it"
    )
    assert _unheld(None, callers, "8462001") is None
    assert _unheld("no tick came by", [SimpleNamespace(answered=0)], "8462001") == "no tick came by"


def test_games_fall_due_together_in_the_run_of_now(system: Replicas, postgres: Postgres) -> None:
    games = "FROM games WHERE id LIKE 'sw01234567-due-%'"
    with DueTogether(items=40, after="1s").inject(system):
        found = asyncio.run(
            value(postgres.url, f"SELECT array[count(*), count(DISTINCT phase_expires_at)] {games}")
        )
        assert found == [40, 1]
        asyncio.run(
            execute(postgres.service_url, "UPDATE games SET status = 'completed' WHERE status = 'voting'")
        )


def test_games_outside_of_any_run_bear_a_mark_that_cleaning_finds(
    system: Replicas, postgres: Postgres
) -> None:
    asyncio.run(execute(postgres.service_url, "DELETE FROM games"))
    with suppress(NotExercisedError), DueTogether(items=3).inject(system):
        pass
    ids = asyncio.run(value(postgres.url, "SELECT array_agg(id) FROM games"))
    assert len(ids) == 3
    assert all(prefix_of(id) for id in ids)


def test_games_that_nobody_moves_are_not_exercised(system: Replicas) -> None:
    with (
        pytest.raises(NotExercisedError, match="none of its games was moved"),
        DueTogether(items=3).inject(system),
    ):
        pass


@pytest.mark.parametrize(
    "fault",
    [SlowTicks(), CrashAtTick(), ResetAtCommit(), KillAtTick("service-1"), ConcurrentTicks(), DueTogether()],
    ids=str,
)
def test_a_deployment_lacks_what_they_need(fault: Fault) -> None:
    target = Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(MissingPartError), fault.inject(deployment(target)):
        pass


def test_who_is_down_can_not_be_caught(system: Replicas) -> None:
    system.start("service-1")
    system.kill("service-1")
    refused = pytest.raises(NotExercisedError, match="not exercised: service-1 is not running")
    with refused, KillAtTick("service-1").inject(system):
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
