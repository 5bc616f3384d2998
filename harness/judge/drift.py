"""What grows while a run goes on: robust slopes over the steady state, each with an interval.

A run that is well for minutes may not be for hours: latencies that creep, memory that is never given back.
Each series is put into equal bins. Its slope is the median of the slopes between any two of them (Theil 1950,
Sen 1968); its interval is that of a moving block bootstrap of what is left beside the slope (Künsch 1989), as
neighbouring bins resemble one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.rows import CheckRow, DriftRow
from harness.history.names import Actor, Reading
from harness.judge.evidence import NS, Evidence
from harness.judge.findings import guarded
from harness.judge.lag import CRON, SUBSCRIBERS, lag_s
from harness.judge.rows import doubts_of
from harness.sla.drifts import SERIES
from harness.sla.promises import Drift

Floats = NDArray[np.float64]

#: Bins of a series, at most, and at least for a slope to have an interval.
_MOST_BINS: Final = 60
_FEWEST_BINS: Final = 10
_NARROWEST_S: Final = 2.0
#: One less than 400, of which both 2.5 and 0.5 % (the tails of 95 and 99 %) are whole numbers.
_RESAMPLES: Final = 399
_HOUR_S: Final = 3600.0
#: Of the latencies of a bin.
_QUANTILE: Final = 0.95
#: Processes that are not the service's: the harness's own, and the database, which fills its caches and opens
#: its tables for as long as a run of minutes lasts.
_OTHERS: Final = (
    rf"^({Actor.LOAD}|observer|{Actor.PROBER}|{Actor.CRON}|toxiproxy|{Actor.PUBNUB}|{Actor.MACHINE}|postgres)"
)

#: Who stamps latencies: its lag may have grown, and not they.
_STAMPED_BY: Final = {"broadcast_latency": SUBSCRIBERS, "monitor_execution": CRON}

#: One line of a series: whose it is, times in s since the begin of the steady state, values.
Line = tuple[str, Floats, Floats]


def drift_row(name: str, drift: Drift, evidence: Evidence, checks: Sequence[CheckRow]) -> DriftRow:
    """Return the row of something that must not grow: of a line that fails, else of the steepest one."""
    row = DriftRow(
        name=name,
        title=drift.title,
        unit=SERIES[drift.series].unit,
        limit=drift.limit,
        least_s=drift.least,
        source=drift.source,
        doubts=tuple(doubts_of(checks, SERIES[drift.series].metric)),
    )

    def looked() -> DriftRow:
        found = [_slope(row, line, drift, evidence) for line in _LINES[drift.series](evidence)]
        known = [one for one in found if one.measured is not None]
        return max(known, key=lambda one: (one.verdict == "fail", one.measured)) if known else row

    return guarded(looked, lambda why: row.model_copy(update={"doubts": (*row.doubts, why)}))


def _slope(row: DriftRow, line: Line, drift: Drift, evidence: Evidence) -> DriftRow:
    actor, at, values = line
    confidence = evidence.policy.confidence
    times, binned = _binned(at, values, latency=row.unit == "s")
    if len(times) < _FEWEST_BINS:
        return row
    slope, low, high = (end * _HOUR_S for end in slope_interval(times, binned, confidence))
    return row.model_copy(
        update={
            "measured": slope,
            "interval": (low, high),
            "seconds": float(at.max() - at.min()),
            "lag_error": lag_s(evidence, _STAMPED_BY[drift.series]) if drift.series in _STAMPED_BY else 0.0,
            "actor": actor,
        }
    )


def slope_interval(times: Floats, values: Floats, confidence: float) -> tuple[float, float, float]:
    """Return the slope of ``values`` over ``times`` and the ends of its interval, per unit of time.

    Parameters
    ----------
    times, values : of equal length, at least two; times differ.
    """
    first, second = np.triu_indices(len(times), 1)
    span = times[second] - times[first]
    slope = float(np.median((values[second] - values[first]) / span))
    left = values - slope * times
    random = np.random.default_rng(0)  # the same record gives the same row
    length = max(2, round(len(times) ** (1 / 3)) + 1)
    starts = random.integers(0, len(times) - length + 1, (_RESAMPLES, -(-len(times) // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, : len(times)]
    resampled = left[drawn] - np.median(left)
    slopes = slope + np.median((resampled[:, second] - resampled[:, first]) / span, axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(slopes, [tail, 1 - tail])
    return slope, float(low), float(high)


def _binned(at: Floats, values: Floats, *, latency: bool) -> tuple[Floats, Floats]:
    """Return the middle of each bin that is not empty, and the 95th percentile or the median in it."""
    if not len(at):
        return at, values
    width = max(float(at.max() - at.min()) / _MOST_BINS, _NARROWEST_S)
    frame = pd.DataFrame({"bin": ((at - at.min()) // width).astype(int), "value": values})
    found = frame.groupby("bin")["value"].quantile(_QUANTILE if latency else 0.5)
    found = found[np.isfinite(found)]
    return (found.index.to_numpy(dtype="float64") + 0.5) * width, found.to_numpy(dtype="float64")


# --- the series ----------------------------------------------------------------------------------------


def _broadcasts(evidence: Evidence) -> list[Line]:
    pairs = evidence.pairs
    pairs = pairs[pairs["received_ns"].notna()]
    return _line(evidence, "", pairs["committed_ns"], (pairs["received_ns"] - pairs["committed_ns"]) / NS)


def _ticks(evidence: Evidence) -> list[Line]:
    ticks = evidence.ticks
    ticks = ticks[ticks["end_ns"].notna()]
    return _line(evidence, "", ticks["origin_ns"], (ticks["end_ns"] - ticks["origin_ns"]) / NS)


def _readings(name: Reading, scale: float = 1.0) -> Callable[[Evidence], list[Line]]:
    def lines(evidence: Evidence) -> list[Line]:
        rows = evidence.readings(name)
        actors = rows["actor"].astype("string")
        rows = rows[(~actors.str.match(_OTHERS)).to_numpy(dtype=bool)]
        by_actor = rows.groupby(rows["actor"].astype("string"))
        return [
            line
            for actor, own in by_actor
            for line in _line(evidence, str(actor), own["start_ns"], own["value"] / scale)
        ]

    return lines


def _line(evidence: Evidence, actor: str, times: pd.Series, values: pd.Series) -> list[Line]:
    steady = evidence.steady(times)
    if not steady.any():
        return []
    at = times[steady].to_numpy(dtype="float64") / NS
    return [(actor, at - at.min(), values[steady].to_numpy(dtype="float64"))]


_LINES: Final[dict[str, Callable[[Evidence], list[Line]]]] = {
    "broadcast_latency": _broadcasts,
    "monitor_execution": _ticks,
    "memory": _readings(Reading.RSS, 1e6),
    "open_files": _readings(Reading.OPEN_FILES),
    "pool_in_use": _readings(Reading.POOL_IN_USE),
    "backlog": _readings(Reading.OUTBOX_DEPTH),
}
