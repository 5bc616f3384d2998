"""Judges rows of a synthetic run, spoiled by a test, as an experiment would."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fixtures.synthetic_run import NS, START, Shape, about_run, history_of, run_of
from harness.documents.rows import Finding
from harness.judge import Evidence, Window, evidence_of
from harness.judge.findings import Expectation, judge_all
from harness.sla.policy import load_policy

SHAPE = Shape(games_at_once=12, players=2, seconds=50, http_per_s=2)
#: The fault of these runs lasts from second 20 to second 30.
FAULT = Window("network:down service-pubnub", START + 20 * NS, START + 30 * NS)


def at(second: float) -> int:
    """Return a time of the run in Unix ns."""
    return START + int(second * NS)


def evidence(rows: pd.DataFrame, **options: Any) -> Evidence:
    """Return ``rows`` as evidence; ``options`` are further options of the run."""
    about = run_of(SHAPE, options=about_run(SHAPE)["options"] | options)
    return evidence_of(history_of(rows), about, load_policy())


def judge(expectation: Expectation, rows: pd.DataFrame, fault: Window = FAULT, **options: Any) -> Finding:
    """Return what comes of ``expectation``."""
    return judge_all(evidence(rows, **options), fault, [expectation])[0]


def plus(rows: pd.DataFrame, *more: dict[str, Any]) -> pd.DataFrame:
    """Return ``rows`` and more of them, given by the columns that they have."""
    frame = pd.DataFrame(list(more), columns=rows.columns).astype(rows.dtypes.to_dict())
    return pd.concat([rows, frame], ignore_index=True)


def during(rows: pd.DataFrame, kind: str, start_s: float = 20, end_s: float = 30) -> pd.Series:
    """Return which rows are of ``kind`` and begin in a span of the run."""
    starts = rows["start_ns"].astype("Int64")
    inside = (starts >= at(start_s)) & (starts < at(end_s))
    return (rows["kind"] == kind) & inside.fillna(value=False).astype(bool)
