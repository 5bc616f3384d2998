"""A reader of the system's database: it looks again and again, also after the database was gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import asyncpg

from harness.history import HistoryWriter
from harness.history.names import Actor, Reading
from harness.history.row import unix_ns
from harness.observe.readings import CLOCK_EVERY_S, compare_clocks, reading
from harness.target.sessions import OURS, TROUBLE, Who, open_session
from harness.target.sql import statements

log = logging.getLogger(__name__)

#: Between two looks at what is new.
POLL_S: Final = 0.5
#: A statement of ours that takes longer is given up, and the connection with it.
STATEMENT_LIMIT_S: Final = 10.0
#: Between attempts to come back to a database that was gone.
RECONNECT_S: Final = 0.5

SQL: Final = statements(Path(__file__).parent / "sql")


class DatabaseReader(ABC):
    """Reads what becomes of the items whose marks begin with ``prefix``, again and again, into a history.

    Parameters
    ----------
    url : the system's database.
    prefix : how the marks of this run's items begin; others' items are none of our business.
    history : where the rows go.
    every_s : between two looks, in seconds.
    """

    def __init__(self, url: str, prefix: str, history: HistoryWriter, every_s: float = POLL_S) -> None:
        self._url = url
        self._prefix = prefix
        self._history = history
        self._every_s = every_s
        self._connection: asyncpg.Connection[Any] | None = None
        self._next_clock = 0.0
        #: What was left behind in the database, and the statement that removes it.
        self.left: str | None = None

    async def connect(self) -> None:
        """Connect and look once.

        Raises
        ------
        TROUBLE
            There is no such database, it refuses us, or it lacks the tables to read.
        """
        await self._look()

    async def follow(self) -> None:
        """Look again and again, also after the database was gone, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every_s
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
                    connection = await self._connected()
                    await self._compare_clocks(connection)
                    await self._read_all(connection)
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

    def _begin(self) -> None:  # noqa: B027 - whoever asks how all is now has nothing to note
        """Note that a session begins: the database may have come back from a backup meanwhile."""

    @abstractmethod
    async def _read(self, connection: asyncpg.Connection[Any]) -> None:
        """Read what is new."""

    @abstractmethod
    async def _read_all(self, connection: asyncpg.Connection[Any]) -> None:
        """Read everything, and what never happened."""

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_observer(self._url)
            self._begin()
        return self._connection

    async def _look(self) -> None:
        connection = await self._connected()
        if time.monotonic() >= self._next_clock:
            await self._compare_clocks(connection)
            self._next_clock = time.monotonic() + CLOCK_EVERY_S
        await self._read(connection)
        sessions = await connection.fetchval(SQL["sessions"], OURS)
        self._history.append(reading(Reading.SESSIONS, Actor.DATABASE, sessions))

    async def _compare_clocks(self, connection: asyncpg.Connection[Any]) -> None:
        async def ask() -> int | None:
            return unix_ns(await connection.fetchval(SQL["now"]))

        for row in await compare_clocks(Actor.DATABASE, ask):
            self._history.append(row)


async def open_observer(url: str) -> asyncpg.Connection[Any]:
    """Open an observer's session.

    Raises
    ------
    TROUBLE
        It can't be had.
    """
    return await open_session(
        url, Who.OBSERVER, limit_s=STATEMENT_LIMIT_S, statement_limit_s=STATEMENT_LIMIT_S
    )
