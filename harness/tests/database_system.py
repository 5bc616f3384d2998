"""A system of a test's own: a database, felt by sessions such as a service has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from harness.stack import Postgres
from harness.target import Permission, Target
from harness.tests.permitted import permitted

#: A tick of the monitor, and a write that is none.
TICK = "BEGIN; SELECT pg_advisory_xact_lock(8462001); UPDATE games SET status = 'voting'; COMMIT"
WRITE = "UPDATE games SET status = status"
#: Everything that a fault could have left in the database.
LEFT_BEHIND = """
    SELECT array_agg(name) FROM (
        SELECT tgname::text AS name FROM pg_trigger WHERE NOT tgisinternal
        UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stormwatch%'
        UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'stormwatch%'
        UNION SELECT 'read only' WHERE current_setting('default_transaction_read_only')::bool
        UNION SELECT 'held: ' || query FROM pg_stat_activity WHERE application_name = 'stormwatch fault'
    ) AS found
"""


class DatabaseSystem:
    """A system of one process: the database."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.parts: dict[str, Any] = {"postgres": postgres.process}
        self.target = Target("http://127.0.0.1:9", "key", "secret", "sub", database_url=postgres.url)

    @property
    def permission(self) -> Permission:
        return permitted(self.target)

    def pid(self, name: str) -> int | None:
        pid: int | None = self.parts[name].pid
        return pid

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

    def does(self, statement: str, limit_s: float = 5.0) -> Any:
        """Run a statement as the service, in a session of its own; return the first value of its answer."""
        return value(self.postgres.service_url, statement, limit_s)

    def left_behind(self) -> Any:
        return self.does(LEFT_BEHIND)


def value(url: str, question: str, limit_s: float = 20.0) -> Any:
    """Return the first value that a question is answered with."""
    return in_session(url, lambda session: session.fetchval(question), limit_s)


def execute(url: str, statements: str, limit_s: float = 20.0) -> None:
    """Run statements, one transaction if they say nothing else."""
    in_session(url, lambda session: session.execute(statements), limit_s)


def in_session(url: str, work: Callable[[Any], Awaitable[Any]], limit_s: float = 20.0) -> Any:
    """Do ``work`` in a session of its own."""

    async def do() -> Any:
        session = await asyncpg.connect(url, timeout=10, command_timeout=limit_s)
        try:
            return await work(session)
        finally:
            await session.close(timeout=5)

    return asyncio.run(do())
