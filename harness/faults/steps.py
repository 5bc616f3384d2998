"""What is done in steps, each recorded with its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Reading


@contextmanager
def timed(history: HistoryWriter | None, step: str) -> Iterator[None]:
    """Record how long the block took, and whether it succeeded."""
    start_ns = now_ns()
    ok = False
    try:
        yield
        ok = True
    finally:
        end_ns = now_ns()
        if history is not None:
            taken_s = (end_ns - start_ns) / 1e9
            history.append(
                Row("resource", Reading.STEP, step, start_ns=start_ns, end_ns=end_ns, ok=ok, value=taken_s)
            )
