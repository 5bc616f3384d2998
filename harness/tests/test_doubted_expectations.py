"""A scenario's expectation is as good as the witnesses of what it looks at."""

from __future__ import annotations

import pandas as pd
import pytest

from fixtures.synthetic_run import history_of, run_of
from harness.documents.rows import Finding
from harness.experiment import HealthyThroughout, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.expect_publishes import NoRetryStorm
from harness.history.names import Publish, Reading
from harness.history.witnesses import Doubt, Witness
from harness.judge import evidence_of
from harness.judge.findings import Expectation, judge_all
from harness.sla.policy import load_policy
from harness.tests.synthetic_judging import FAULT, SHAPE, at, during, plus


def judge(expectation: Expectation, rows: pd.DataFrame, *doubts: Doubt) -> Finding:
    about = run_of(SHAPE, missing=[doubt.entry() for doubt in doubts])
    return judge_all(evidence_of(history_of(rows), about, load_policy()), FAULT, [expectation])[0]


@pytest.mark.parametrize(
    ("expectation", "kind", "witness", "other"),
    [
        (NobodyFails(), "http", Witness.PLAYERS, Witness.DATABASE),
        (MonitorP95(), "monitor", Witness.CRON, Witness.PLAYERS),
        (MonitorP95(), "monitor", Witness.SCHEDULE, Witness.SUBSCRIBERS_CLOCK),
        (HealthyThroughout(), "health", Witness.HEALTH, Witness.CRON),
    ],
)
def test_it_neither_fails_nor_passes_where_its_witness_is_in_doubt(
    good: pd.DataFrame, expectation: Expectation, kind: str, witness: Witness, other: Witness
) -> None:
    bad = good.copy()
    bad.loc[during(bad, kind), "ok"] = False
    doubt, elsewhere = Doubt(witness, "load-2 ran out of open files"), Doubt(other, "it was not there")
    assert judge(expectation, bad).verdict == "fail"
    assert judge(expectation, bad, elsewhere).verdict == "fail"
    assert judge(expectation, good, elsewhere).verdict == "pass"
    for rows in (bad, good):
        finding = judge(expectation, rows, doubt)
        assert finding.verdict == "inconclusive"
        assert finding.explanation.startswith("load-2 ran out of open files")
    assert judge(expectation, bad, Doubt(Witness.RUN, "it was cut off")).verdict == "inconclusive"


def test_attempts_to_publish_rest_on_the_log_of_them_and_not_on_the_database(good: pd.DataFrame) -> None:
    attempts = [
        {"kind": "publish", "name": Publish.ATTEMPT, "actor": "pubnub", "event": f"e-{n}", "start_ns": at(22)}
        for n in range(200)
    ]
    storm = plus(good, *attempts)
    calm = NoRetryStorm(per_event=2, per_second=5)
    assert judge(calm, storm).verdict == "fail"
    assert judge(calm, storm, Doubt(Witness.DATABASE, "it was not read")).verdict == "fail"
    unread = judge(calm, storm, Doubt(Witness.PUBLISH_LOG, "the log of attempts was not read"))
    assert (unread.verdict, unread.explanation.partition(";")[0]) == (
        "inconclusive",
        "the log of attempts was not read",
    )


def test_moves_that_ticks_only_group_do_not_rest_on_the_record_of_ticks(good: pd.DataFrame) -> None:
    assert judge(TimersOnTime(1.0), good, Doubt(Witness.CRON, "no ticks of ours")).verdict == "pass"


def test_rows_that_could_not_be_recorded_put_their_writer_in_doubt(good: pd.DataFrame) -> None:
    told = {
        "kind": "resource",
        "name": Reading.ROWS_DROPPED,
        "actor": "load",
        "start_ns": at(5),
        "value": 2.0,
    }
    finding = judge(NobodyFails(), plus(good, told | {"error": "ArrowInvalid in a row of 'http' 'GET /'"}))
    assert finding.verdict == "inconclusive"
    assert "2 rows of load can't be recorded: ArrowInvalid in a row of 'http' 'GET /'" in finding.explanation
