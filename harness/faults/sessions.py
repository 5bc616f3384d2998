"""Sessions of a fault's own in the database, driven from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Final, Self, TypeVar

import asyncpg

from harness.target.sessions import TROUBLE, Who, open_session

#: How long a fault may take to get the locks that it holds, and to be undone after all.
LOCK_LIMIT: Final = "10s"
_UNDO_LIMIT_S: Final = 30.0

_CONNECT_LIMIT_S: Final = 10.0
_CALL_LIMIT_S: Final = 60.0
_WAIT_LIMIT_S: Final = 15.0
_AGAIN_S: Final = 0.05

_Result = TypeVar("_Result")


class Sessions:
    """Connections to one database on an event loop of their own, all closed at the end of the ``with``.

    Parameters
    ----------
    url : of the database, past any proxy.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-sessions", daemon=True)
        self._open: list[asyncpg.Connection[Any]] = []
        self._tasks: list[Future[Any]] = []

    @cached_property
    def admin(self) -> asyncpg.Connection[Any]:
        """The session that statements run in."""
        return self.connect()

    def execute(self, statement: str, *values: Any) -> str:
        """Run a statement; return the server's word on it (``SELECT 3``)."""
        return str(self.run(self.admin.execute(statement, *values)))

    def value(self, question: str, *values: Any) -> Any:
        """Return the first value that a question is answered with."""
        return self.run(self.admin.fetchval(question, *values))

    def rows(self, question: str, *values: Any) -> list[asyncpg.Record]:
        """Return the rows that a question is answered with."""
        return self.run(self.admin.fetch(question, *values))

    def insist(self, *statements: str) -> None:
        """Run ``statements``, each in a session of its own, until they succeed.

        What is broken must be mended, also where the server is just restarting or a lock is held.
        """
        self.run(self._insist(statements))

    def wait_until(self, holds: Callable[[], Awaitable[Any]], limit_s: float = _WAIT_LIMIT_S) -> None:
        """Wait until ``holds`` returns something true.

        Raises
        ------
        TimeoutError
            It did not in time.
        """
        self.run(_until(holds), limit_s)

    def run(self, work: Coroutine[Any, Any, _Result], limit_s: float = _CALL_LIMIT_S) -> _Result:
        """Run ``work`` on the loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, limit_s), self._loop).result()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let ``work`` go on beside everything else until the end."""
        self._tasks.append(asyncio.run_coroutine_threadsafe(work, self._loop))

    def connect(self) -> asyncpg.Connection[Any]:
        """Open a session as the harness's own user."""
        return self.run(self.open())

    async def open(self, **other: Any) -> asyncpg.Connection[Any]:
        """Open a session, on the loop; ``other`` (``user``, ``password``) overrides the address.

        It may write, whatever the server's default has been set to.
        """
        arguments = {"server_settings": {"default_transaction_read_only": "off"}, **other}
        connection = await open_session(self._url, Who.FAULT, limit_s=_CONNECT_LIMIT_S, **arguments)
        self._open.append(connection)
        return connection

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _insist(self, statements: tuple[str, ...]) -> None:
        deadline = time.monotonic() + _UNDO_LIMIT_S
        for statement in statements:
            while True:
                try:
                    connection = await self.open()
                    try:
                        await connection.execute(f"SET lock_timeout = '{LOCK_LIMIT}'")
                        await connection.execute(statement)
                    finally:
                        await connection.close()
                    break
                except TROUBLE:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(2 * _AGAIN_S)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.gather(*(_close(connection) for connection in self._open))


async def _until(holds: Callable[[], Awaitable[Any]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(_AGAIN_S)


async def _close(connection: asyncpg.Connection[Any]) -> None:
    # A session that waits for a lock, or whose server is gone, does not end politely.
    with contextlib.suppress(*TROUBLE):
        await connection.close(timeout=1.0)
    if not connection.is_closed():
        connection.terminate()
