"""Whether the measurement itself can be trusted. A doubt makes inconclusive, never a pass, never a fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harness.documents.rows import CheckRow
from harness.judge.evidence import Evidence
from harness.judge.instruments import (
    database_clock,
    harness_cpu,
    harness_lag,
    machine,
    own_clock,
    probe_effect,
    pubnub_clock,
    shortages,
    tick_lateness,
    workers_clock,
)  # fmt: skip
from harness.judge.record import (
    complete_run,
    known_rows,
    matched_rows,
    sane_times,
    steady_state,
    whole_files,
    witnesses,
)  # fmt: skip

MEASUREMENT: Final[tuple[Callable[[Evidence], CheckRow], ...]] = (
    shortages,
    complete_run,
    steady_state,
    witnesses,
    whole_files,
    known_rows,
    matched_rows,
    sane_times,
    harness_cpu,
    harness_lag,
    tick_lateness,
    own_clock,
    database_clock,
    pubnub_clock,
    workers_clock,
    probe_effect,
    machine,
)
