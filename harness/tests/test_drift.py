"""What grows while a run goes on: told from what only scatters, and never by a run too short to tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.documents.report import Report
from harness.documents.rows import DriftRow
from harness.judge import evidence_of
from harness.judge.drift import slope_interval
from harness.report.build import report_on
from harness.report.gate import rows_not_passed
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.sla.drifts import parse_growth
from harness.sla.policy import PolicyError, load_policy

#: Two minutes, as by default; few games, as what matters is the time.
SHAPE = Shape(games_at_once=6, players=1, seconds=120, warm_up=3, http_per_s=2)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def report_of(rows: pd.DataFrame, *, stretched: int = 1) -> Report:
    """Judge rows, as those of a run that took so many times as long."""
    shape = SHAPE
    if stretched > 1:
        rows = rows.copy()
        for column in ("intended_ns", "start_ns", "end_ns"):
            rows[column] = START + (rows[column] - START) * stretched
        shape = Shape(**vars(SHAPE) | {"seconds": SHAPE.seconds * stretched, "warm_up": 3 * stretched})
    return report_on(evidence_of(history_of(rows), run_of(shape), load_policy()), "run")


def drift(report: Report, name: str) -> DriftRow:
    return next(row for row in report.drift if row.name == name)


def later(rows: pd.DataFrame, ms_a_second: float) -> pd.DataFrame:
    """Events are heard later by so much with each second."""
    rows = rows.copy()
    heard = (rows["kind"] == "delivery") & (rows["name"] == "phase_changed")
    age = (rows.loc[heard, "start_ns"] - START) / NS
    rows.loc[heard, "end_ns"] += (age.astype("float64") * ms_a_second * 1e6).astype("int64")
    return rows


def with_readings(rows: pd.DataFrame, name: str, values: Any, actor: str = "service-1") -> pd.DataFrame:
    at = START + np.arange(len(values)) * NS
    found = pd.DataFrame(
        {"kind": "resource", "name": name, "actor": actor, "start_ns": at, "value": np.asarray(values, float)}
    )
    return pd.concat([rows, found.astype({"start_ns": "Int64"})], ignore_index=True)


def memory(mb_a_second: float) -> Any:
    random = np.random.default_rng(3)
    return (100 + mb_a_second * np.arange(123) + random.normal(0, 0.2, 123)) * 1e6


def test_a_healthy_run_is_too_short_to_tell_and_is_none_the_worse_for_it(rows: pd.DataFrame) -> None:
    report = report_of(with_readings(rows, "rss_bytes", memory(0.02)))
    assert {row.verdict for row in report.drift} <= {"inconclusive"}
    assert report.verdict == report_of(rows).verdict
    assert "drift" not in {row.section for row in rows_not_passed(report)}


def test_broadcasts_that_get_slower_fail_though_each_was_in_time(rows: pd.DataFrame) -> None:
    report = report_of(later(rows, 15.0))
    row = drift(report, "broadcast_latency")
    assert row.verdict == "fail"
    assert row.measured == pytest.approx(54, rel=0.1), "seconds an hour"
    assert next(one for one in report.objectives if one.name == "broadcast_latency").verdict != "fail"
    assert report.verdict == "fail"
    (told,) = [one for one in rows_not_passed(report) if one.section == "drift"]
    assert "an hour" in told.reason


def test_memory_that_is_kept_of_each_request_fails_and_names_the_process(rows: pd.DataFrame) -> None:
    row = drift(report_of(with_readings(rows, "rss_bytes", memory(5.0), "service-2")), "memory")
    assert (row.verdict, row.actor) == ("fail", "service-2")
    assert row.measured == pytest.approx(18_000, rel=0.05), "MB an hour"


def test_a_process_that_fails_is_told_of_before_one_that_may_grow_more(rows: pd.DataFrame) -> None:
    random = np.random.default_rng(2)
    wild = 100e6 + 700e6 * random.random(123) + 2e6 * np.arange(123)
    both = with_readings(
        with_readings(rows, "rss_bytes", memory(1.0), "service-1"), "rss_bytes", wild, "service-2"
    )
    alone = drift(report_of(with_readings(rows, "rss_bytes", wild, "service-2")), "memory")
    row = drift(report_of(both), "memory")
    assert alone.verdict == "inconclusive"
    assert (row.verdict, row.actor) == ("fail", "service-1")
    assert (alone.measured or 0) > (row.measured or 0)


@pytest.mark.parametrize("actor", ["load", "observer-1", "toxiproxy", "pubnub", "postgres"])
def test_memory_of_others_is_not_charged_to_the_service(rows: pd.DataFrame, actor: str) -> None:
    assert drift(report_of(with_readings(rows, "rss_bytes", memory(5.0), actor)), "memory").measured is None


@pytest.mark.parametrize(("mb_a_second", "verdict"), [(0.0, "pass"), (0.2, "fail")])
def test_a_run_that_is_long_enough_decides(rows: pd.DataFrame, mb_a_second: float, verdict: str) -> None:
    grown = with_readings(rows, "rss_bytes", memory(mb_a_second * 10))
    assert drift(report_of(grown, stretched=10), "memory").verdict == verdict


def test_what_lag_of_the_harness_may_have_grown_by_fails_nobody(rows: pd.DataFrame) -> None:
    lag = with_readings(later(rows, 8.0), "loop_lag_ms", np.full(123, 900.0), "observer-1")
    assert drift(report_of(later(rows, 8.0)), "broadcast_latency").verdict == "fail"
    assert drift(report_of(lag), "broadcast_latency").verdict == "inconclusive"


def test_the_interval_holds_the_slope_where_neighbours_are_alike() -> None:
    held = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        noise = np.zeros(60)
        for n in range(1, 60):
            noise[n] = 0.4 * noise[n - 1] + random.normal()
        _, low, high = slope_interval(np.arange(60.0), 0.05 * np.arange(60.0) + noise, 0.95)
        held += low <= 0.05 <= high
    assert held >= 85


def test_one_outlier_is_no_slope() -> None:
    values = np.ones(40)
    values[35:38] = 1000.0
    slope, low, high = slope_interval(np.arange(40.0), values, 0.95)
    assert slope == 0
    assert low <= 0 <= high


def test_every_view_has_it(rows: pd.DataFrame) -> None:
    report = report_of(with_readings(rows, "rss_bytes", memory(5.0)))
    for view in (render_html(report), render_markdown(report)):
        assert "Memory of a process" in view
        assert "MB an hour (service-1)" in view
    assert 'name="drift"' in render_junit(report)


@pytest.mark.parametrize(
    ("text", "unit", "found"),
    [("400ms", "s", 0.4), ("50MB", "MB", 50.0), ("1.5 GB", "MB", 1500.0), ("20", "files", 20.0)],
)
def test_limits_are_read(text: str, unit: Any, found: float) -> None:
    assert parse_growth(text, unit) == pytest.approx(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [("memory", "50"), ("memory", "0MB"), ("open_files", "many"), ("broadcast_latency", "5%")],
)
def test_a_limit_that_is_none_is_named(name: str, text: str) -> None:
    with pytest.raises(PolicyError, match=f"drift.{name}.limit"):
        load_policy(changes={f"drift.{name}.limit": text})
