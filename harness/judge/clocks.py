"""Clocks against each other, by round trips; the harness's own times are put on the master's clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.history import HistoryFile
from harness.history.names import OBSERVER, WORKER, Delivery, Reading, load_writer
from harness.judge.table import is_kind

NS: Final = 1_000_000_000


@dataclass(frozen=True)
class Clock:
    """Another clock against the harness's: ``offset_ns`` is that clock minus ours, known to ``bound_ns``."""

    name: str
    offset_ns: int = 0
    #: None: it was never compared.
    bound_ns: int | None = None

    @property
    def error_s(self) -> float:
        """Error bound of a comparison with it, in seconds; 0 where it is not known."""
        return 0.0 if self.bound_ns is None else self.bound_ns / NS


def compared(readings: pd.DataFrame, name: str, file_clocks: Sequence[Clock]) -> Clock:
    """Return what ``readings`` tell of a clock; ``file_clocks`` are those of whoever wrote them, by file."""
    rows = readings[readings["actor"] == name]
    offsets = rows[rows["name"] == Reading.CLOCK_OFFSET]
    bounds = rows[rows["name"] == Reading.CLOCK_BOUND]
    # An offset and its bound are written one after the other by the same process.
    both = pd.merge_asof(
        _readings_by_file(offsets),
        _readings_by_file(bounds),
        on="at",
        by="file",
        suffixes=("_offset", "_bound"),
        direction="forward",
        tolerance=NS,
    )
    both = both[np.isfinite(both["value_offset"]) & np.isfinite(both["value_bound"])]
    if both.empty:
        return Clock(name)
    if file_clocks:
        # Compared with the writer's clock, which was compared with the master's.
        writers = [file_clocks[number] for number in both["file"]]
        both["value_offset"] += [clock.offset_ns / 1e6 for clock in writers]
        both["value_bound"] += [(clock.bound_ns or 0) / 1e6 for clock in writers]
    # Each round trip proves an interval that holds the offset; together they prove its intersection.
    # Where they contradict each other a clock was moved: the error is then as large as the gap.
    low = float((both["value_offset"] - both["value_bound"]).max())
    high = float((both["value_offset"] + both["value_bound"]).min())
    bound = abs(high - low) / 2
    if low > high:
        bound += float(both["value_bound"].min())
    return Clock(name, round((low + high) / 2 * 1e6), math.ceil(bound * 1e6))


def _readings_by_file(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["start_ns"].notna()]
    at = rows["start_ns"].astype("int64")
    found = pd.DataFrame({"at": at, "file": rows["file"], "value": rows["value"]})
    return found.sort_values("at", kind="stable")


def workers_of(files: Sequence[HistoryFile], observers: int) -> list[str | None]:
    """Return on which worker's clock each file was written; None: on the master's.

    Parameters
    ----------
    observers : processes with subscribers of each worker.
    """
    workers = {file.writer for file in files if WORKER.fullmatch(file.writer)}
    found = []
    for file in files:
        observer = OBSERVER.fullmatch(file.writer)
        name = file.writer if observer is None else load_writer((int(observer[1]) - 1) // observers + 1)
        found.append(name if name in workers else None)
    return found


def on_masters_clock(table: pa.Table, clocks: Sequence[Clock]) -> pa.Table:
    """Return the rows with all times of the harness's processes on the master's clock.

    Parameters
    ----------
    clocks : of whoever wrote each file.
    """
    if not any(clock.offset_ns for clock in clocks):
        return table
    offsets = np.array([clock.offset_ns for clock in clocks], dtype=np.int64)
    shift = pa.array(offsets[table["file"].to_numpy()])
    # Moves are by the clock of their witness, whoever writes them down.
    shift = pc.if_else(is_kind(table, "transition"), 0, shift)
    # The start of a delivery is PubNub's, unless it is that of a subscription.
    subscriptions = pa.array([Delivery.SUBSCRIBE, Delivery.UNSUBSCRIBE])
    named = pc.is_in(table["name"].cast(pa.string()), value_set=subscriptions)
    theirs = pc.and_(is_kind(table, "delivery"), pc.invert(named))
    # When a timer ends is told by the system's clock.
    due = pc.if_else(is_kind(table, "timer"), 0, shift)
    shifts = {"intended_ns": due, "start_ns": pc.if_else(theirs, 0, shift), "end_ns": shift}
    for column, by in shifts.items():
        place = table.column_names.index(column)
        table = table.set_column(place, column, pc.subtract(table[column], by))
    return table.combine_chunks()
