"""Ticks that skip: no executions, and how long what was due had to wait meanwhile."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from harness.history.names import TICK_ERRORS, Reading, Tick
from harness.judge.evidence import NS, Evidence

#: How near to a tick a reading of what is overdue tells of it.
_NEAR_NS: Final = 2 * NS


def skipped(evidence: Evidence) -> pd.DataFrame:
    """Return the ticks of the steady state that skipped, each with what came of it.

    ``due`` says whether an item was past due and unmoved when the tick should have run. ``waited_s`` is the
    time from then until a tick worked, or a due item was moved by whoever moves them; where neither came,
    until the record ends. ``stuck`` is what waited longer than is granted to a timer.
    """
    ticks = evidence.ticks
    rows = ticks[(ticks["name"] == Tick.SKIP) & evidence.steady(ticks["origin_ns"])].copy()
    at = rows["origin_ns"].to_numpy(dtype="int64")
    worked = ticks[(ticks["name"] == Tick.TICK) & ticks["ok"].fillna(value=False).astype(bool)]
    offset = evidence.database_clock.offset_ns
    moved = evidence.transitions
    moved = moved[(moved["intended_ns"] <= moved["start_ns"]).fillna(value=False).astype(bool)]
    unmoved = evidence.overdue
    fell_due = _sorted(pd.concat([moved["intended_ns"], unmoved["intended_ns"]]) - offset)
    left = _sorted(moved["committed_ns"])
    progress = _sorted(pd.concat([worked["end_ns"], moved["committed_ns"]]))
    ends = np.append(progress, max(evidence.span[1], int(at.max(initial=0))))
    waited = np.maximum(ends[np.searchsorted(progress, at)] - at, 0)
    rows["due"] = np.searchsorted(fell_due, at, side="right") > np.searchsorted(left, at, side="right")
    rows["waited_s"] = waited / NS
    rows["stuck"] = rows["due"] & (rows["waited_s"] > evidence.tick_s + evidence.policy.tolerances.timer)
    return rows


def of_others(evidence: Evidence, ticks: pd.DataFrame) -> np.ndarray:
    """Return which of ``ticks`` told of errors while items of others than this run were overdue.

    A tick moves everybody's items, and does not say whose it could not move.
    """
    rows = evidence.readings(Reading.OTHERS_OVERDUE)
    seen = _sorted(rows.loc[(rows["value"] > 0).to_numpy(dtype=bool), "start_ns"])
    start = ticks["origin_ns"].to_numpy(dtype="int64", na_value=0)
    near = np.searchsorted(seen, start - _NEAR_NS) < np.searchsorted(seen, start + _NEAR_NS)
    failed: np.ndarray = (
        near & (ticks["error"].astype("string") == TICK_ERRORS).fillna(value=False).to_numpy()
    )
    return failed


def _sorted(times: pd.Series) -> np.ndarray:
    return np.sort(times.dropna().to_numpy(dtype="int64"))
