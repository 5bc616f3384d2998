"""The five KPIs of a run so far: of the system's metrics, else of what was seen, else named as lacking."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.documents.live import Kpi
from harness.history.names import Reading
from harness.judge import evidence_of
from harness.live.kpis import kpis
from harness.sla.policy import Policy, load_policy

SHAPE = Shape(games_at_once=10, seconds=20)
#: What the system that played is, as run.json says it.
SHOWING = {"name": "drawing game", "members": ["metrics"]}
SILENT = {"name": "auction house", "members": []}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def counters(name: Reading, actor: str, *values: float) -> pd.DataFrame:
    """Return what a counter was, a second apart."""
    columns = {"kind": "resource", "name": name, "actor": actor, "value": list(values)}
    return pd.DataFrame(columns | {"start_ns": [START + second * NS for second in range(len(values))]})


def shown(rows: pd.DataFrame, policy: Policy, system: dict[str, Any], *more: pd.DataFrame) -> dict[str, Kpi]:
    whole = pd.concat([rows, *more], ignore_index=True).astype(rows.dtypes)
    found = kpis(evidence_of(history_of(whole), run_of(SHAPE, system=system), policy))
    return {kpi.title: kpi for kpi in found}


def test_the_systems_own_metrics_come_first(rows: pd.DataFrame, policy: Policy) -> None:
    found = shown(
        rows,
        policy,
        SHOWING,
        counters(Reading.EXECUTIONS, "service-1", 100, 101, 102),
        counters(Reading.PUBLISHED, "service-1", 0, 60, 90),
        counters(Reading.PUBLISH_FAILURES, "service-1", 0, 4, 10),
        counters(Reading.POOL_SIZE, "service-1", 20, 20, 20),
    )
    executions = dict(found["Timer monitoring executions"].figures)
    assert executions == {"executions an hour": "3\u202f600", "executions": "2"}
    broadcasting = found["Event broadcasting"]
    assert dict(broadcasting.figures)["success rate"] == "90.00 %"
    assert dict(broadcasting.figures)["attempts that failed"] == "10"
    assert broadcasting.source == "From the metrics of the drawing game."
    assert dict(found["Database pool utilisation"].figures)["on average"].endswith("of 20)")


def test_what_all_processes_count_is_added_up_and_a_restart_counts_from_nought(
    rows: pd.DataFrame, policy: Policy
) -> None:
    first = counters(Reading.EXECUTIONS, "service-1", 100, 105, 3)
    second = counters(Reading.EXECUTIONS, "service-2", 7, 8, 9)
    figures = dict(shown(rows, policy, SHOWING, first, second)["Timer monitoring executions"].figures)
    assert figures["executions"] == "10"


def test_without_metrics_it_is_what_was_seen_and_the_lack_is_named(
    rows: pd.DataFrame, policy: Policy
) -> None:
    found = shown(rows, policy, SILENT)
    lacking = "the metrics of the auction house (it shows none)"
    assert found["Timer monitoring executions"].source == f"From ticks of ours. Nothing in {lacking}."
    assert found["Event broadcasting"].source == f"From the outbox. Nothing in {lacking}."
    assert dict(found["Event broadcasting"].figures)["success rate"] == "100 %"
    pool = found["Database pool utilisation"]
    assert (pool.figures, pool.source) == ((), f"Nothing in {lacking}.")


def test_response_times_and_deliveries_are_those_that_the_load_saw(
    rows: pd.DataFrame, policy: Policy
) -> None:
    found = shown(rows, policy, SHOWING)
    times = dict(found["Average response times by function"].figures)
    assert set(times) == {"POST /functions/v1/get-game-timer", "tick of timer monitoring"}
    assert times["POST /functions/v1/get-game-timer"].startswith("4.")
    deliveries = dict(found["PubNub message delivery"].figures)
    assert deliveries["delivery rate"] == "100 %"
    lost = rows.drop(rows[(rows["kind"] == "delivery") & (rows["name"] == "phase_changed")].index[:40])
    assert dict(shown(lost, policy, SHOWING)["PubNub message delivery"].figures)["delivery rate"] != "100 %"


def test_before_anything_was_recorded_there_are_no_figures(rows: pd.DataFrame, policy: Policy) -> None:
    found = shown(rows[:0], policy, SHOWING)
    assert len(found) == 5
    assert not any(kpi.figures for kpi in found.values())
