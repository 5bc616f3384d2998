"""Readings of the last minutes, in buckets of a second: memory does not grow with their number."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    second: int
    count: int = 0
    total: float = 0.0
    highest: float = float("-inf")


class Window:
    """Count, sum, mean and maximum over windows that end now.

    Parameters
    ----------
    longest_s : the longest window that may be asked for.
    clock : seconds, monotonic.
    """

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_s = longest_s
        self._clock = clock
        self._buckets: deque[_Bucket] = deque()

    def add(self, value: float) -> None:
        """Note a reading made now."""
        second = int(self._clock())
        if not self._buckets or self._buckets[-1].second != second:
            self._buckets.append(_Bucket(second))
            while self._buckets[0].second < second - self._longest_s:
                self._buckets.popleft()
        bucket = self._buckets[-1]
        bucket.count += 1
        bucket.total += value
        bucket.highest = max(bucket.highest, value)

    def count(self, window_s: float) -> int:
        """Return how many readings there were."""
        return sum(bucket.count for bucket in self._within(window_s))

    def total(self, window_s: float) -> float:
        """Return their sum."""
        return sum(bucket.total for bucket in self._within(window_s))

    def mean(self, window_s: float) -> float:
        """Return their mean; 0 if there were none."""
        count = self.count(window_s)
        return self.total(window_s) / count if count else 0.0

    def highest(self, window_s: float) -> float:
        """Return the highest; 0 if there were none."""
        return max((bucket.highest for bucket in self._within(window_s)), default=0.0)

    def _within(self, window_s: float) -> list[_Bucket]:
        since = self._clock() - window_s
        return [bucket for bucket in self._buckets if bucket.second + 1 > since]
