"""The database broken on purpose: by sessions of our own, by its settings, by killing its server."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from harness.faults import Exercised, Fault, FaultTarget
from harness.faults.database_fault import SQL, DatabaseFault, drop, new_schema
from harness.faults.parameters import count, duration, lock_key, parse_lock_key
from harness.faults.process import ended, running
from harness.faults.sessions import LOCK_LIMIT, Sessions
from harness.sla.units import parse_duration
from harness.system import levers_of
from harness.target.sessions import OURS

_AGAIN_S: Final = 0.1
#: Outsiders were refused a connection that lately: there is none left.
_LATELY_S: Final = 5.0
#: How long the server may take to heed a setting.
_RELOAD_LIMIT_S: Final = 5.0
#: A session adds to the server's counts once a second at most.
_COUNTED_S: Final = 2.5


@dataclass(frozen=True)
class Connections(DatabaseFault):
    """Outsiders hold every connection that ordinary users can have; the service's own are cut.

    At its end, the outsiders leave, and their user is removed.
    """

    name = "connections"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        outsider, password = f"stormwatch_outsider_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
        refused: list[float] = []

        async def hold_all(sessions: Sessions) -> None:
            """Take what is free; cut what is the service's; take that too; and again."""
            while True:
                try:
                    while True:
                        await sessions.open(user=outsider, password=password)
                except asyncpg.TooManyConnectionsError:
                    refused.append(time.monotonic())
                if await sessions.admin.fetchval(SQL["terminate_others"], OURS) == 0:
                    await asyncio.sleep(_AGAIN_S)

        async def is_refused() -> bool:
            return bool(refused)

        def exercised() -> str | None:
            return None if refused[-1] > time.monotonic() - _LATELY_S else "connections were left over"

        with self.sessions(on) as sessions:
            try:
                with self.tried("make a user for the outsiders"):
                    sessions.execute(SQL["make_outsider"].format(outsider=outsider, password=password))
                sessions.spawn(hold_all(sessions))
                with self.tried("take all connections"):
                    sessions.wait_until(is_refused)
                yield exercised
            finally:
                with self.tried("remove the outsiders' user"):
                    sessions.insist(SQL["drop_outsider"].format(outsider=outsider))


@dataclass(frozen=True)
class SlowStatements(DatabaseFault):
    """Every write to the system's tables takes longer, and holds one of the service's connections that long.

    At its end, writes are quick again; one that is being held up ends late.
    """

    name = "slow-statements"

    needs = ("tables",)

    delay: str = duration("5s", "how much longer each statement takes")

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        schema, delay_s = new_schema(), parse_duration(self.delay)
        tables = levers_of(on.system).tables
        with self.sessions(on) as sessions:
            try:
                with self.tried("slow the tables down"):
                    sessions.execute(SQL["slow"].format(schema=schema, delay_s=delay_s, limit=LOCK_LIMIT))
                    for table in tables:
                        sessions.execute(SQL["slow_table"].format(schema=schema, table=table))
                slowed = SQL["slowed"].format(schema=schema)
                yield lambda: None if sessions.value(slowed) else "no statement came by"
            finally:
                with self.tried("let the tables be as they were"):
                    drop(sessions, schema, *tables)


@dataclass(frozen=True)
class HoldingFault(DatabaseFault):
    """A transaction of ours that holds on to something until the end."""

    @contextmanager
    def holding(
        self, on: FaultTarget, statement: str, *values: Any, passed_by: str = ""
    ) -> Iterator[Exercised]:
        """Hold on to what ``statement`` gets hold of, in a transaction of ours.

        At its end it is asked ``passed_by``: whether somebody came across it who does not wait.
        """
        with self.sessions(on) as sessions:
            with self.tried("get hold of it"):
                holder = sessions.connect()
                sessions.run(holder.execute(SQL["hold"].format(limit=LOCK_LIMIT)))
                got = sessions.run(holder.execute(statement, *values))
            blocked: list[int] = []

            async def watch() -> None:
                while not blocked:
                    if found := await sessions.admin.fetchval(SQL["blocked"], holder.get_server_pid()):
                        blocked.append(found)
                    await asyncio.sleep(_AGAIN_S)

            def exercised() -> str | None:
                if holder.is_closed():
                    return "the session that held it was lost"
                if got.endswith(" 0"):
                    return "there was nothing to hold"
                with self.tried("see who came by"):
                    met = blocked or (passed_by and sessions.run(holder.fetchval(passed_by)))
                return None if met else "nobody came to wait for it"

            sessions.spawn(watch())
            # Closing the session rolls back: that is all there is to undo.
            yield exercised


@dataclass(frozen=True)
class RowLocks(HoldingFault):
    """A transaction of ours holds the rows of the items that are under way.

    At its end, the transaction is rolled back, and who waits goes on.
    """

    name = "row-locks"
    needs = ("lock_rows",)

    rows: int = count(10000, "how many items at most")

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        levers = levers_of(on.system)
        return self.holding(on, levers.lock_rows, self.rows, passed_by=levers.rows_fell_due)


@dataclass(frozen=True)
class TableLock(HoldingFault):
    """A transaction of ours holds the table of items, against readers too (ACCESS EXCLUSIVE).

    At its end, the transaction is rolled back, and who waits goes on.
    """

    name = "table-lock"
    needs = ("items",)

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return self.holding(on, SQL["lock_table"].format(table=levers_of(on.system).items))


@dataclass(frozen=True)
class AdvisoryLock(HoldingFault):
    """A stuck session of ours holds the lock that ticks run under.

    A tick that waits for it, however shortly, is seen; one that only tries (``pg_try_advisory_lock``)
    leaves no trace, and does not count.

    At its end, the session ends, and the lock is free.
    """

    name = "advisory-lock"
    needs = ("tick_lock",)

    key: str | None = lock_key("of another lock: 5 or 3,-7")

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        parts = parse_lock_key(self.key or levers_of(on.system).tick_lock)
        kind = "bigint" if len(parts) == 1 else "int"
        key = ", ".join(f"'{part}'::{kind}" for part in parts)
        return self.holding(on, SQL["lock_key"].format(key=key))


@dataclass(frozen=True)
class IdleInTransaction(DatabaseFault):
    """Sessions of ours have begun a transaction, read the items and gone to sleep.

    At its end, the sessions end, and their transactions with them.
    """

    name = "idle-in-transaction"
    needs = ("items",)

    sessions_count: int = count(10, "how many sessions", most=1000)

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        reading = SQL["begin_reading"].format(table=levers_of(on.system).items)
        with self.sessions(on) as sessions:
            with self.tried("open the sessions"):
                held = [sessions.connect() for _ in range(self.sessions_count)]
                for session in held:
                    sessions.run(session.execute(reading))
            yield lambda: "some of them were cut" if any(session.is_closed() for session in held) else None


@dataclass(frozen=True)
class ReadOnly(DatabaseFault):
    """No transaction may write, as on a replica or a full disk.

    At its end, transactions may write; those that were refused stay so.
    """

    name = "read-only"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.sessions(on) as sessions:

            async def heeded() -> bool:
                """Tell whether a session that does not ask for more may only read."""
                connection = await sessions.open(server_settings={})
                try:
                    return bool(await connection.fetchval(SQL["is_read_only"]))
                finally:
                    await connection.close()

            async def refused() -> bool:
                return bool(await sessions.admin.fetchval(SQL["rolled_back"]) > before)

            def exercised() -> str | None:
                with self.tried("see whether anybody was refused"):
                    try:
                        sessions.wait_until(refused, _COUNTED_S)
                    except TimeoutError:
                        return "no transaction failed: nobody came to write"
                return None

            try:
                with self.tried("forbid writing"):
                    sessions.execute(SQL["forbid_writing"])
                    sessions.execute(SQL["reload"])
                    sessions.wait_until(heeded, _RELOAD_LIMIT_S)
                    before = sessions.value(SQL["rolled_back"])
                yield exercised
            finally:
                with self.tried("allow writing again"):
                    sessions.insist(SQL["allow_writing"], SQL["reload"])


@dataclass(frozen=True)
class TerminateBackends(DatabaseFault):
    """The service's sessions are cut by the server, again and again.

    At its end, sessions are left alone; those that were cut stay so.
    """

    name = "terminate-backends"

    every: str = duration("1s", "between two cuts")

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        cut: list[int] = []

        async def cut_them(sessions: Sessions) -> None:
            while True:
                cut.append(await sessions.admin.fetchval(SQL["terminate_others"], OURS))
                await asyncio.sleep(parse_duration(self.every))

        async def begun() -> bool:
            return bool(cut)

        with self.sessions(on) as sessions:
            sessions.spawn(cut_them(sessions))
            with self.tried("cut sessions"):
                sessions.wait_until(begun)
            yield lambda: None if sum(cut) else "the service had no session to cut"


@dataclass(frozen=True)
class _Server(DatabaseFault):
    """Something done to the server's process."""

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        return [cls()] if cls.target in on.parts else ()


@dataclass(frozen=True)
class Restart(_Server):
    """The server is restarted in order, once; every session is cut.

    At its end, nothing happens: the server came back by itself.
    """

    name = "restart"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        before = running(self, on)
        with self.named():
            on.restart(self.target)
        yield lambda: "the server was not restarted" if on.pid(self.target) == before else None


@dataclass(frozen=True)
class Crash(_Server):
    """The server is killed (SIGKILL), and goes through crash recovery when the fault ends.

    At its end, the server is started again and goes through crash recovery.
    """

    name = "crash"

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return ended(self, on, on.kill)
