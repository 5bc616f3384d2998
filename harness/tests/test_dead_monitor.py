"""Ticks that skip are no executions: a monitor that does nothing does not look healthy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, synthetic_rows
from harness.sla.policy import load_policy
from harness.tests.test_verdicts import MIDDLE, SHAPE, named, of, verdict_of

STEADY = START + SHAPE.warm_up * NS
END = START + (SHAPE.warm_up + SHAPE.seconds) * NS


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def skipping(rows: pd.DataFrame, from_ns: int, to_ns: int) -> pd.DataFrame:
    """A dead holder keeps the lock: each tick is answered soon, and says that it skipped."""
    rows = rows.copy()
    ticks = of(rows, "monitor") & (rows["intended_ns"] >= from_ns) & (rows["intended_ns"] < to_ns)
    rows.loc[ticks, "name"] = "skip"
    return rows


def unmoved(rows: pd.DataFrame, from_ns: int, looked_ns: int = END + 20 * NS) -> pd.DataFrame:
    """No game moves any more, and nobody hears anything: what was due is found overdue in the end."""
    of_games = rows["kind"].isin(["transition", "trigger", "publish"]) | of(rows, "delivery", "phase_changed")
    gone = (of_games & (rows["end_ns"] >= from_ns)).fillna(value=False).astype(bool)
    due = rows[gone & of(rows, "transition") & rows["intended_ns"].notna()].copy()
    # Of each game the first that did not come: the others would have come after.
    due = due.sort_values("seq").drop_duplicates("game")
    due["error"] = due["name"].str.partition("->")[0]
    due = due.assign(name="overdue", end_ns=looked_ns, ok=False, event=None, seq=None, start_ns=None)
    return pd.concat([rows[~gone], due.astype(rows.dtypes)], ignore_index=True)


def test_a_monitor_that_skips_all_the_time_while_games_are_due_is_dead(good_rows: pd.DataFrame) -> None:
    report = verdict_of(unmoved(skipping(good_rows, STEADY, END + 60 * NS), STEADY), load_policy())
    failed = {row["name"] for row in report["objectives"] if row["verdict"] == "fail"}
    assert {"monitor_execution", "timer_accuracy", "error_rate", "availability"} <= failed
    monitor = named(report, "monitor_execution")
    assert monitor["measured"] > 30
    assert monitor["ceiling"]["violations"] > 0
    assert monitor["worst"][0]["detail"] == "skipped"
    assert named(report, "lost_transitions")["verdict"] == "fail"


def test_what_fell_due_in_the_warm_up_and_never_moved_counts_in_accuracy(good_rows: pd.DataFrame) -> None:
    # Nothing falls due in the steady state, for nothing moves.
    rows = unmoved(skipping(good_rows, START, END + 60 * NS), START + 4 * NS)
    overdue = of(rows, "transition", "overdue")
    rows = rows[~overdue | (rows["intended_ns"] < STEADY)]
    assert (rows["name"] == "overdue").sum() > 3
    row = named(verdict_of(rows, load_policy()), "timer_accuracy")
    assert (row["verdict"], row["measured"]) == ("fail", 0)


def test_a_span_without_a_working_tick_counts_as_its_length(good_rows: pd.DataFrame) -> None:
    # 20 s in which ticks skip; what was due is moved by the first that works again.
    rows = skipping(good_rows, MIDDLE, MIDDLE + 20 * NS)
    held = of(rows, "transition") & (rows["start_ns"] >= MIDDLE) & (rows["start_ns"] < MIDDLE + 20 * NS)
    held &= rows["intended_ns"].notna()
    rows.loc[held, ["start_ns", "end_ns"]] = [MIDDLE + 20 * NS + 12_000_000, MIDDLE + 20 * NS + 16_000_000]
    report = verdict_of(rows, load_policy())
    row = named(report, "monitor_execution")
    assert row["worst"][0]["value"] == pytest.approx(20, abs=1.1)
    assert row["measured"] > 5
    assert named(report, "error_rate")["worst"][0]["detail"].startswith("skipped")


def test_ticks_that_skip_with_nothing_due_are_no_samples(good_rows: pd.DataFrame) -> None:
    # Another replica ticks a moment earlier and moves all there is.
    rows = good_rows.copy()
    others = rows[of(rows, "monitor")].copy()
    others["name"] = "skip"
    both = pd.concat([rows, others], ignore_index=True)
    report = verdict_of(both, load_policy())
    assert report["verdict"] == "pass"
    alone = verdict_of(good_rows, load_policy())
    for name in ("error_rate", "availability"):
        assert named(report, name)["samples"] == named(alone, name)["samples"]


def test_skips_that_nobody_can_tell_the_reason_of_are_a_doubt(good_rows: pd.DataFrame) -> None:
    rows = skipping(good_rows, MIDDLE, MIDDLE + 20 * NS)
    rows = rows[~of(rows, "transition")]
    row = named(verdict_of(rows, load_policy()), "monitor_execution")
    assert row["verdict"] == "inconclusive"
    assert "no record of the database tells" in row["reason"]


def test_ticks_that_never_left_are_the_harnesss_and_no_fail(good_rows: pd.DataFrame) -> None:
    ticks = of(good_rows, "monitor") & (good_rows["intended_ns"] >= MIDDLE)
    report = verdict_of(unmoved(good_rows[~ticks], MIDDLE), load_policy())
    assert named(report, "tick_lateness")["verdict"] == "inconclusive"
    assert "never left" in named(report, "tick_lateness")["explanation"]
    for name in ("monitor_execution", "timer_accuracy", "lost_transitions"):
        assert named(report, name)["verdict"] == "inconclusive", name
    assert np.isfinite(named(report, "monitor_execution")["measured"])
