"""How late the event loop runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import Gauge

from service.windows import Window

_EVERY_S: Final = 0.25
#: How long a delay is remembered: callers that came during it are answered right after it.
_KEPT_S: Final = 2.0


class LoopLag:
    """Measures again and again how much later than it wanted to the event loop comes back to it.

    Parameters
    ----------
    gauge : shows the latest delay, in seconds.
    clock : seconds, monotonic.
    """

    def __init__(self, gauge: Gauge, clock: Callable[[], float] = time.monotonic) -> None:
        self._gauge = gauge
        self._clock = clock
        self._delays = Window(_KEPT_S, clock)
        #: When the loop is to come back next; infinite while nothing is measured.
        self._due = float("inf")

    async def measure(self) -> None:
        """Measure until cancelled."""
        while True:
            self.wait_from_now()
            await asyncio.sleep(_EVERY_S)
            self.came_back()

    def wait_from_now(self) -> None:
        """Begin to wait for the loop."""
        self._due = self._clock() + _EVERY_S

    def came_back(self) -> None:
        """Note that the loop is back."""
        delay_s = max(0.0, self._clock() - self._due)
        self._delays.add(delay_s)
        self._gauge.set(delay_s)

    def worst_s(self) -> float:
        """Return the worst delay of the last seconds, that under way included."""
        return max(self._delays.highest(_KEPT_S), self._clock() - self._due)
