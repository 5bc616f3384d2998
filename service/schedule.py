"""The built-in schedule: ticks on the wall clock's multiples, for running without external cron."""

from __future__ import annotations

import asyncio
import time
import uuid

from service.logs import get_logger, request_id
from service.monitor import Monitor, TickFailed
from service.settings import Settings, parse_schedule

log = get_logger(__name__)


class Schedule:
    """Runs a tick whenever the clock's seconds are a multiple of the schedule's step.

    A tick that is late does not delay those after it: the monitor's lock makes them skip.
    """

    def __init__(self, settings: Settings, monitor: Monitor) -> None:
        self._every_s = parse_schedule(settings.schedule)
        self._monitor = monitor
        self._ticks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tick until cancelled; ticks that are running are finished by :meth:`finish`."""
        while True:
            now = time.time()
            await asyncio.sleep(self._every_s - now % self._every_s)
            task = asyncio.create_task(self._tick())
            self._ticks.add(task)
            task.add_done_callback(self._ticks.discard)

    async def finish(self, within_s: float) -> None:
        """Wait for the ticks that are running; cancel those that take longer."""
        if self._ticks:
            _, late = await asyncio.wait(self._ticks, timeout=within_s)
            for task in late:
                task.cancel()

    async def _tick(self) -> None:
        request_id.set(f"schedule-{uuid.uuid4()}")
        try:
            tick = await self._monitor.tick(str(request_id.get()))
        except TickFailed as error:
            log.warning("a scheduled tick failed", error=str(error))
        else:
            log.info(
                "tick", processed=tick.processed, skipped=tick.skipped, ms=round(tick.execution_s * 1000, 1)
            )
