"""The timer monitor: one tick moves every game whose phase is over, in one transaction."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from service import VERSION
from service.database import Database, DatabaseUnavailable
from service.flags import Flags
from service.logs import get_logger
from service.metrics import Metrics
from service.settings import Settings
from service.statements import statement

log = get_logger(__name__)

#: Transaction-level advisory lock of the tick that runs. Whoever holds it (a test, a fault) makes ticks
#: answer ``skipped: 1``: ``SELECT pg_advisory_lock(8462001)``.
LOCK: Final = 8_462_001
#: Timers of an event loop may fire a millisecond early: a tick that was stopped took longer than its limit,
#: by any clock, or the alert about such ticks would miss it.
_EARLY_S: Final = 0.005
#: Statements may take this much longer than the tick, so that the tick's limit is reached first.
_LATER_S: Final = 1.0
#: How long a tick waits for others' locks at least, however long it waited for its connection.
_LEAST_S: Final = 0.1


class TickFailed(Exception):
    """A tick moved nothing: it was rolled back."""

    def __init__(self, message: str, tick: Tick) -> None:
        super().__init__(message)
        self.tick = tick


class TickTimeout(TickFailed):
    """A tick took longer than its limit."""


class TickUnavailable(TickFailed):
    """The database could not serve the tick."""


@dataclass
class Tick:
    """What one tick did; times in seconds."""

    processed: int = 0
    errors: int = 0
    skipped: int = 0
    graced: int = 0
    batches: int = 0
    connection_s: float = 0.0
    lock_s: float = 0.0
    work_s: float = 0.0
    execution_s: float = 0.0
    message: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def answer(self, request_id: str, environment: str) -> dict[str, Any]:
        """Return the answer of ``monitor-game-timers``, times in ms."""
        answer: dict[str, Any] = {
            "processed": self.processed,
            "errors": self.errors,
            "skipped": self.skipped,
            "executionTime": _ms(self.execution_s),
            "timestamp": self.at.isoformat().replace("+00:00", "Z"),
            "requestId": request_id,
            "environment": environment,
            "version": VERSION,
            "metrics": {
                "connectionAcquisitionTime": _ms(self.connection_s),
                "lockAcquisitionTime": _ms(self.lock_s),
                "processingTime": _ms(self.work_s),
                "gracePeriodsGranted": self.graced,
                "batches": self.batches,
            },
        }
        if self.message is not None:
            answer["message"] = self.message
        return answer


class Monitor:
    """Runs ticks. Any number of replicas may: one works at a time, the others skip."""

    def __init__(self, settings: Settings, database: Database, flags: Flags, metrics: Metrics) -> None:
        self._database = database
        self._flags = flags
        self._metrics = metrics
        self._limit_s = settings.monitor_limit
        self._statement_s = settings.monitor_limit + _LATER_S
        self._lock_wait_s = settings.monitor_lock_wait
        self._batch = settings.monitor_batch
        self._grace_s = settings.grace_period

    async def tick(self, request_id: str) -> Tick:
        """Move every game whose phase is over.

        Raises
        ------
        TickFailed
            The database is gone or exhausted, or the limit was reached; all was rolled back.
        """
        started = time.perf_counter()
        tick = Tick()
        outcome = "failed"
        try:
            if not self._flags.now.timer_monitoring:
                tick.skipped, tick.message = 1, "timer monitoring is disabled (ENABLE_TIMER_MONITORING)"
                outcome = "disabled"
                return tick
            async with asyncio.timeout(self._limit_s + _EARLY_S) as limit:
                async with self._database.transaction() as connection:
                    tick.connection_s = time.perf_counter() - started
                    moment = await self._lock(connection, request_id, tick)
                    if moment is not None:
                        await self._work(connection, tick, moment)
                        ended = "moved"
                    else:
                        tick.skipped, tick.message = 1, "another tick is running"
                        ended = "skipped"
            outcome = ended
        except DatabaseUnavailable as error:
            raise TickUnavailable(str(error), _failed(tick, str(error))) from error
        except TimeoutError as error:
            assert limit.expired()
            message = f"the tick took longer than {self._limit_s:g} s and was rolled back"
            raise TickTimeout(message, _failed(tick, message)) from error
        except asyncpg.PostgresError as error:
            message = f"the tick was rolled back: {type(error).__name__}"
            raise TickFailed(message, _failed(tick, message)) from error
        finally:
            tick.execution_s = time.perf_counter() - started
            self._metrics.ticked(tick.execution_s, outcome)
        self._metrics.games_moved.inc(tick.processed)
        self._metrics.games_graced.inc(tick.graced)
        return tick

    async def _lock(
        self, connection: asyncpg.Connection[Any], request_id: str, tick: Tick
    ) -> datetime | None:
        """Take the monitor's lock and return when, on the database's clock; None: another tick keeps it."""
        await connection.execute(
            statement("monitor_limits"),
            _as_setting(self._lock_wait_s),
            _as_setting(self._statement_s),
            request_id,
        )
        # Waiting for a connection and for locks share one limit, so that a refusal comes in time.
        left_s = max(_LEAST_S, self._database.timeout_s - tick.connection_s)
        others_s = min(self._limit_s, left_s)
        started = time.perf_counter()
        try:
            moment: datetime = await connection.fetchval(
                statement("monitor_lock"), LOCK, _as_setting(others_s), timeout=self._statement_s
            )
        except asyncpg.LockNotAvailableError:
            return None
        finally:
            tick.lock_s = time.perf_counter() - started
            self._metrics.lock_seconds.observe(tick.lock_s)
        return moment

    async def _work(self, connection: asyncpg.Connection[Any], tick: Tick, moment: datetime) -> None:
        """Do what is due at ``moment``: what falls due between two statements could miss its grace period."""
        started = time.perf_counter()
        if self._flags.now.grace_period:
            while granted := await self._run(
                connection, "monitor_grant_grace", self._batch, self._grace_s, moment
            ):
                tick.graced += granted
                if granted < self._batch:
                    break
        while moved := await self._run(connection, "monitor_move", self._batch, moment):
            tick.processed += moved
            tick.batches += 1
            if moved < self._batch:
                break
        tick.work_s = time.perf_counter() - started

    async def _run(self, connection: asyncpg.Connection[Any], name: str, *arguments: Any) -> int:
        """Run an UPDATE and return how many rows it changed."""
        done = await connection.execute(statement(name), *arguments, timeout=self._statement_s)
        return int(done.rsplit(" ", 1)[-1])


def _failed(tick: Tick, message: str) -> Tick:
    tick.processed = tick.graced = 0
    tick.errors, tick.message = 1, message
    return tick


def _as_setting(seconds: float) -> str:
    """Return a time limit as Postgres takes it: ms, of which 0 would be none at all."""
    return str(max(1, round(seconds * 1000)))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
