"""Questions and statements to a test's own database, each in a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg


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
