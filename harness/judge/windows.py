"""Declared spans of time: the windows of a run, and its faults."""

from __future__ import annotations

from dataclasses import dataclass

from harness.history.names import FaultName


@dataclass(frozen=True)
class Window:
    """A span of time, half open, in ns on the harness's clock."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class FaultWindow:
    """A declared fault: when it began and ended (None: still on when the record ends)."""

    id: str
    fault: FaultName
    start_ns: int
    end_ns: int | None
    #: Why it could not be applied or undone, if so.
    error: str | None = None

    @property
    def name(self) -> str:
        """Place, name and target in one, as a report shows them."""
        return str(self.fault)
