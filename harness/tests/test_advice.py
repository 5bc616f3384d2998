"""What a row that is not decided says: how long a run would decide, or what no run would take away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows, write_run
from harness.cli import main
from harness.documents.words import Words
from harness.history.names import Reading
from harness.judge import evidence_of
from harness.report import write_reports
from harness.report.build import report_on
from harness.report.gate import change_thresholds
from harness.report.reasons import conclusion
from harness.sla.policy import load_policy
from harness.tests.synthetic_judging import plus
from harness.tests.synthetic_report import document_of, latency_row
from harness.tests.test_lag import lagging, one_second, slower
from harness.tests.test_verdicts import SHAPE, late_timers, named, of, verdict_of

SMALL = Shape(games_at_once=10, seconds=30, http_per_s=20)


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def test_a_row_that_more_samples_decide_says_so_in_minutes_and_as_an_option() -> None:
    report = document_of(
        report_on(evidence_of(history_of(synthetic_rows(SMALL)), run_of(SMALL), load_policy()), "run")
    )
    row = named(report, "timer_accuracy")
    assert row["verdict"] == "inconclusive"
    minutes = -(-row["samples_needed"] * SMALL.seconds // (60 * row["samples"]))
    assert row["reason"].endswith(f"a run of {minutes} min (--duration {minutes}min).")


def busy_machine(rows: pd.DataFrame, percent: float) -> pd.DataFrame:
    """Other programs use all that the run's own processes leave of ``percent``."""
    second = {"kind": "resource", "name": Reading.CPU, "actor": "machine", "value": percent}
    return plus(rows, *(second | {"start_ns": START + (SMALL.warm_up + 3 + n) * NS} for n in range(3)))


@pytest.mark.parametrize(("percent", "named_as_cause"), [(98, True), (20, False)])
def test_timers_on_a_busy_machine_are_told_what_kept_it_busy(
    percent: float, named_as_cause: bool, tmp_path: Path
) -> None:
    run = write_run(tmp_path, busy_machine(late_timers(synthetic_rows(SMALL)), percent), SMALL)
    report = write_reports(run, load_policy())
    row = named(document_of(report), "timer_accuracy")
    assert row["verdict"] != "pass"
    assert ("% of this machine meanwhile, which may be why" in row["reason"]) is named_as_cause
    changed = change_thresholds(report, {"timer_accuracy.threshold": "99.99%"})
    reason = named(document_of(changed), "timer_accuracy")["reason"]
    assert ("which may be why" in reason) is named_as_cause


def test_lag_that_no_number_of_samples_takes_away_is_said_instead(good_rows: pd.DataFrame) -> None:
    # p95 a little over the second, and 0.9 s of lag that may be in it: a longer run has it too.
    rows = good_rows.copy()
    heard = rows.index[of(rows, "delivery", "phase_changed")]
    rows.loc[heard[::19], "end_ns"] += 1_020_000_000
    row = named(
        verdict_of(lagging(rows, "observer-1", 900), one_second("pubnub_delivery")), "pubnub_delivery"
    )
    assert (row["verdict"], row["samples_needed"]) == ("inconclusive", None)
    assert "lag" in row["reason"]
    assert "more like these" not in row["reason"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lag_error": 1.21}, "lag of the harness may have added up to 1.21 s"),
        ({"clock_error": 0.05}, "the clocks are known to 50.0 ms only"),
        (
            {"clock_error": 0.05, "resolution": 0.04},
            "the witness of moves knows their times to 40.0 ms only",
        ),
        ({"undecided": 7, "resolution": 0.25}, "7 of them may as well be the other way round"),
        ({"interval": [1.01, 1.2], "lag_error": 0.5}, "not by more than the 500 ms"),
        ({}, "no number of samples like these"),
        ({"samples_needed": 700}, "about 600 more like these would."),
    ],
)
def test_a_row_says_what_stands_in_the_way(changes: dict[str, Any], words: str) -> None:
    assert words in conclusion(latency_row(**changes), Words())


def test_the_samples_needed_grant_what_clocks_and_lag_may_be(good_rows: pd.DataFrame) -> None:
    # All take 1.5 s of 2 s, give or take the lag: it is a pass whatever the lag.
    few = slower(synthetic_rows(SMALL), "delivery", 1.0)
    late = few.index[of(few, "delivery", "phase_changed")]
    few.loc[late[::22], "end_ns"] += 2_000_000_000

    def needed(lag_ms: float) -> int | None:
        evidence = evidence_of(history_of(lagging(few, "observer-1", lag_ms)), run_of(SMALL), load_policy())
        found: int | None = named(document_of(report_on(evidence, "run")), "broadcast_latency")[
            "samples_needed"
        ]
        return found

    assert needed(1.0) == needed(900.0)
    assert needed(1.0)


def test_the_gate_gives_the_reason_of_each_row_also_for_another_threshold(tmp_path: Any) -> None:
    run = write_run(tmp_path, lagging(synthetic_rows(SMALL), "observer-1", 900), SMALL)
    write_reports(run, load_policy())
    result = CliRunner().invoke(main, ["gate", str(run.path), "--set", "pubnub_delivery.threshold=14ms"])
    assert result.exit_code == 3
    (line,) = [line for line in result.output.splitlines() if "pubnub_delivery" in line]
    assert "lag of the harness may have added" in line
    for line in result.output.splitlines()[1:]:
        assert not line.rstrip().endswith(("promised", "%", "s")), line
