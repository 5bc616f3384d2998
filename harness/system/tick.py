"""A tick of the system: its call, and what its answer is in the history."""

from __future__ import annotations

from typing import Final

from harness.history import Row
from harness.history.names import Tick
from harness.system.base import System
from harness.system.optional import (
    Call,
    Ticked,
    Ticks,
)
from harness.target.client import Answer

#: No tick may take over 30 s; to see that one did, the answer is waited for a little longer.
ANSWER_LIMIT_S: Final = 35.0


def tick_of(system: type[System], interval: str) -> str:
    """Return the time between ticks: ``interval``, unless the system ticks by itself and says how often."""
    return interval if issubclass(system, Ticks) else system.ticks_every or interval


class TickCall:
    """One call of a tick, and what its answer says.

    Parameters
    ----------
    system : whose tick it is.
    actor : who calls, in the history.
    due_ns : when it was due, Unix ns.
    """

    def __init__(self, system: Ticks, actor: str, due_ns: int) -> None:
        self.call: Call = system.tick()
        self._system = system
        self._actor = actor
        self._due_ns = due_ns
        self._told = Ticked()

    @property
    def name(self) -> str:
        """Method and path, as they are recorded."""
        return f"{self.call.method} {self.call.path}"

    def check(self, body: object) -> str | None:
        """Say what is wrong with its answer, and keep what it says."""
        self._told = self._system.ticked(body)
        return self._told.error

    def row(self, answer: Answer) -> Row:
        """Return its ``monitor`` row."""
        name = Tick.SKIP if self._told.skipped else Tick.TICK
        return self._row(name, answer.start_ns, answer.end_ns, answer.error, self._told.moved)

    def execution(self, answer: Answer) -> Row | None:
        """Return the row of how long it says that it took; None where it does not say."""
        if self._told.took_ms is None:
            return None
        return self._row(Tick.EXECUTION, answer.start_ns, answer.end_ns, None, self._told.took_ms)

    def unanswered(self, start_ns: int) -> Row:
        """Return its row where nobody waited for the answer."""
        return self._row(Tick.TICK, start_ns, None, "unanswered", None)

    def _row(
        self, name: str, start_ns: int, end_ns: int | None, error: str | None, value: float | None
    ) -> Row:
        return Row(
            "monitor",
            name,
            self._actor,
            intended_ns=self._due_ns,
            start_ns=start_ns,
            end_ns=end_ns,
            ok=error is None,
            error=error,
            value=value,
        )
