"""Health: checks the database, PubNub and the functions, each within a short limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from service.breaker import State
from service.database import Database, DatabaseUnavailable
from service.publisher import Publisher, PublishError

#: Limit on one check; all run together.
LIMIT_S: Final = 0.5
#: The functions are unhealthy if the event loop was later than this.
_LAG_LIMIT_S: Final = 1.0


class _Unhealthy(Exception):
    """A check failed; the message says why."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    healthy: bool
    latency_s: float
    error: str | None

    def answer(self, *, details: bool) -> dict[str, Any]:
        """Return it as ``/health`` answers it, in ms."""
        if not details:
            return {"healthy": self.healthy}
        return {"healthy": self.healthy, "latencyMs": round(self.latency_s * 1000, 3), "error": self.error}


class Health:
    """Checks the database, PubNub and the functions.

    Parameters
    ----------
    trouble : returns what is wrong with the process itself (a task that ended, a stop), or None.
    lag_s : returns how late the event loop runs or just ran, in seconds.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        trouble: Callable[[], str | None],
        lag_s: Callable[[], float],
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._trouble = trouble
        self._lag_s = lag_s
        self._looking: asyncio.Task[dict[str, Check]] | None = None

    async def answer(self, *, details: bool) -> tuple[bool, dict[str, Any]]:
        """Return whether all checks pass, and the body of ``/health``; ``details``: with times and errors.

        Concurrent callers share one check, so that they do not use up the pool that it is about.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        checks = await asyncio.shield(self._looking)
        healthy = all(check.healthy for check in checks.values())
        return healthy, {
            "status": "healthy" if healthy else "unhealthy",
            "checks": {name: check.answer(details=details) for name, check in checks.items()},
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }

    async def _look(self) -> dict[str, Check]:
        looks: Mapping[str, Callable[[], Awaitable[None]]] = {
            "database": self._look_at_database,
            "pubnub": self._look_at_pubnub,
            "edgeFunctions": self._look_at_functions,
        }
        found = await asyncio.gather(*(_timed(look) for look in looks.values()))
        return dict(zip(looks, found, strict=True))

    async def _look_at_database(self) -> None:
        try:
            async with self._database.connection(limit_s=LIMIT_S) as connection:
                await connection.execute("SELECT 1")
        except DatabaseUnavailable as error:
            raise _Unhealthy(str(error)) from error

    async def _look_at_pubnub(self) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._publisher.time()
        except TimeoutError:
            raise _Unhealthy(f"no answer within {LIMIT_S:g} s") from None
        except PublishError as error:
            raise _Unhealthy(str(error)) from error
        state = self._publisher.breaker.state
        if state is not State.CLOSED:
            raise _Unhealthy(f"circuit breaker {state.word}")

    async def _look_at_functions(self) -> None:
        if (trouble := self._trouble()) is not None:
            raise _Unhealthy(trouble)
        if (lag_s := self._lag_s()) > _LAG_LIMIT_S:
            raise _Unhealthy(f"the event loop ran {lag_s:.1f} s late")


async def _timed(look: Callable[[], Awaitable[None]]) -> Check:
    started = time.perf_counter()
    error = None
    try:
        await look()
    except _Unhealthy as unhealthy:
        error = str(unhealthy)
    return Check(error is None, time.perf_counter() - started, error)
