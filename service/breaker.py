"""A circuit breaker: after failures in a row it blocks calls, then lets one through as a probe.

After M. Nygard, *Release It!*: closed (calls pass), open (they don't, for a while), half-open (one does;
its success closes the breaker, its failure opens it again, for twice as long). A failure with a
Retry-After opens it at once, for at least that long.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final


class State(IntEnum):
    """The breaker's states, numbered as in the metrics."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def word(self) -> str:
        """The state as it is written in answers and logs."""
        return self.name.lower().replace("_", "-")


#: A probe without an outcome counts as over after this.
_PROBE_LIMIT_S: Final = 30.0


class Breaker:
    """Blocks calls while the other end fails.

    Parameters
    ----------
    failures : in a row, that open it.
    open_s, open_max_s : how long it stays open, first and at most; 20 % of chance is added.
    clock : seconds, monotonic.
    changed : told each new state.
    """

    def __init__(
        self,
        *,
        failures: int,
        open_s: float,
        open_max_s: float,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._limit = failures
        self._first_s = open_s
        self._longest_s = open_max_s
        self._clock = clock
        self._changed = changed
        self._in_a_row = 0
        self._pause_s = open_s
        self._until = 0.0
        #: Until then the other end asked to be left alone: the breaker is open, whatever comes through.
        self._held_until = 0.0
        self._probe_at: float | None = None
        self._closed = asyncio.Event()
        self._closed.set()
        self.state = State.CLOSED

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may pass; 0 if one may now."""
        if self.state is not State.OPEN:
            return 0.0
        return max(0.0, max(self._until, self._held_until) - self._clock())

    def try_enter(self) -> bool:
        """Return whether a call may pass now; whoever got True reports :meth:`success` or :meth:`failure`."""
        if self.state is State.CLOSED:
            return True
        now = self._clock()
        if self.state is State.OPEN and now >= max(self._until, self._held_until):
            self._probe_at = None
            self._set(State.HALF_OPEN)
        if self.state is State.HALF_OPEN and (
            self._probe_at is None or now - self._probe_at > _PROBE_LIMIT_S
        ):
            self._probe_at = now
            return True
        return False

    async def enter(self) -> None:
        """Wait until a call may pass."""
        while not self.try_enter():
            pause_s = max(0.01, min(0.1, self.retry_after_s))
            try:
                async with asyncio.timeout(pause_s):
                    await self._closed.wait()
            except TimeoutError:
                continue

    def success(self) -> None:
        """Report that a call came through."""
        self._in_a_row = 0
        # While it is held, a call that was under way before says nothing about those to come.
        if self.state is not State.CLOSED and self._clock() >= self._held_until:
            self._pause_s = self._first_s
            self._probe_at = None
            self._set(State.CLOSED)

    def failure(self, retry_after_s: float = 0.0) -> None:
        """Report that a call failed on account of the other end.

        Parameters
        ----------
        retry_after_s : seconds that it asks us to wait; 0 if it asks for none.
        """
        self._in_a_row += 1
        if retry_after_s > 0:
            self._held_until = max(self._held_until, self._clock() + retry_after_s)
        if self.state is State.HALF_OPEN:
            self._pause_s = min(2 * self._pause_s, self._longest_s)
            self._open()
        elif self.state is State.CLOSED and (retry_after_s > 0 or self._in_a_row >= self._limit):
            self._open()

    def leave(self) -> None:
        """Report that a call was cancelled: its outcome is unknown."""
        self._probe_at = None

    def _open(self) -> None:
        self._until = self._clock() + self._pause_s * random.uniform(1.0, 1.2)  # noqa: S311 - spreads calls
        self._probe_at = None
        self._set(State.OPEN)

    def _set(self, state: State) -> None:
        self.state = state
        if state is State.CLOSED:
            self._closed.set()
        else:
            self._closed.clear()
        self._changed(state)


def backoff_s(attempt: int, *, first_s: float = 0.1, longest_s: float = 5.0) -> float:
    """Return a pause before the next attempt: exponential, with full jitter.

    See M. Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).

    Parameters
    ----------
    attempt : attempts made so far, from 1.
    """
    return random.uniform(0.0, min(longest_s, first_s * 2 ** min(attempt - 1, 30)))  # noqa: S311 - spreads calls
