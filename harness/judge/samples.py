"""Samples of a metric, and how rows become samples: with their clusters, their worst, and their doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.base import INFINITY, Example
from harness.history.run import moment
from harness.judge.evidence import NS, Evidence
from harness.judge.lag import lag_s

#: How many of the worst samples a report names.
WORST: Final = 10


@dataclass(frozen=True)
class Samples:
    """Samples of one metric: seconds for a latency, True/False for a rate (True counts)."""

    values: NDArray[np.float64] | NDArray[np.bool_]
    clusters: NDArray[np.int64]
    #: What a cluster is, in the plural, for the explanation.
    cluster: str
    #: What was measured, one sentence.
    definition: str
    worst: list[Example] = field(default_factory=list)
    #: Why these samples must not be judged.
    doubts: list[str] = field(default_factory=list)
    #: What was left out, and why.
    notes: list[str] = field(default_factory=list)
    #: Error bound of the clocks compared, in seconds.
    clock_error_s: float = 0.0
    #: What of that is because the witness looks now and then; of a rate, how far off times may be.
    resolution_s: float = 0.0
    #: Of a rate: those that may as well be the other way round, by that resolution.
    undecided: NDArray[np.bool_] | None = None
    #: By how much, at most, lag of the harness made them longer than they were, in seconds.
    lag_error_s: float = 0.0
    #: What a ceiling is held against, where it is not the values.
    elapsed: NDArray[np.float64] | None = None
    #: Why there are none, by choice.
    absent: str = ""


@dataclass(frozen=True)
class Census:
    """All there was to count, not a sample of it."""

    good: int
    #: Neither good nor bad.
    undecided: int
    total: int
    definition: str
    worst: list[Example] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def steady_rows(evidence: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the steady state, by when they should have begun: ``origin_ns``."""
    origin = rows["intended_ns"].fillna(rows["start_ns"])
    steady = evidence.steady(origin)
    columns = ["name", "ok", "error", "value"]
    return rows.loc[steady, columns].assign(origin_ns=origin[steady])


def known_true(column: pd.Series) -> NDArray[np.bool_]:
    """Return which are true: null, an unknown outcome, is not."""
    found: NDArray[np.bool_] = column.to_numpy(dtype=bool, na_value=False)
    return found


def outcomes(
    parts: Sequence[pd.DataFrame],
    values: Sequence[NDArray[np.bool_]],
    bad: Sequence[NDArray[np.bool_]],
    definition: str,
) -> Samples:
    """Return the outcomes of operations, clustered by second; ``bad`` are told of as the worst."""
    seconds = [(rows["origin_ns"] // NS).to_numpy(dtype="int64", na_value=0) for rows in parts]
    failed = [
        rows.loc[which, ["name", "error"]].astype("string") for rows, which in zip(parts, bad, strict=True)
    ]
    return Samples(
        values=np.concatenate(values),
        clusters=np.concatenate(seconds),
        cluster="seconds",
        definition=definition,
        worst=commonest(pd.concat(failed)),
    )


def commonest(rows: pd.DataFrame) -> list[Example]:
    """Return what went wrong, by how often."""
    counts = rows.fillna({"error": "outcome unknown"}).value_counts().head(WORST).reset_index()
    return [
        {"what": str(row["name"]), "detail": f"{row['error']} × {row['count']}"}
        for _, row in counts.iterrows()
    ]


def durations(
    evidence: Evidence,
    took: NDArray[np.float64],
    clusters: NDArray[np.int64],
    cluster: str,
    definition: str,
    rows: pd.DataFrame,
    *,
    at: str,
    clock: int | None = 0,
    own_clock_ns: int = 0,
    blur_ns: int = 0,
    clock_name: str = "",
    late: str | None = None,
) -> Samples:
    """Return latencies, without those that are none: they are counted and named, never averaged in.

    ``clock`` and ``own_clock_ns`` are error bounds: of the clock that stamped the starts, and of those that
    stamped the ends; ``blur_ns`` is that of a witness that looks now and then. ``late`` says whose event
    loops stamped their ends; None: none of the harness.
    """
    doubts: list[str] = []
    error_s = 0.0
    if clock is None:
        if len(took):
            doubts.append(f"the clock of {clock_name} was never compared with ours")
    else:
        error_s = (clock + own_clock_ns + blur_ns) / NS
    keep, left_out = _latencies(took, error_s)
    took, rows, clusters = took[keep], rows[keep], clusters[keep]
    order = largest(took)
    return Samples(
        values=took,
        clusters=clusters,
        cluster=cluster,
        definition=definition,
        worst=describe(evidence, rows.iloc[order], took[order], at),
        doubts=doubts + left_out,
        clock_error_s=error_s,
        resolution_s=blur_ns / NS,
        lag_error_s=0.0 if late is None else lag_s(evidence, late),
    )


def _latencies(took: NDArray[np.float64], error_s: float) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which values can be latencies, and what is said of the others."""
    undefined, backwards = np.isnan(took), took < -error_s - 1e-3
    doubts = []
    if undefined.any():
        doubts.append(f"{np.count_nonzero(undefined)} latencies are not numbers (a time is missing)")
    if backwards.any():
        doubts.append(
            f"{np.count_nonzero(backwards)} latencies are negative, the least {took[backwards].min():.3f} s: "
            "a clock was wrong or moved"
        )
    return ~undefined & ~backwards, doubts


def largest(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions of the largest values, largest first."""
    few = np.argpartition(values, -WORST)[-WORST:] if len(values) > WORST else np.arange(len(values))
    return few[np.argsort(-values[few], kind="stable")]


def describe(evidence: Evidence, rows: pd.DataFrame, values: NDArray[np.float64], at: str) -> list[Example]:
    """Return rows with their values and names, and when they began: column ``at``."""
    found = []
    for (_, row), value in zip(rows.iterrows(), values, strict=True):
        entry: Example = {"value": INFINITY if math.isinf(value) else float(value)}
        entry |= evidence.identity(row)
        if "error" in row.index and isinstance(row["error"], str):
            entry["detail"] = row["error"]
        if not pd.isna(row[at]):
            entry["at"] = moment(int(row[at]))
        found.append(entry)
    return found


def unsettled(evidence: Evidence, pairs: pd.DataFrame) -> list[str]:
    """Return a note of the pairs that are not counted, if any."""
    count = int(np.count_nonzero(evidence.steady(pairs["committed_ns"]) & ~pairs["settled"]))
    if not count:
        return []
    return [f"{count} pairs were still under way when their observer's record ended, and are not counted"]


def seconds(nanoseconds: pd.Series) -> NDArray[np.float64]:
    """Return durations (ns) in seconds; NaN where there is none."""
    return nanoseconds.to_numpy(dtype="float64", na_value=np.nan) / NS
