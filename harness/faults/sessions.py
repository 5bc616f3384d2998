"""Sessions of a fault's own in the database, driven from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

import asyncpg

from harness.target.sessions import Who, open_session

_CONNECT_LIMIT_S: Final = 10.0
_CALL_LIMIT_S: Final = 60.0

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

    def execute(self, connection: asyncpg.Connection[Any], statement: str, *values: Any) -> str:
        """Run a statement in a session; return the server's word on it (``SELECT 3``)."""
        return str(self.run(connection.execute(statement, *values)))

    def value(self, connection: asyncpg.Connection[Any], question: str, *values: Any) -> Any:
        """Return the first value that a question is answered with."""
        return self.run(connection.fetchval(question, *values))

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

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.gather(*(_close(connection) for connection in self._open))


async def _close(connection: asyncpg.Connection[Any]) -> None:
    # A session that waits for a lock, or whose server is gone, does not end politely.
    with contextlib.suppress(
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError
    ):
        await connection.close(timeout=1.0)
    if not connection.is_closed():
        connection.terminate()
