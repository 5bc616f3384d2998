"""Health: each part looked at within its own short limit, so that the answer comes whatever hangs."""

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

#: Limit on looking at one part; they are looked at together.
LIMIT_S: Final = 0.5
#: The event loop may have been this late, just now, before the functions count as ill.
_LAG_LIMIT_S: Final = 1.0


class _Ill(Exception):
    pass


@dataclass(frozen=True)
class Check:
    """What a look at one part showed."""

    healthy: bool
    latency_s: float
    error: str | None

    def answer(self, *, details: bool) -> dict[str, Any]:
        """Return it as ``/health`` answers it, in ms."""
        if not details:
            return {"healthy": self.healthy}
        return {"healthy": self.healthy, "latencyMs": round(self.latency_s * 1000, 3), "error": self.error}


class Health:
    """Looks at the database, PubNub and the functions.

    Parameters
    ----------
    trouble : says what is wrong with the process itself (a part that ended, a stop), or None.
    lag_s : how late the event loop runs, or ran a moment ago.
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
        """Return whether all is well, and the body of ``/health``; ``details``: with times and errors.

        Callers at the same time share a look: they must not use up the pool they ask about.
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
            raise _Ill(str(error)) from error

    async def _look_at_pubnub(self) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._publisher.time()
        except TimeoutError:
            raise _Ill(f"no answer within {LIMIT_S:g} s") from None
        except PublishError as error:
            raise _Ill(str(error)) from error
        state = self._publisher.breaker.state
        if state is not State.CLOSED:
            raise _Ill(f"circuit breaker {state.word}")

    async def _look_at_functions(self) -> None:
        if (trouble := self._trouble()) is not None:
            raise _Ill(trouble)
        if (lag_s := self._lag_s()) > _LAG_LIMIT_S:
            raise _Ill(f"the event loop ran {lag_s:.1f} s late")


async def _timed(look: Callable[[], Awaitable[None]]) -> Check:
    started = time.perf_counter()
    error = None
    try:
        await look()
    except _Ill as ill:
        error = str(ill)
    return Check(error is None, time.perf_counter() - started, error)
