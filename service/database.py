"""Connections to Postgres: a pool with limits, whose every connection comes back."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from service.logs import get_logger

log = get_logger(__name__)

#: Settings of each of our sessions. A session whose client is gone must not hold locks: the server looks
#: after its client each second while it works for it, and ends transactions in which nothing happens.
_SESSION: Final = {
    "client_connection_check_interval": "1s",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
}
_CONNECT_LIMIT_S: Final = 5.0

#: Errors of a broken connection. asyncpg raises InternalClientError if the server closes it while a
#: statement is being sent.
_BROKEN: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
)
#: Errors when the database can't be reached.
GONE: Final = (*_BROKEN, TimeoutError)
#: Errors of the server that pass.
_NOT_NOW: Final = (
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is not promoted yet, or an operator's doing
)


class DatabaseUnavailable(Exception):
    """The database can't serve a request now; the message says why, for the caller to see."""


class PoolExhausted(DatabaseUnavailable):
    """No connection came free within the limit."""


async def _no_reset(_: object) -> None:
    """Leave a connection as it is: settings are made for a transaction only, nothing is listened to."""


class Database:
    """A pool of ``size`` connections, with limits on getting one and on each statement.

    Parameters
    ----------
    url : address of the database.
    size : connections, at most.
    timeout_s : limit on getting a connection, and on each statement.
    """

    def __init__(self, url: str, *, size: int, timeout_s: float) -> None:
        self._url = url
        self.size = size
        self.timeout_s = timeout_s
        self._pool: asyncpg.Pool[Any] | None = None
        self._closing = False
        #: Connections lent out, and requests that wait for one.
        self.in_use = 0
        self.waiting = 0
        #: Requests that gave up waiting, since the start.
        self.exhausted = 0

    async def open(self) -> None:
        """Make the pool; it connects when it is first used."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self.size,
            max_inactive_connection_lifetime=60,
            timeout=_CONNECT_LIMIT_S,
            command_timeout=self.timeout_s,
            reset=_no_reset,
            server_settings=session_settings("service", self.timeout_s),
        )

    async def close(self, within_s: float) -> None:
        """Close every connection; those still lent out after ``within_s`` seconds are cut."""
        self._closing = True
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._pool.close()
        except (TimeoutError, *GONE):
            self._pool.terminate()

    @property
    def open_connections(self) -> int:
        """Connections the pool holds now, lent out or not."""
        return 0 if self._pool is None else self._pool.get_size()

    @asynccontextmanager
    async def connection(
        self, *, wait_s: float | None = None, limit_s: float | None = None
    ) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend a connection; it goes back whatever happens, cut off if something may still run on it.

        Parameters
        ----------
        wait_s : limit on getting it; default: the pool's.
        limit_s : limit on getting it and on all that is done with it; default: none but the statements'.

        Raises
        ------
        PoolExhausted
            None came free in time.
        DatabaseUnavailable
            The database is gone, or what was done took too long.
        """
        started = time.monotonic()
        wait_s = self.timeout_s if wait_s is None else wait_s
        if limit_s is not None:
            wait_s = min(wait_s, limit_s)
        connection = await self._acquire(wait_s)
        self.in_use += 1
        intact = False
        try:
            remaining_s = None if limit_s is None else max(0.05, limit_s - (time.monotonic() - started))
            async with asyncio.timeout(remaining_s):
                yield connection
            intact = True
        except TimeoutError as error:
            raise DatabaseUnavailable("the database took too long to answer") from error
        except _NOT_NOW as error:
            raise DatabaseUnavailable(f"the database can't serve this now: {type(error).__name__}") from error
        except _BROKEN as error:
            raise DatabaseUnavailable(
                f"the connection to the database broke: {type(error).__name__}"
            ) from error
        except Exception:
            intact = not connection.is_closed() and not connection.is_in_transaction()
            raise
        finally:
            self.in_use -= 1
            await self._release(connection, intact)

    @asynccontextmanager
    async def transaction(
        self, *, wait_s: float | None = None, limit_s: float | None = None
    ) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend a connection in a transaction: committed at the end, rolled back after an error.

        asyncpg's own transactions wait for the rollback also where the connection hangs; here such a
        connection is cut off.
        """
        async with self.connection(wait_s=wait_s, limit_s=limit_s) as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
            except asyncpg.PostgresError:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    async def _acquire(self, wait_s: float) -> Any:
        assert self._pool is not None, "the pool was not opened"
        if self._closing:
            raise DatabaseUnavailable("the service is stopping")
        # Asked before waiting: that the pool was exhausted explains the most.
        exhausted = self.in_use >= self.size
        self.waiting += 1
        try:
            return await self._pool.acquire(timeout=wait_s)
        except TimeoutError as error:
            if exhausted or self.in_use >= self.size:
                self.exhausted += 1
                raise PoolExhausted(
                    f"all {self.size} database connections were in use for {wait_s:g} s"
                ) from error
            raise DatabaseUnavailable(
                f"the database did not take a connection within {wait_s:g} s"
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable(f"can't connect to the database: {type(error).__name__}") from error
        finally:
            self.waiting -= 1

    async def _release(self, connection: Any, intact: bool) -> None:
        assert self._pool is not None
        if not intact:
            # Waiting for a statement to be cancelled may take as long as the statement: cut it off, the
            # server rolls back when it sees the client gone. A connection that broke may have gone back
            # to the pool by itself.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
        try:
            await self._pool.release(connection)
        except GONE as error:
            log.warning("a database connection was lost", error=type(error).__name__)


def session_settings(name: str, statement_timeout_s: float) -> dict[str, str]:
    """Return the settings of a session named ``name``.

    Its name in ``pg_stat_activity`` tells the process, so that whoever holds a lock can be found.
    """
    return {
        **_SESSION,
        "application_name": f"stormwatch-{name}-{os.getpid()}@{platform.node()}",
        "statement_timeout": str(round(statement_timeout_s * 1000)),
    }


async def connect(url: str, name: str, *, timeout_s: float) -> asyncpg.Connection[Any]:
    """Open a connection outside the pool, named ``name``.

    Raises
    ------
    OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError
        It can't be had.
    """
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        url,
        timeout=min(timeout_s, _CONNECT_LIMIT_S),
        command_timeout=timeout_s,
        server_settings=session_settings(name, timeout_s),
    )
    return connection
