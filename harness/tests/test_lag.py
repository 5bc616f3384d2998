"""Lag of the harness makes latencies longer, never shorter: a pass stays one, a fail needs more than that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, history_of, run_of, synthetic_rows
from harness.judge import evidence_of
from harness.judge.instruments import probe_effect
from harness.judge.lag import CRON, SUBSCRIBERS, lag_s
from harness.sla.policy import Policy, load_policy
from harness.tests.synthetic_report import latency_row
from harness.tests.test_verdicts import SHAPE, named, of, steady, verdict_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def lagging(rows: pd.DataFrame, actor: str, milliseconds: float) -> pd.DataFrame:
    late = rows.copy()
    late.loc[of(late, "resource", "loop_lag_ms") & (late["actor"] == actor), "value"] = milliseconds
    return late


def slower(rows: pd.DataFrame, kind: str, seconds: float) -> pd.DataFrame:
    late = rows.copy()
    late.loc[of(late, kind) & late["end_ns"].notna(), "end_ns"] += int(seconds * NS)
    return late


def one_second(objective: str) -> Policy:
    return load_policy(changes={f"{objective}.threshold": "1s"})


def lag_of(rows: pd.DataFrame, actors: str) -> float:
    return lag_s(evidence_of(history_of(rows), run_of(SHAPE), load_policy()), actors)


#: Who stamps the ends of what: objective -> kind of its rows, the actor, one that does not matter.
STAMPED = [
    ("broadcast_latency", "delivery", "observer-1", "load"),
    ("pubnub_delivery", "delivery", "observer-1", "load"),
    ("monitor_execution", "monitor", "load", "observer-1"),
]


@pytest.mark.parametrize(("objective", "kind", "actor", "other"), STAMPED)
def test_a_fail_within_the_lag_of_its_threshold_is_inconclusive_and_says_why(
    objective: str, kind: str, actor: str, other: str, good_rows: pd.DataFrame
) -> None:
    # All take half a second longer than the threshold, or a little less than the lag.
    by = one_second(objective)
    rows = slower(good_rows, kind, 1.5)
    assert named(verdict_of(rows, by), objective)["verdict"] == "fail"
    assert named(verdict_of(lagging(rows, other, 900), by), objective)["verdict"] == "fail"

    row = named(verdict_of(lagging(rows, actor, 900), by), objective)
    assert (row["verdict"], row["lag_error"], row["doubts"]) == ("inconclusive", 0.9, [])
    assert "not by more than the 900 ms that lag of the harness may have added" in row["reason"]
    assert "up to 900 ms" in row["explanation"]


@pytest.mark.parametrize(("objective", "kind", "actor"), [case[:3] for case in STAMPED])
def test_a_fail_by_more_than_the_lag_stays_one(
    objective: str, kind: str, actor: str, good_rows: pd.DataFrame
) -> None:
    by = one_second(objective)
    row = named(verdict_of(lagging(slower(good_rows, kind, 2.5), actor, 900), by), objective)
    assert row["verdict"] == "fail"


@pytest.mark.parametrize(("objective", "kind", "actor"), [case[:3] for case in STAMPED])
def test_a_pass_stays_one_however_near_its_threshold(
    objective: str, kind: str, actor: str, good_rows: pd.DataFrame
) -> None:
    # 0.7 s of the 1 s are used up, and 0.9 s of lag may be in them: without it they were less.
    by = one_second(objective)
    report = verdict_of(lagging(slower(good_rows, kind, 0.7), actor, 900), by)
    assert named(report, objective)["verdict"] == "pass"
    assert named(report, "harness_lag")["verdict"] == "pass"


def test_lag_beyond_the_limit_makes_latencies_inconclusive_in_both_directions(
    good_rows: pd.DataFrame,
) -> None:
    report = verdict_of(lagging(good_rows, "observer-1", 1500), load_policy())
    assert named(report, "harness_lag")["verdict"] == "inconclusive"
    assert named(report, "pubnub_delivery")["verdict"] == "inconclusive"
    hopeless = lagging(slower(good_rows, "delivery", 60), "observer-1", 1500)
    assert named(verdict_of(hopeless, load_policy()), "pubnub_delivery")["verdict"] == "inconclusive"


def test_what_the_harness_does_not_stamp_is_not_widened(good_rows: pd.DataFrame) -> None:
    late = lagging(lagging(good_rows, "observer-1", 900), "load", 900)
    report = verdict_of(late, load_policy())
    widened = {row["name"] for row in report["objectives"] if row["lag_error"] > 0}
    assert widened == {"broadcast_latency", "pubnub_delivery", "monitor_execution"}


def test_a_single_tick_over_the_ceiling_by_less_than_the_lag_is_neither_pass_nor_fail(
    good_rows: pd.DataFrame,
) -> None:
    rows = good_rows.copy()
    tick = rows.index[of(rows, "monitor", "tick") & steady(rows)][40]
    rows.loc[tick, "end_ns"] = rows.loc[tick, "intended_ns"] + int(30.5 * NS)
    row = named(verdict_of(rows, load_policy()), "monitor_execution")
    assert (row["verdict"], row["ceiling"]["violations"]) == ("fail", 1)

    row = named(verdict_of(lagging(rows, "load", 900), load_policy()), "monitor_execution")
    assert (row["verdict"], row["ceiling"]["violations"]) == ("inconclusive", 0)
    assert "The longest took 30.5 s, over 30.0 s by no more than lag" in row["reason"]


def test_lag_is_the_99th_percentile_of_the_worst_of_those_who_stamp(good_rows: pd.DataFrame) -> None:
    assert lag_of(lagging(good_rows, "observer-1", 250), SUBSCRIBERS) == 0.25
    assert lag_of(lagging(good_rows, "load", 250), SUBSCRIBERS) < 0.01
    assert lag_of(lagging(good_rows, "load", 250), CRON) == 0.25

    # One second in two minutes is beyond the percentile, three are not.
    once = good_rows.copy()
    seconds = once.index[of(once, "resource", "loop_lag_ms") & (once["actor"] == "observer-1") & steady(once)]
    once.loc[seconds[50], "value"] = 800.0
    assert lag_of(once, SUBSCRIBERS) < 0.01
    once.loc[seconds[50:53], "value"] = 800.0
    assert lag_of(once, SUBSCRIBERS) == 0.8

    # Of two observers the worse, and not the one that watches the database: it stamps nothing.
    lags = once[of(once, "resource", "loop_lag_ms") & (once["actor"] == "observer-1")]
    for actor, expected in (("observer-2", 5.0), ("observer-watch", 0.8)):
        more = pd.concat([once, lags.assign(actor=actor, value=5000.0)], ignore_index=True)
        assert lag_of(more, SUBSCRIBERS) == expected


def test_lag_outside_the_steady_state_or_unknown_widens_nothing(good_rows: pd.DataFrame) -> None:
    warm = good_rows.copy()
    before = of(warm, "resource", "loop_lag_ms") & (warm["start_ns"] < START + SHAPE.warm_up * NS)
    warm.loc[before, "value"] = 5000.0
    assert lag_of(warm, SUBSCRIBERS) < 0.01
    assert lag_of(good_rows[~of(good_rows, "resource", "loop_lag_ms")], SUBSCRIBERS) == 0
    unreadable = lagging(good_rows, "observer-1", np.nan)
    assert lag_of(unreadable, SUBSCRIBERS) == 0


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        # A report of before lag was taken off.
        ({}, "fail"),
        ({"lag_error": 0.05}, "fail"),
        ({"lag_error": 0.2}, "inconclusive"),
        ({"lag_error": 0.05, "clock_error": 0.06}, "inconclusive"),
        ({"interval": [0.8, 0.9], "lag_error": 0.5}, "pass"),
        ({"interval": [0.8, 0.9], "clock_error": 0.2, "lag_error": 0.5}, "inconclusive"),
        ({"interval": ["infinity", "infinity"], "lag_error": 0.5}, "fail"),
    ],
)
def test_only_the_lower_end_gives_way(changes: dict[str, Any], verdict: str) -> None:
    assert latency_row(**{"interval": [1.1, 1.2]} | changes).verdict == verdict


def test_the_probe_effect_is_the_harnesss_share_of_the_parts_and_not_of_the_machine(
    good_rows: pd.DataFrame,
) -> None:
    rows = good_rows.copy()
    for actor, percent in (("load", 20.0), ("observer-1", 30.0), ("service-1", 150.0)):
        rows.loc[of(rows, "resource", "cpu_percent") & (rows["actor"] == actor), "value"] = percent
    machine = rows[of(rows, "resource", "cpu_percent") & (rows["actor"] == "load")]
    rows = pd.concat([rows, machine.assign(actor="machine", value=99.0)], ignore_index=True)

    def share(rows: pd.DataFrame) -> float | None:
        return probe_effect(evidence_of(history_of(rows), run_of(SHAPE), load_policy())).measured

    assert share(rows) == pytest.approx(25.0)
    assert share(rows[~of(rows, "resource", "cpu_percent")]) is None
