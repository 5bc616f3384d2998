"""Declared spans of time: the windows of a run, and its faults."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

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


def faults_of(rows: pd.DataFrame, ids: pa.Array) -> list[FaultWindow]:
    """Return the faults that rows of kind ``fault`` declare, by their begin.

    Parameters
    ----------
    ids : the names behind the numbers in column ``event``.
    """
    found = []
    rows = rows.sort_values("start_ns", kind="stable")
    for _, group in rows[rows["event"] >= 0].groupby("event", sort=False):
        first, last = group.iloc[0], group.iloc[-1]
        if pd.isna(first["start_ns"]):
            continue
        errors = group["error"].dropna()
        ends = group["end_ns"].dropna()
        found.append(
            FaultWindow(
                id=str(ids[int(first["event"])].as_py()),
                fault=FaultName(*(str(last[part]) for part in FaultName._fields)),
                start_ns=int(first["start_ns"]),
                end_ns=int(ends.iloc[-1]) if len(ends) else None,
                error=str(errors.iloc[0]) if len(errors) else None,
            )
        )
    return found
