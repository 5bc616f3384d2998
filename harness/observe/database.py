"""Reads from the service's database what really happened: transitions, trigger times, published events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor, Publish, Reading, Transition, move
from harness.observe.readings import CLOCK_EVERY_S, compare_clocks, reading
from harness.system import SqlWitness, find_system
from harness.target.sessions import OURS, TROUBLE, Who, open_session
from harness.target.sql import statements

log = logging.getLogger(__name__)

#: Between two looks at what is new.
POLL_S: Final = 0.5
#: Rows get their ids before they are committed, so a lower id may turn up later: look back this far.
#: What takes even longer to commit is found by the last look, which reads everything.
LOOK_BACK_S: Final = 10.0
#: A statement of ours that takes longer is given up, and the connection with it.
STATEMENT_LIMIT_S: Final = 10.0
#: Between attempts to come back to a database that was gone.
RECONNECT_S: Final = 0.5

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SQL: Final = statements(Path(__file__).parent / "sql")


class DatabaseReader:
    """Reads the games whose ids begin with ``prefix``, again and again, into a history.

    Parameters
    ----------
    url : the service's database.
    prefix : how the ids of this run's games begin; others' games are none of our business.
    history : where the rows go.
    witness : the statements that read it.
    """

    def __init__(self, url: str, prefix: str, history: HistoryWriter, witness: SqlWitness) -> None:
        self._url = url
        self._prefix = prefix
        self._history = history
        self._witness = witness
        self._connection: asyncpg.Connection[Any] | None = None
        self._transitions = _Seen()
        self._published = _Seen()
        self._next_clock = 0.0

    async def connect(self) -> None:
        """Connect and look once.

        Raises
        ------
        OSError, asyncpg.PostgresError
            There is no such database, it refuses us, or it lacks the tables to read.
        """
        await self._look()

    async def follow(self) -> None:
        """Look twice a second, also after the database was gone, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + POLL_S
            try:
                await self._look()
            except TROUBLE as error:
                log.warning("the database can't be read: %s: %s", type(error).__name__, error)
                await self.close()
                await asyncio.sleep(RECONNECT_S)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def finish(self, *, within_s: float) -> str | None:
        """Read everything once more, and what never happened; return why that was not possible."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                    await self._look_at_all()
            except TROUBLE as error:
                await self.close()
                if time.monotonic() >= deadline:
                    return f"the database could not be read at the end: {type(error).__name__}: {error}"
                await asyncio.sleep(RECONNECT_S)
            else:
                await self.close()
                return None

    async def close(self) -> None:
        """Drop the connection; the next look opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*TROUBLE):
                await connection.close(timeout=1.0)

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await _open(self._url)
        return self._connection

    async def _look(self) -> None:
        connection = await self._connected()
        if time.monotonic() >= self._next_clock:
            await self._compare_clocks(connection)
            self._next_clock = time.monotonic() + CLOCK_EVERY_S
        await self._read_transitions(connection, self._transitions.low)
        await self._read_published(connection, self._published.low, only_published=True)
        await self._read_backlog(connection)
        sessions = await connection.fetchval(_SQL["sessions"], OURS)
        self._history.append(reading(Reading.SESSIONS, Actor.DATABASE, sessions))
        if self._witness.others_overdue is not None:
            others = await connection.fetchval(self._witness.others_overdue, self._prefix)
            self._history.append(reading(Reading.OTHERS_OVERDUE, Actor.DATABASE, others))

    async def _look_at_all(self) -> None:
        connection = await self._connected()
        await self._compare_clocks(connection)
        await self._read_transitions(connection, 0)
        await self._read_published(connection, 0, only_published=False)
        await self._read_backlog(connection)
        await _read_overdue(connection, self._prefix, self._history, self._witness)

    async def _read_transitions(self, connection: asyncpg.Connection[Any], after: int) -> None:
        for record in await connection.fetch(self._witness.moves, after, self._prefix):
            if self._transitions.add(record["id"]):
                for row in _transition_rows(record):
                    self._history.append(row)
        self._transitions.forget()

    async def _read_published(
        self, connection: asyncpg.Connection[Any], after: int, *, only_published: bool
    ) -> None:
        if self._witness.published is None:
            return
        for record in await connection.fetch(self._witness.published, after, self._prefix, only_published):
            if self._published.add(record["id"]):
                self._history.append(_publish_row(record))

    async def _read_backlog(self, connection: asyncpg.Connection[Any]) -> None:
        if self._witness.backlog is None:
            return
        (backlog,) = await connection.fetch(self._witness.backlog)
        at_ns = now_ns()
        self._history.append(reading(Reading.OUTBOX_DEPTH, Actor.DATABASE, backlog["depth"], at_ns))
        self._history.append(reading(Reading.OUTBOX_AGE, Actor.DATABASE, backlog["age_s"], at_ns))
        if backlog["depth"] == 0:
            self._published.forget()

    async def _compare_clocks(self, connection: asyncpg.Connection[Any]) -> None:
        async def ask() -> int | None:
            return _ns(await connection.fetchval(_SQL["now"]))

        for row in await compare_clocks(Actor.DATABASE, ask):
            self._history.append(row)


async def note_overdue(url: str, prefix: str, history: HistoryWriter, witness: SqlWitness) -> None:
    """Record which games are past due now, as :meth:`DatabaseReader.finish` does at the end.

    Raises
    ------
    TROUBLE
        The database at ``url`` can't be read.
    """
    async with _session(url) as connection:
        await _read_overdue(connection, prefix, history, witness)


async def due_soon(url: str, prefix: str, from_s: float, to_s: float, witness: SqlWitness) -> int:
    """Return how many games fall due in ``from_s`` to ``to_s`` seconds from now.

    Raises
    ------
    TROUBLE
        The database at ``url`` can't be read.
    """
    async with _session(url) as connection:
        return int(await connection.fetchval(witness.due_soon, prefix, from_s, to_s))


async def why_unreadable(url: str, witness: SqlWitness) -> str | None:
    """Return why the database at ``url`` can't be read by a :class:`DatabaseReader`, or None if it can."""
    try:
        async with _session(url) as connection:
            # Prepared, not run: are the tables and columns there, and are we let in?
            for sql in [*witness.statements().values(), *_SQL.values()]:
                await connection.prepare(sql)
    except (*TROUBLE, ValueError) as error:
        return str(error) or type(error).__name__
    return None


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await _open(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=1.0)


async def _open(url: str) -> asyncpg.Connection[Any]:
    return await open_session(
        url, Who.OBSERVER, limit_s=STATEMENT_LIMIT_S, statement_limit_s=STATEMENT_LIMIT_S
    )


async def _read_overdue(
    connection: asyncpg.Connection[Any], prefix: str, history: HistoryWriter, witness: SqlWitness
) -> None:
    for record in await connection.fetch(witness.overdue, prefix):
        history.append(
            Row(
                "transition",
                Transition.OVERDUE,
                Actor.DATABASE,
                game=record["id"],
                intended_ns=_ns(record["due_at"]),
                end_ns=_ns(record["looked_at"]),
                ok=False,
                error=record["state"],
            )
        )


class _Seen:
    """Which rows were read, and from which id on to look for more."""

    def __init__(self) -> None:
        #: Rows up to this id were all read, as far as a look-back can tell.
        self.low = 0
        self._ids: set[int] = set()
        self._marks: list[tuple[float, int]] = []

    def add(self, id: int) -> bool:
        """Note a row; return whether it is new."""
        if id in self._ids:
            return False
        self._ids.add(id)
        return True

    def forget(self) -> None:
        """Move :attr:`low` up to the highest id that was seen a look-back ago."""
        now = time.monotonic()
        self._marks.append((now, max(self._ids, default=0)))
        while self._marks and self._marks[0][0] < now - LOOK_BACK_S:
            self.low = self._marks.pop(0)[1]


def _transition_rows(record: asyncpg.Record) -> Iterator[Row]:
    """Yield the row of a move, and that of the trigger it fired where its time is known."""
    start_ns = _ns(record["moved_at"])
    row = Row(
        "transition",
        move(record["from_state"], record["to_state"]),
        Actor.DATABASE,
        game=record["item"],
        event=record["event_id"],
        seq=record["seq"],
        intended_ns=_ns(record["due_at"]),
        start_ns=start_ns,
        end_ns=_ns(record["committed_at"]),
        ok=True,
    )
    yield row
    took_ms = record["trigger_ms"]
    if took_ms is not None:
        end_ns = None if start_ns is None else start_ns + round(took_ms * 1e6)
        trigger = row._replace(kind="trigger", name="game_status_change_trigger", value=took_ms)
        yield trigger._replace(intended_ns=None, end_ns=end_ns)


def _publish_row(record: asyncpg.Record) -> Row:
    if record["published_at"] is not None:
        ok, error = True, None
    elif record["dead"] is not None:
        ok, error = False, record["dead"]
    else:
        ok, error = None, "waiting"
    return Row(
        "publish",
        Publish.OUTBOX,
        Actor.DATABASE,
        game=record["item"],
        event=record["event_id"],
        seq=record["seq"],
        intended_ns=_ns(record["created_at"]),
        start_ns=_ns(record["first_attempt_at"]),
        end_ns=_ns(record["published_at"]),
        ok=ok,
        error=error,
        value=record["attempts"],
    )


def _ns(moment: datetime | None) -> int | None:
    """Return Unix ns of a ``timestamptz``, exactly (it counts microseconds)."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND * 1000


if __name__ == "__main__":
    sys.exit(asyncio.run(why_unreadable(os.environ["DATABASE_URL"], find_system().witness)))
