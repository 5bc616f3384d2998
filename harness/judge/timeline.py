"""The run over time, in at most a few hundred bins: for drawing, not for judging."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.shown import Series, Span, Timeline
from harness.history.names import Reading
from harness.judge.evidence import NS, Evidence
from harness.judge.samples import seconds

#: Bins of a timeline, at most.
MOST_BINS: Final = 600

#: Bin widths in seconds, so that bins begin at round times.
_WIDTHS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)

_QUANTILES: Final = (0.5, 0.95, 0.99)

#: Readings that are drawn: name -> (panel, title, unit, how several actors are put together).
_READINGS: Final = {
    Reading.OUTBOX_DEPTH: ("outbox", "events waiting", "events", "max"),
    Reading.POOL_IN_USE: ("pool", "connections in use", "connections", "sum"),
    Reading.POOL_SIZE: ("pool", "pool size", "connections", "sum"),
    Reading.BREAKER: ("breaker", "0 closed, 1 half-open, 2 open", "state", "max"),
    Reading.USERS: ("throughput", "users", "users", "sum"),
}


def timeline(evidence: Evidence, span: tuple[int, int] | None = None) -> Timeline:
    """Return series of equal length: a value for each second, or for the next longer time that fits.

    ``start_ms`` is Unix time; ``values`` hold null where nothing happened in a bin.

    Parameters
    ----------
    span : begin and end, in ns, of a part of the record (an experiment's, say); None: the declared windows,
        or the whole record if there are none.
    """
    windows = evidence.windows
    if span is not None:
        start_ns, end_ns = span
        windows = [w for w in windows if w.start_ns < end_ns and w.end_ns > start_ns]
    else:
        start_ns, end_ns = evidence.span
        if windows:
            start_ns = min(window.start_ns for window in windows)
            end_ns = min(end_ns, max(window.end_ns for window in windows))
    lasts_s = max((end_ns - start_ns) / NS, 0)
    width = next((w for w in _WIDTHS if lasts_s / w <= MOST_BINS), _WIDTHS[-1])
    # The end of a record is its last row; that of a span is no part of it.
    bins = int(lasts_s // width) + 1 if span is None else math.ceil(lasts_s / width)
    bins = min(bins, MOST_BINS) if lasts_s else 0
    series = _drawn(evidence, _Grid(start_ns, width, bins)) if bins else []
    return Timeline(
        start_ms=start_ns // 1_000_000,
        bin_s=width,
        bins=bins,
        windows=tuple(
            Span(name=w.name, start_ms=w.start_ns // 1_000_000, end_ms=w.end_ns // 1_000_000) for w in windows
        ),
        series=tuple(one for one in series if any(value is not None for value in one.values)),
    )


def _drawn(evidence: Evidence, grid: _Grid) -> list[Series]:
    pairs, ticks, http = evidence.pairs, evidence.ticks, evidence.rows("http")
    heard = pairs[pairs["received_ns"].notna()]
    failed = http[~http["ok"].fillna(value=False).to_numpy(dtype=bool)]
    broadcast_s = seconds(heard["received_ns"] - heard["committed_ns"])
    tick_s = seconds(ticks["end_ns"] - ticks["origin_ns"])
    request_s = seconds(http["end_ns"] - http["start_ns"])
    return [
        *grid.quantiles("latency", "broadcast", heard["committed_ns"], broadcast_s),
        *grid.quantiles("monitor", "tick", ticks["origin_ns"], tick_s, (0.95,)),
        *grid.quantiles("http", "request", http["start_ns"], request_s, (0.5, 0.95)),
        grid.rate("throughput", "requests", http["start_ns"]),
        grid.rate("throughput", "deliveries", evidence.messages["end_ns"]),
        grid.rate("throughput", "transitions", evidence.transitions["moved_ns"]),
        grid.rate("errors", "failed requests", failed["start_ns"]),
        *(grid.reading(evidence, name) for name in _READINGS),
    ]


class _Grid:
    """Equal bins from a start on."""

    def __init__(self, start_ns: int, width_s: int, bins: int) -> None:
        self._start_ns = start_ns
        self._width_s = width_s
        self._bins = bins

    def quantiles(
        self,
        panel: str,
        title: str,
        times: pd.Series,
        values: NDArray[np.float64],
        wanted: tuple[float, ...] = _QUANTILES,
    ) -> list[Series]:
        """Exact quantiles of ``values`` in each bin."""
        at = self._bin(times)
        use = (at >= 0) & np.isfinite(values)
        at, values = at[use], values[use]
        # Sorted by bin and value; the stable sort of small integers is a radix sort.
        order = np.argsort(values)
        order = order[np.argsort(at[order].astype(np.int16), kind="stable")]
        values = values[order]
        counts = np.bincount(at, minlength=self._bins)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        found = []
        for q in wanted:
            ranks = np.maximum(np.ceil(np.round(counts * q, 9)).astype(np.int64), 1) - 1
            picked = [
                round(float(values[first + rank]), 6) if count else None
                for first, rank, count in zip(starts, ranks, counts, strict=True)
            ]
            found.append(_series(panel, f"{title} p{q * 100:g}", "s", picked))
        return found

    def rate(self, panel: str, title: str, times: pd.Series) -> Series:
        """How many a second."""
        at = self._bin(times)
        counts = np.bincount(at[at >= 0], minlength=self._bins) / self._width_s
        values = [round(float(value), 3) for value in counts] if len(at) else [None] * self._bins
        return _series(panel, title, "per s", values)

    def reading(self, evidence: Evidence, name: Reading) -> Series:
        """A reading: the most in each bin, actors together."""
        panel, title, unit, together = _READINGS[name]
        rows = evidence.readings(name)
        rows = rows[np.isfinite(rows["value"].to_numpy(dtype="float64"))]
        at = self._bin(rows["start_ns"])
        frame = pd.DataFrame(
            {"at": at, "actor": rows["actor"].cat.codes.to_numpy(), "value": rows["value"].to_numpy()}
        )
        highest = frame[frame["at"] >= 0].groupby(["at", "actor"])["value"].max()
        values = highest.groupby("at").agg(together).reindex(range(self._bins)).to_numpy(dtype="float64")
        return _series(panel, title, unit, [None if np.isnan(v) else round(float(v), 3) for v in values])

    def _bin(self, times: pd.Series) -> NDArray[np.int64]:
        """The bin of each time, -1 outside."""
        numbers = times.to_numpy(dtype="int64", na_value=-1)
        at = (numbers - self._start_ns) // (self._width_s * NS)
        return np.where((numbers >= self._start_ns) & (at < self._bins), at, -1).astype(np.int64)


def _series(panel: str, title: str, unit: str, values: list[Any]) -> Series:
    return Series(panel=panel, title=title, unit=unit, values=tuple(values))
