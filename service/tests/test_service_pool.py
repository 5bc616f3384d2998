"""The pool: 503 when exhausted, every connection back after errors, reconnected after an outage."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import httpx
import pytest

from service.database import Database, DatabaseUnavailable, PoolExhausted
from service.monitor import LOCK
from service.tests.parts import StartService
from service.tests.support import API, Urls, eventually


@pytest.fixture
async def pool(own_database: Urls):
    database = Database(own_database.service, size=3, timeout_s=1.0)
    await database.open()
    yield database
    await database.close(1.0)


async def test_who_finds_no_connection_is_told_so(pool: Database) -> None:
    async with pool.connection(), pool.connection(), pool.connection():
        with pytest.raises(PoolExhausted, match="all 3 database connections"):
            async with pool.connection(wait_s=0.1):
                pass
    assert (pool.in_use, pool.waiting, pool.exhausted) == (0, 0, 1)


async def test_no_connection_is_lost_to_errors_timeouts_or_cancellation(pool: Database) -> None:
    async def fail() -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1 / 0")

    async def sleep(limit_s: float | None) -> None:
        async with pool.connection(limit_s=limit_s) as connection:
            await connection.execute("SELECT pg_sleep(30)")

    async def leave_a_transaction_open() -> None:
        async with pool.connection() as connection:
            await connection.execute("BEGIN")
            raise ValueError

    for _ in range(5):
        outcomes = await asyncio.gather(
            fail(), sleep(0.2), leave_a_transaction_open(), return_exceptions=True
        )
        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        tasks = [asyncio.create_task(sleep(None)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert pool.in_use == 0
    async with pool.connection() as a, pool.connection() as b, pool.connection() as c:
        for connection in (a, b, c):
            assert await connection.fetchval("SELECT 1") == 1
            assert not connection.is_in_transaction()


async def test_the_server_knows_whose_session_it_is(pool: Database) -> None:
    async with pool.connection() as connection:
        name = await connection.fetchval(
            "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
    # As far as there is room for a long name of a host.
    assert f"stormwatch-service-{os.getpid()}@{platform.node()}".startswith(name)
    assert f"-{os.getpid()}@" in name


async def test_a_statement_over_the_limit_is_given_up(pool: Database) -> None:
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - started < 10


def test_exhausted_it_answers_503_in_time_and_recovers(
    start_service: StartService, own_database: Urls
) -> None:
    # Ticks that wait for a lock keep their connections for longer than others wait for one.
    service = start_service(POOL_SIZE=4, DATABASE_TIMEOUT="2s", MONITOR_LOCK_WAIT="25s")
    locked, done = threading.Event(), threading.Event()

    async def hold() -> None:
        holder = await asyncpg.connect(own_database.admin)
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        locked.set()
        await asyncio.to_thread(done.wait)
        await holder.close()

    def read() -> tuple[httpx.Response, float]:
        started = time.monotonic()
        answer = httpx.get(f"{service.url}/rest/v1/games", headers=API, timeout=30)
        return answer, time.monotonic() - started

    with ThreadPoolExecutor(16) as threads:
        holding = threads.submit(asyncio.run, hold())
        try:
            assert locked.wait(30)
            ticks = [threads.submit(service.tick) for _ in range(4)]
            eventually(lambda: service.metric("db_pool_in_use") == 4, "the pool is not exhausted")
            health = httpx.get(f"{service.url}/health", headers=API, timeout=10)
            answers = [call.result() for call in [threads.submit(read) for _ in range(8)]]
        finally:
            done.set()
        holding.result()
        assert all(tick.result()["errors"] == 0 for tick in ticks)
    assert health.status_code == 503
    assert "connections were in use" in health.json()["checks"]["database"]["error"]
    assert health.json()["checks"]["edgeFunctions"]["healthy"] is True
    for answer, took_s in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "pool_exhausted"
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < 10
    assert service.http.get("/rest/v1/games", headers=API).status_code == 200
    eventually(lambda: service.metric("db_pool_in_use") == 0, "connections did not come back")
    assert service.metric("db_pool_exhausted") >= 8


def test_it_reconnects_after_its_connections_were_cut(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service()
    service.create(id="before")
    own_database.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    eventually(
        lambda: service.http.get("/rest/v1/games", headers=API).status_code == 200, "it did not reconnect"
    )
    service.move("before", "briefing")
    published = "SELECT count(*) FROM event_outbox WHERE state = 'published'"
    eventually(lambda: own_database.value(published) == 1, "the relay did not reconnect")


def test_a_client_that_hangs_up_leaves_no_connection_behind(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service(POOL_SIZE=4)
    own_database.fetch(
        "CREATE OR REPLACE FUNCTION find_expired_games(p_limit integer DEFAULT 1000) "
        "RETURNS TABLE (game_id text, status text, next_status text, due_at timestamptz) "
        "LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); END $$"
    )
    with ThreadPoolExecutor(8) as threads:
        for outcome in [
            threads.submit(
                httpx.post, f"{service.url}/rest/v1/rpc/find_expired_games", headers=API, json={}, timeout=0.5
            )
            for _ in range(8)
        ]:
            with pytest.raises(httpx.TimeoutException):
                outcome.result()
    eventually(lambda: service.metric("db_pool_in_use") == 0, "connections did not come back")
    assert service.http.get("/rest/v1/games", headers=API).status_code == 200


async def write(pool: Database) -> None:
    async with pool.connection() as connection:
        await connection.execute("CREATE TABLE never (id integer)")


async def test_a_database_that_takes_no_writes_is_unavailable(pool: Database) -> None:
    async with pool.connection() as connection:
        await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="ReadOnlySQLTransactionError"):
        await write(pool)
