"""The requirements' five KPIs of a dashboard, over a run so far: shown, and not judged.

Figures of the system's own metrics come first; where it has none, what was seen from outside. They are of
the whole record, warm-up and faults included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd

from harness.documents.live import Kpi
from harness.history.names import Reading, Tick
from harness.judge.evidence import NS, Evidence
from harness.judge.findings import succeeded
from harness.report import words
from harness.sla.units import format_quantity

#: Functions whose response times are shown, the most called first.
_FUNCTIONS: Final = 12
#: What a figure is of -> the figure. Empty: there is none.
Figures = dict[str, str]
#: Where figures come from, and how.
Way = tuple[str, Callable[[Evidence], Figures]]


def kpis(evidence: Evidence) -> tuple[Kpi, ...]:
    """Return the five KPIs. One without figures says in ``source`` where there is nothing."""
    system = evidence.run.system or {}
    members = system.get("members")
    shows = isinstance(members, list) and "metrics" in members
    metrics = f"the metrics of the {system.get('name', 'system')}{'' if shows else ' (it shows none)'}"
    ways: dict[str, list[Way]] = {
        "Timer monitoring executions": [(metrics, _executions), ("ticks of ours", _ticks)],
        "Event broadcasting": [(metrics, _published), ("the outbox", _outbox)],
        "Average response times by function": [("calls and ticks", _response_times)],
        "Database pool utilisation": [(metrics, _pool)],
        "PubNub message delivery": [("what subscribers heard", _deliveries)],
    }
    return tuple(_kpi(evidence, title, tried) for title, tried in ways.items())


def _kpi(evidence: Evidence, title: str, ways: list[Way]) -> Kpi:
    without: list[str] = []
    for source, figures_of in ways:
        if figures := figures_of(evidence):
            lacking = f" Nothing in {' or '.join(without)}." if without else ""
            return Kpi(title=title, figures=tuple(figures.items()), source=f"From {source}.{lacking}")
        without.append(source)
    return Kpi(title=title, figures=(), source=f"Nothing in {' or '.join(without)}.")


def _executions(evidence: Evidence) -> Figures:
    rose = _rise(evidence, Reading.EXECUTIONS)
    return {} if rose is None else _hourly(*rose)


def _ticks(evidence: Evidence) -> Figures:
    ticks = evidence.ticks
    ran = ticks[(ticks["name"] == Tick.TICK).to_numpy(dtype=bool) & succeeded(ticks)]
    return {} if len(ran) < 2 else _hourly(len(ran), _span_s(ran))


def _hourly(count: float, seconds: float) -> Figures:
    return {"executions an hour": words.count(count / seconds * 3600), "executions": words.count(count)}


def _published(evidence: Evidence) -> Figures:
    rose = _rise(evidence, Reading.PUBLISHED)
    if rose is None:
        return {}
    failed = _rise(evidence, Reading.PUBLISH_FAILURES)
    return _shares(rose[0], 0.0 if failed is None else failed[0], "attempts that failed")


def _outbox(evidence: Evidence) -> Figures:
    rows = evidence.publishes
    sent = int(rows["published_ns"].notna().sum())
    return {} if rows.empty else _shares(sent, len(rows) - sent, "not sent so far")


def _shares(good: float, bad: float, called: str) -> Figures:
    total = good + bad
    share = {"success rate": format_quantity(100 * good / total, "%")} if total else {}
    return {**share, "messages published": words.count(good), called: words.count(bad)}


def _response_times(evidence: Evidence) -> Figures:
    ticks = evidence.ticks.assign(name="tick of timer monitoring")
    rows = pd.concat([part[["name", "start_ns", "end_ns"]] for part in (evidence.rows("http"), ticks)])
    took = (rows["end_ns"] - rows["start_ns"]).dropna().astype("float64") / NS
    by_name = took.groupby(rows["name"].astype(str)).agg(["mean", "size"])
    shown = by_name.sort_values("size", ascending=False)[:_FUNCTIONS]
    return {
        str(name): f"{format_quantity(mean, 's')} ({words.count(size)} calls)"
        for name, mean, size in shown.itertuples()
    }


def _pool(evidence: Evidence) -> Figures:
    used, sizes = (evidence.readings(name) for name in (Reading.POOL_IN_USE, Reading.POOL_SIZE))
    size = float(sizes.groupby("actor", observed=True)["value"].last().sum())
    if used.empty or size <= 0:
        return {}
    by_process = used.sort_values("start_ns").groupby("actor", observed=True)["value"]
    values = {"now": by_process.last(), "on average": by_process.mean(), "at most": by_process.max()}
    return {
        name: f"{format_quantity(100 * value.sum() / size, '%')} ({value.sum():.3g} of {words.count(size)})"
        for name, value in values.items()
    }


def _deliveries(evidence: Evidence) -> Figures:
    pairs, receipts = evidence.pairs, evidence.receipts
    settled = pairs[pairs["settled"].to_numpy(dtype=bool)]
    if settled.empty:
        return {}
    heard = int(settled["received_ns"].notna().sum())
    took_s = (receipts["end_ns"] - receipts["accepted_ns"]).mean() / NS
    return {
        "delivery rate": format_quantity(100 * heard / len(settled), "%"),
        "pairs of event and subscriber": f"{words.count(heard)} of {words.count(len(settled))}",
        "accepted to received, on average": format_quantity(None if pd.isna(took_s) else float(took_s), "s"),
    }


def _rise(evidence: Evidence, name: Reading) -> tuple[float, float] | None:
    """Return by how much the counters of all processes rose, and in how many seconds; None: not known.

    One that fell is that of a process that began anew, from 0.
    """
    rows = evidence.readings(name).sort_values("start_ns")
    if len(rows) < 2 or _span_s(rows) <= 0:
        return None
    rose = 0.0
    for _, one in rows.groupby("actor", observed=True):
        values = one["value"].to_numpy(dtype="float64")
        steps = np.diff(values)
        rose += float(np.where(steps < 0, values[1:], steps).sum())
    return rose, _span_s(rows)


def _span_s(rows: pd.DataFrame) -> float:
    return float(rows["start_ns"].max() - rows["start_ns"].min()) / NS
