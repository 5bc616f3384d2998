"""Faults of the database against a real server, felt by sessions such as a service has."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fixtures import auction_house
from harness.faults import FaultError, MissingPartError, NotExercisedError
from harness.faults.concurrent_ticks import DueTogether
from harness.faults.database import (
    AdvisoryLock,
    Connections,
    Crash,
    IdleInTransaction,
    ReadOnly,
    Restart,
    RowLocks,
    SlowStatements,
    TableLock,
    TerminateBackends,
)
from harness.faults.held_ticks import lock_columns
from harness.faults.sessions import Sessions
from harness.faults.ticks import SlowTicks
from harness.stack import Postgres
from harness.target import Target
from harness.target.sessions import Who, open_session
from harness.tests.database_system import execute, value
from harness.tests.helpers import eventually
from harness.tests.lots import TABLES, Lots
from harness.tests.permitted import deployment
from scenarios.systems.auction import Auction

SCHEMA = Path(auction_house.__file__).with_name("sql") / "schema.sql"


class Server:
    """A system of one part: the database."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.system = Lots
        self.parts = {"postgres": postgres.process}
        self.target = target_of(postgres)

    def pid(self, name: str) -> int | None:
        return self.parts[name].pid

    def kill(self, name: str) -> None:
        self.parts[name].kill()

    def terminate(self, name: str) -> None:
        self.parts[name].terminate()

    def pause(self, name: str) -> None:
        self.parts[name].pause()

    def resume(self, name: str) -> None:
        self.parts[name].resume()

    def restart(self, name: str) -> None:
        self.parts[name].restart(10, 20)


def target_of(postgres: Postgres) -> Target:
    return Target(
        service_url="http://127.0.0.1:9",
        service_role_key="key",
        cron_secret="secret",
        pubnub_subscribe_key="sub",
        database_url=postgres.url,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Postgres(max_connections=20) as postgres:
        execute(postgres.service_url, TABLES)
        yield Server(postgres)


def service_does(server: Server, statement: str, limit_s: float = 5.0) -> Any:
    return value(server.postgres.service_url, statement, limit_s)


class Client:
    """A session of the service that runs a statement again and again, whatever becomes of it."""

    def __init__(self, server: Server, statement: str) -> None:
        self._server = server
        self._statement = statement
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                service_does(self._server, self._statement, limit_s=2.0)
                self.answers += 1
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                self._over.wait(0.05)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def left_behind(server: Server) -> Any:
    """Everything that a fault could have left in the database."""
    return service_does(
        server,
        """
        SELECT array_agg(name) FROM (
            SELECT tgname::text AS name FROM pg_trigger WHERE NOT tgisinternal
            UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stormwatch%'
            UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'stormwatch%'
            UNION SELECT 'read only' WHERE current_setting('default_transaction_read_only')::bool
            UNION SELECT 'held: ' || query FROM pg_stat_activity WHERE application_name = 'stormwatch fault'
        ) AS found
        """,
    )


def is_clean(server: Server) -> bool:
    return left_behind(server) is None and service_does(server, "SELECT count(*) FROM lots") == 5


def test_outsiders_hold_every_connection_and_an_admin_still_gets_in(server: Server) -> None:
    with Connections().inject(server):
        with pytest.raises(asyncpg.TooManyConnectionsError):
            service_does(server, "SELECT 1")
        held = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'stormwatch_outsider%'"
        assert value(server.postgres.url, held) >= 10
    eventually(lambda: is_clean(server))


def test_outsiders_take_the_connections_that_the_service_had(server: Server) -> None:
    async def service() -> None:
        sessions = [await asyncpg.connect(server.postgres.service_url) for _ in range(8)]
        await asyncio.to_thread(entered.set)
        await asyncio.to_thread(over.wait)
        lost.append(sum(session.is_closed() for session in sessions))
        for session in sessions:
            session.terminate()

    entered, over, lost = threading.Event(), threading.Event(), list[int]()
    thread = threading.Thread(target=lambda: asyncio.run(service()))
    thread.start()
    try:
        entered.wait(10)
        with Connections().inject(server):
            pass
    finally:
        over.set()
        thread.join()
    assert lost == [8]
    eventually(lambda: is_clean(server))


def test_slow_statements_slow_writes_and_only_writes(server: Server) -> None:
    with SlowStatements(delay="700ms").inject(server):
        before = time.monotonic()
        service_does(server, "UPDATE lots SET state = state RETURNING 1")
        assert time.monotonic() - before >= 0.7
        assert service_does(server, "SELECT count(*) FROM lots") == 5
    assert is_clean(server)


def test_slow_statements_that_nobody_ran_are_not_exercised(server: Server) -> None:
    with pytest.raises(NotExercisedError, match="no statement came by"), SlowStatements().inject(server):
        pass
    assert is_clean(server)


WRITE = "UPDATE lots SET state = state"
DUE = "UPDATE lots SET ends_at = clock_timestamp() + interval '{}'"


def test_row_locks_hold_the_lots_that_are_open(server: Server) -> None:
    service_does(server, DUE.format("300 ms"))
    with RowLocks().inject(server):
        left = service_does(
            server,
            "SELECT count(*) FROM (SELECT FROM lots WHERE state = 'open' FOR UPDATE SKIP LOCKED) AS f",
        )
        assert left == 0
        assert service_does(server, "SELECT count(*) FROM lots") == 5
        time.sleep(0.4)  # until they are due
    eventually(lambda: is_clean(server))


def test_row_locks_make_whoever_writes_wait(server: Server) -> None:
    service_does(server, DUE.format("1 h"))
    with RowLocks().inject(server), pytest.raises(TimeoutError):
        service_does(server, WRITE, limit_s=1.0)


@pytest.mark.parametrize("due", ["-1 s", "1 h"])
def test_row_locks_that_nobody_comes_across_are_not_exercised(server: Server, due: str) -> None:
    service_does(server, DUE.format(due))
    with pytest.raises(NotExercisedError, match="nobody came"), RowLocks().inject(server):
        service_does(server, "SELECT count(*) FROM lots")


def test_lots_that_are_not_held_do_not_count(server: Server) -> None:
    service_does(server, DUE.format("1 h"))
    late = "UPDATE lots SET ends_at = clock_timestamp() WHERE title = 'sw01234567-5'"
    with pytest.raises(NotExercisedError, match="nobody came"), RowLocks(rows=4).inject(server):
        service_does(server, late)


def test_row_locks_without_lots_are_not_exercised(server: Server) -> None:
    service_does(server, "UPDATE lots SET state = 'sold'")
    try:
        with pytest.raises(NotExercisedError, match="nothing to hold"), RowLocks().inject(server):
            pass
    finally:
        service_does(server, "UPDATE lots SET state = 'open'")


def test_a_table_lock_keeps_readers_out(server: Server) -> None:
    with TableLock().inject(server), pytest.raises(TimeoutError):
        service_does(server, "SELECT count(*) FROM lots", limit_s=1.0)
    eventually(lambda: is_clean(server))


def test_a_table_lock_that_nobody_waits_for_is_not_exercised(server: Server) -> None:
    with pytest.raises(NotExercisedError, match="nobody came"), TableLock().inject(server):
        pass


def test_an_advisory_lock_is_held_and_let_go(server: Server) -> None:
    question = "SELECT pg_try_advisory_xact_lock(7170)"
    with AdvisoryLock().inject(server):
        assert service_does(server, question) is False
        with pytest.raises(TimeoutError):
            service_does(server, "SELECT pg_advisory_xact_lock(7170)", limit_s=0.5)
    eventually(lambda: service_does(server, question) is True)


def test_an_advisory_lock_that_nobody_waits_for_is_not_exercised(server: Server) -> None:
    with pytest.raises(NotExercisedError, match="nobody came"), AdvisoryLock().inject(server):
        service_does(server, "SELECT pg_advisory_xact_lock(1)")


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("-5", "-5::bigint"),
        (str(-(2**63)), "'-9223372036854775808'::bigint"),
        ("3,-7", "3, -7"),
        ("-2147483648,0", "'-2147483648'::int, 0"),
    ],
)
def test_an_advisory_lock_takes_every_key_that_postgres_has(server: Server, key: str, same: str) -> None:
    question = f"SELECT pg_try_advisory_xact_lock({same})"
    fault = AdvisoryLock(key=key)
    with fault.holding(server, "SELECT 1"), fault.applied(server):
        assert service_does(server, question) is False
        # Who is at a tick is told by the same key.
        columns = "SELECT array[classid, objid, objsubid] FROM pg_locks WHERE locktype = 'advisory'"
        assert tuple(service_does(server, columns)) == lock_columns(key)
    eventually(lambda: service_does(server, question) is True)


def test_lots_whose_ids_the_server_gives_fall_due_together_in_the_run_of_now(server: Server) -> None:
    made = "FROM lots WHERE title LIKE 'sw01234567-due-%'"
    with DueTogether(items=40, after="1s").inject(server):
        assert service_does(server, f"SELECT array[count(*), count(DISTINCT ends_at)] {made}") == [40, 1]
        service_does(server, f"UPDATE lots SET state = 'sold' WHERE id IN (SELECT id {made})")
    service_does(server, f"DELETE {made}")


def test_ticks_under_a_lock_of_another_key_are_slowed(server: Server) -> None:
    with SlowTicks(delay="700ms").inject(server):
        before = time.monotonic()
        service_does(server, f"DO $$ BEGIN PERFORM pg_advisory_xact_lock(7170); {WRITE}; END $$")
        assert time.monotonic() - before >= 0.7
    assert is_clean(server)


def test_the_levers_of_the_auction_fit_its_tables(server: Server) -> None:
    service_does(server, "CREATE SCHEMA auction")
    target = replace(server.target, database_url=f"{server.target.database_url}?search_path=auction")
    execute(str(target.database_url), SCHEMA.read_text(encoding="utf-8"))
    house = deployment(target, Auction)
    try:
        with (
            pytest.raises(NotExercisedError, match="none of its lots was moved"),
            DueTogether(items=3, after="500ms").inject(house),
            RowLocks().inject(house),
        ):
            time.sleep(0.6)  # until they are due
    finally:
        execute(str(target.database_url), "DROP SCHEMA auction CASCADE")


def test_sessions_are_idle_in_transaction(server: Server) -> None:
    with IdleInTransaction(sessions_count=3).inject(server):
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        # The service's user does not see the state of others' sessions.
        assert value(server.postgres.url, idle) == 3
    eventually(lambda: is_clean(server))


def test_read_only_refuses_writes_and_ends(server: Server) -> None:
    with ReadOnly().inject(server):
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            service_does(server, WRITE)
        assert service_does(server, "SELECT count(*) FROM lots") == 5
    eventually(lambda: is_clean(server))
    service_does(server, WRITE)


def test_read_only_that_nobody_writes_under_is_not_exercised(server: Server) -> None:
    with pytest.raises(NotExercisedError, match="nobody came to write"), ReadOnly().inject(server):
        assert service_does(server, "SELECT count(*) FROM lots") == 5


def test_backends_of_the_service_are_terminated(server: Server) -> None:
    with Client(server, "SELECT pg_sleep(30)") as client:
        eventually(lambda: is_busy(server))
        with TerminateBackends(every="100ms").inject(server):
            time.sleep(0.5)
    assert client.answers == 0


def test_looks_of_the_harness_are_not_terminated_with_the_service(server: Server) -> None:
    # Opened with the service's own user, too: it is the name that tells.
    looks = Sessions(server.postgres.service_url)
    with looks, Client(server, "SELECT pg_sleep(30)"):
        look = looks.run(open_session(server.postgres.service_url, Who.OBSERVER, limit_s=10))
        eventually(lambda: is_busy(server))
        with TerminateBackends(every="100ms").inject(server):
            time.sleep(0.3)
        assert looks.run(look.fetchval("SELECT 1")) == 1
        looks.run(look.close())


def is_busy(server: Server) -> bool:
    return bool(service_does(server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


def test_a_restart_cuts_sessions_and_comes_back(server: Server) -> None:
    before = server.pid("postgres")
    with Restart().inject(server):
        assert server.pid("postgres") != before
    assert is_clean(server)


def test_a_crash_is_recovered_from(server: Server) -> None:
    service_does(server, "UPDATE lots SET state = 'sold'")
    with Crash().inject(server), pytest.raises(OSError, match="Connect"):
        service_does(server, "SELECT 1")
    assert service_does(server, "SELECT count(*) FROM lots WHERE state = 'sold'") == 5
    assert "automatic recovery in progress" in server.parts["postgres"].log_path.read_text(encoding="utf-8")
    service_does(server, "UPDATE lots SET state = 'open'")


def test_is_undone_when_the_block_fails(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), ReadOnly().inject(server):
        raise ZeroDivisionError
    eventually(lambda: is_clean(server))


def test_a_deployment_without_an_address_of_its_database_lacks_the_part() -> None:
    target = Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(MissingPartError, match="DATABASE_URL"), ReadOnly().inject(deployment(target)):
        pass


def test_a_deployment_has_no_server_to_restart(server: Server) -> None:
    with (
        pytest.raises(MissingPartError, match="no process is within reach"),
        Crash().inject(deployment(server.target)),
    ):
        pass


def test_a_database_that_is_not_there_is_the_harness_failure() -> None:
    target = Target("http://127.0.0.1:9", "k", "s", "sub", database_url="postgresql://a:b@127.0.0.1:1/c")
    with pytest.raises(FaultError, match="can't connect"), ReadOnly().inject(deployment(target)):
        pass
