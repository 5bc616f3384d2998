"""The database broken on purpose: by sessions of our own, by its settings, by killing its server."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import asyncpg

from harness.faults.base import (
    Exercised,
    Fault,
    FaultError,
    MissingPartError,
    System,
    count,
    duration,
    lock_key,
    parse_lock_key,
    register,
)
from harness.faults.process import named, running
from harness.faults.sessions import Sessions
from harness.sla.units import parse_duration
from harness.target.sessions import NOT_OURS, TROUBLE

#: How the schemas begin that faults make for things of their own; and the table in them, if any, that has
#: the statements that undo the fault (column ``statement``), should it be killed.
MARK: Final = "stormwatch_fault_"
UNDO: Final = "undo"

#: How long a fault may take to get the locks that it holds, and to be undone after all.
LOCK_LIMIT: Final = "10s"
_UNDO_LIMIT_S: Final = 30.0
_AGAIN_S: Final = 0.1

#: Sessions of the service: not ours. Where the service has a database user of its
#: own, only that user's.
_OTHERS: Final = f"""
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = current_database()
      AND {NOT_OURS}
      AND usename NOT LIKE 'stormwatch\\_outsider\\_%'
      AND (usename <> current_user OR NOT EXISTS (
          SELECT FROM pg_stat_activity AS other
          WHERE other.backend_type = 'client backend' AND other.usename <> current_user
            AND other.usename NOT LIKE 'stormwatch\\_outsider\\_%'))
"""
_TERMINATE_OTHERS: Final = f"SELECT count(pg_terminate_backend(pid)) {_OTHERS}"
_BLOCKED: Final = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
_ROLLED_BACK: Final = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
#: A session adds to the server's counts once a second at most.
_COUNTED_S: Final = 2.5


@dataclass(frozen=True)
class DatabaseFault(Fault):
    """Something done to the database behind the service."""

    target: str = "postgres"

    place: ClassVar[str] = "database"

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return [cls()] if system.target.database_url else ()

    @contextmanager
    def sessions(self, system: System) -> Iterator[Sessions]:
        """Give sessions of our own in the database.

        Raises
        ------
        MissingPartError
            The target has no database that we know the address of.
        FaultError
            The database refuses what the fault does to it.
        """
        if self.target != DatabaseFault.target:
            # What is merely misspelt must not skip a scenario.
            raise FaultError(f"{self}: no database {self.target!r}; there is {DatabaseFault.target}")
        url = system.target.database_url
        if url is None:
            raise MissingPartError(
                f"{self}: the address of the target's database is not known (DATABASE_URL)"
            )
        with Sessions(url) as sessions:
            yield sessions

    @contextmanager
    def remembered(self, sessions: Sessions, undo: str) -> Iterator[None]:
        """Leave word in the database of how the fault is undone, for whoever mends it if we are killed.

        Parameters
        ----------
        sessions : of our own in the database.
        undo : statements that undo it; sent together, and doing no harm if they were run already.
        """
        schema = f"{MARK}{secrets.token_hex(3)}"
        try:
            with self.tried("leave word of how it is undone"):
                admin = sessions.connect()
                sessions.execute(
                    admin, f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{UNDO} (statement text)"
                )
                sessions.execute(admin, f"INSERT INTO {schema}.{UNDO} VALUES ($1)", undo)  # noqa: S608  # names of ours
            yield
        finally:
            with self.tried("take that word back"):
                sessions.run(insist(sessions, f"DROP SCHEMA IF EXISTS {schema} CASCADE"))

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """Say of which fault it was that the database refused ``what``."""
        try:
            yield
        except TROUBLE as error:
            raise FaultError(f"{self}: can't {what}: {error or type(error).__name__}") from error


@register
@dataclass(frozen=True)
class Connections(DatabaseFault):
    """Outsiders hold every connection that ordinary users can have; the service's own are cut.

    At its end, the outsiders leave, and their user is removed.
    """

    name = "connections"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("connect"):
                admin = sessions.connect()
            outsider = f"stormwatch_outsider_{secrets.token_hex(3)}"
            password = secrets.token_urlsafe(12)
            refused: list[float] = []

            async def hold_all() -> None:
                """Take what is free; cut what is the service's; take that too; and again."""
                while True:
                    try:
                        while True:
                            await sessions.open(user=outsider, password=password)
                    except asyncpg.TooManyConnectionsError:
                        refused.append(time.monotonic())
                    if await admin.fetchval(_TERMINATE_OTHERS) == 0:
                        await asyncio.sleep(_AGAIN_S)

            try:
                with self.tried("make a user for the outsiders"):
                    # An ordinary one: superusers get the connections that are kept for them, too.
                    sessions.execute(admin, f"CREATE ROLE {outsider} LOGIN PASSWORD '{password}'")
                sessions.spawn(hold_all())
                with self.tried("take all connections"):
                    sessions.run(until(lambda: bool(refused)))
                yield lambda: None if refused[-1] > time.monotonic() - 5 else "connections were left over"
            finally:
                with self.tried("remove the outsiders' user"):
                    sessions.run(insist(sessions, f"DROP ROLE IF EXISTS {outsider}"))


@register
@dataclass(frozen=True)
class SlowStatements(DatabaseFault):
    """Every write to the games' tables takes longer, and holds one of the service's connections that long.

    At its end, writes are quick again; one that is being held up ends late.
    """

    name = "slow-statements"

    delay: str = duration("5s", "how much longer each statement takes")

    TABLES: ClassVar[tuple[str, ...]] = ("games", "game_participants", "submissions")

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        schema = f"{MARK}{secrets.token_hex(3)}"
        with self.sessions(system) as sessions:
            with self.tried("connect"):
                admin = sessions.connect()
            try:
                with self.tried("slow the tables down"):
                    # The sequence counts the statements that were slowed: it moves also if they roll back.
                    sessions.execute(
                        admin,
                        f"SET lock_timeout = '{LOCK_LIMIT}'; CREATE SCHEMA {schema};"
                        f"CREATE SEQUENCE {schema}.slowed;"
                        f"CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
                        f"AS $$ BEGIN PERFORM nextval('{schema}.slowed');"
                        f"PERFORM pg_sleep({parse_duration(self.delay)}); RETURN NULL; END $$",
                    )
                    for table in self.TABLES:
                        sessions.execute(
                            admin,
                            f"CREATE TRIGGER {schema} BEFORE INSERT OR UPDATE ON {table} "
                            f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.slow()",
                        )
                question = f"SELECT is_called FROM {schema}.slowed"  # noqa: S608  # a name of ours
                yield lambda: None if sessions.value(admin, question) else "no statement came by"
            finally:
                with self.tried("let the tables be as they were"):
                    # Table by table: taking all locks at once could deadlock with the service.
                    for table in self.TABLES:
                        sessions.run(insist(sessions, f"DROP TRIGGER IF EXISTS {schema} ON {table}"))
                    sessions.run(insist(sessions, f"DROP SCHEMA IF EXISTS {schema} CASCADE"))


@dataclass(frozen=True)
class _Held(DatabaseFault):
    """A transaction of ours that holds on to something until the end."""

    @contextmanager
    def holding(
        self, system: System, statement: str, *, passed_by: str = "SELECT false"
    ) -> Iterator[Exercised]:
        """Hold on to what ``statement`` gets hold of.

        Parameters
        ----------
        system : whose database it is.
        statement : run in a transaction of ours.
        passed_by : asked in that transaction, at the end: whether somebody came across it who does not wait.
        """
        with self.sessions(system) as sessions:
            with self.tried("connect"):
                holder, watcher = sessions.connect(), sessions.connect()
            with self.tried("get hold of it"):
                sessions.execute(holder, f"SET lock_timeout = '{LOCK_LIMIT}'; BEGIN")
                got = sessions.execute(holder, statement)
            blocked: list[int] = []

            async def watch() -> None:
                pid = holder.get_server_pid()
                while not blocked:
                    if found := await watcher.fetchval(_BLOCKED, pid):
                        blocked.append(found)
                    await asyncio.sleep(_AGAIN_S)

            sessions.spawn(watch())

            def exercised() -> str | None:
                if holder.is_closed():
                    return "the session that held it was lost"
                if got.endswith(" 0"):
                    return "there was nothing to hold"
                with self.tried("see who came by"):
                    met = blocked or sessions.value(holder, passed_by)
                return None if met else "nobody came to wait for it"

            # Closing the session rolls back: that is all there is to undo.
            yield exercised


@register
@dataclass(frozen=True)
class RowLocks(_Held):
    """A transaction of ours holds the rows of the games that are being played.

    At its end, the transaction is rolled back, and who waits goes on.
    """

    name = "row-locks"

    rows: int = count(10000, "how many games at most")

    #: Who skips locked rows does not wait for them: one of ours (their ``xmax`` is our transaction) fell due
    #: since, and can't have been moved.
    _FELL_DUE: ClassVar[str] = (
        "SELECT EXISTS (SELECT FROM games WHERE xmax = pg_current_xact_id()::xid "
        "AND phase_expires_at BETWEEN now() AND clock_timestamp())"
    )

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        statement = (
            "SELECT id FROM games WHERE status IN ('briefing', 'drawing', 'voting') "  # noqa: S608  # a number
            f"ORDER BY id LIMIT {self.rows} FOR UPDATE"
        )
        with self.holding(system, statement, passed_by=self._FELL_DUE) as exercised:
            yield exercised


@register
@dataclass(frozen=True)
class TableLock(_Held):
    """A transaction of ours holds the table of games, against readers too (ACCESS EXCLUSIVE).

    At its end, the transaction is rolled back, and who waits goes on.
    """

    name = "table-lock"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.holding(system, "LOCK TABLE games IN ACCESS EXCLUSIVE MODE") as exercised:
            yield exercised


@register
@dataclass(frozen=True)
class AdvisoryLock(_Held):
    """A stuck session of ours holds the lock that ticks of the monitor run under.

    A tick that waits for it, however shortly, is seen; one that only tries (``pg_try_advisory_lock``)
    leaves no trace, and does not count.

    At its end, the session ends, and the lock is free.
    """

    name = "advisory-lock"

    key: str = lock_key("8462001", "of the lock, 5 or 3,-7; the default is the reference service's monitor")

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        parts = parse_lock_key(self.key)
        kind = "bigint" if len(parts) == 1 else "int"
        key = ", ".join(f"'{part}'::{kind}" for part in parts)
        with self.holding(system, f"SELECT pg_advisory_lock({key})") as exercised:
            yield exercised


@register
@dataclass(frozen=True)
class IdleInTransaction(DatabaseFault):
    """Sessions of ours have begun a transaction, read the games and gone to sleep.

    At its end, the sessions end, and their transactions with them.
    """

    name = "idle-in-transaction"

    sessions_count: int = count(10, "how many sessions", most=1000)

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("open the sessions"):
                held = [sessions.connect() for _ in range(self.sessions_count)]
                for session in held:
                    sessions.execute(session, "BEGIN ISOLATION LEVEL REPEATABLE READ")
                    sessions.execute(session, "SELECT count(*) FROM games")
            yield lambda: "some of them were cut" if any(session.is_closed() for session in held) else None


@register
@dataclass(frozen=True)
class ReadOnly(DatabaseFault):
    """No transaction may write, as on a replica or a full disk.

    At its end, transactions may write; those that were refused stay so.
    """

    name = "read-only"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("connect"):
                admin = sessions.connect()
            try:
                with self.tried("forbid writing"):
                    sessions.execute(admin, "ALTER SYSTEM SET default_transaction_read_only = on")
                    sessions.execute(admin, "SELECT pg_reload_conf()")
                    sessions.run(until(lambda: _read_only(sessions), limit_s=5.0))
                    before = sessions.value(admin, _ROLLED_BACK)

                async def refused() -> bool:
                    return bool(await admin.fetchval(_ROLLED_BACK) > before)

                def exercised() -> str | None:
                    with self.tried("see whether anybody was refused"):
                        try:
                            sessions.run(until(refused, _COUNTED_S))
                        except TimeoutError:
                            return "no transaction failed: nobody came to write"
                    return None

                yield exercised
            finally:
                with self.tried("allow writing again"):
                    reset = "ALTER SYSTEM RESET default_transaction_read_only"
                    sessions.run(insist(sessions, reset, "SELECT pg_reload_conf()"))


@register
@dataclass(frozen=True)
class TerminateBackends(DatabaseFault):
    """The service's sessions are cut by the server, again and again.

    At its end, sessions are left alone; those that were cut stay so.
    """

    name = "terminate-backends"

    every: str = duration("1s", "between two cuts")

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("connect"):
                admin = sessions.connect()
            cut: list[int] = []

            async def cut_them() -> None:
                while True:
                    cut.append(await admin.fetchval(_TERMINATE_OTHERS))
                    await asyncio.sleep(parse_duration(self.every))

            sessions.spawn(cut_them())
            with self.tried("cut sessions"):
                sessions.run(until(lambda: bool(cut)))
            yield lambda: None if sum(cut) else "the service had no session to cut"


@dataclass(frozen=True)
class _Server(DatabaseFault):
    """Something done to the server's process."""

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return [cls()] if cls.target in system.parts else ()

    def pid(self, system: System) -> int:
        """Return the server's process id, once it is sure that there is one within reach."""
        return running(self, system)


@register
@dataclass(frozen=True)
class Restart(_Server):
    """The server is restarted in order, once; every session is cut.

    At its end, nothing happens: the server came back by itself.
    """

    name = "restart"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        before = self.pid(system)
        with named(self):
            system.restart(self.target)
        yield lambda: "the server was not restarted" if system.pid(self.target) == before else None


@register
@dataclass(frozen=True)
class Crash(_Server):
    """The server is killed (SIGKILL), and goes through crash recovery when the fault ends.

    At its end, the server is started again and goes through crash recovery.
    """

    name = "crash"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        self.pid(system)
        try:
            with named(self):
                system.kill(self.target)
            yield lambda: "the server is running" if system.pid(self.target) is not None else None
        finally:
            with named(self):
                system.restart(self.target)


async def until(holds: Callable[[], bool | Awaitable[bool]], limit_s: float = 15.0) -> None:
    """Wait until ``holds``.

    Raises
    ------
    TimeoutError
        It did not in time.
    """
    async with asyncio.timeout(limit_s):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(_AGAIN_S / 2)


async def _read_only(sessions: Sessions) -> bool:
    """Tell whether a session that does not ask for more may only read."""
    connection = await sessions.open(server_settings={})
    try:
        return bool(await connection.fetchval("SHOW transaction_read_only") == "on")
    finally:
        await connection.close()


async def insist(sessions: Sessions, *statements: str) -> None:
    """Run ``statements``, each in a session of its own, until they succeed: what is broken must be mended.

    The server may just be restarting, or a lock be held for a while.
    """
    deadline = time.monotonic() + _UNDO_LIMIT_S
    for statement in statements:
        while True:
            try:
                connection = await sessions.open()
                try:
                    await connection.execute(f"SET lock_timeout = '{LOCK_LIMIT}'")
                    await connection.execute(statement)
                finally:
                    await connection.close()
                break
            except TROUBLE:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_AGAIN_S)
