"""What a doubt makes inconclusive follows from what metrics and integrity rows declare, from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.history import Doubt, Witness, create_run
from harness.history.witnesses import WORKER, doubts, doubts_about, read_doubts
from harness.judge import INTEGRITY, METRICS, Evidence, Samples
from harness.judge.metrics import metric
from harness.report.build import build_report
from harness.sla.metrics import METRICS as DECLARED
from harness.sla.policy import load_policy
from harness.sla.witnesses import rests_on as resting_on
from harness.tests.synthetic_report import document_of
from harness.tests.test_verdicts import (
    SHAPE,
    a_busy_generator,
    an_early_move,
    an_unheard_event,
    named,
    verdict_of,
)

pytestmark = pytest.mark.slow

Report = dict[str, Any]

SMALL = Shape(games_at_once=5, players=2, seconds=20, http_per_s=2)


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def entries(*given: Doubt) -> list[dict[str, str]]:
    return [doubt.entry() for doubt in given]


def inconclusive(report: Report) -> set[str]:
    judged = [*report["objectives"], *report["integrity"]]
    return {row["name"] for row in judged if row["verdict"] == "inconclusive"}


def rests_on(witness: Witness) -> set[str]:
    of_metrics = {name for name, one in DECLARED.items() if witness in one.rests_on}
    of_rows = {name for name, one in INTEGRITY.items() if witness in one.rests_on}
    objectives = {
        name for name, objective in load_policy().objectives.items() if objective.metric in of_metrics
    }
    return objectives - {"scenarios_passed"} | of_rows


def test_everything_that_can_be_promised_declares_its_witnesses() -> None:
    assert set(METRICS) == set(DECLARED)
    for one in (*DECLARED.values(), *INTEGRITY.values()):
        assert one.rests_on - {Witness.RUN, Witness.PATHS}


def test_a_metric_without_a_declaration_does_not_load() -> None:
    def unheard_of(evidence: Evidence) -> Samples:
        raise NotImplementedError

    with pytest.raises(TypeError, match="no metric 'unheard_of'"):
        metric(unheard_of)
    with pytest.raises(TypeError, match="no witness is declared"):
        resting_on()


def test_a_latency_rests_on_the_processes_that_stamp_it() -> None:
    assert Witness.CPU in resting_on(Witness.PLAYERS, timed=True)
    assert Witness.CPU not in resting_on(Witness.PLAYERS) | resting_on(Witness.DATABASE, timed=True)


def test_a_new_latency_is_doubted_by_what_it_declares(
    good_rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "trigger_execution" not in inconclusive(
        verdict_of(a_busy_generator(good_rows.copy()), load_policy())
    )
    of_players = resting_on(Witness.PLAYERS, timed=True)
    monkeypatch.setitem(
        DECLARED, "trigger_execution", replace(DECLARED["trigger_execution"], rests_on=of_players)
    )
    report = verdict_of(a_busy_generator(good_rows.copy()), load_policy())
    assert "trigger_execution" in inconclusive(report)
    assert "trigger_execution" in named(report, "harness_cpu")["touches"]


@pytest.mark.parametrize("witness", Witness)
def test_a_doubt_touches_what_rests_on_its_witness_and_nothing_else(
    witness: Witness, good_rows: pd.DataFrame
) -> None:
    report = verdict_of(good_rows, load_policy(), missing=entries(Doubt(witness, "gone")))
    assert inconclusive(report) == rests_on(witness)
    assert report["verdict"] == "inconclusive"


def test_the_words_of_a_doubt_decide_nothing(good_rows: pd.DataFrame) -> None:
    reason = "observer-watch could not write its whole history"
    report = verdict_of(good_rows, load_policy(), missing=entries(*doubts_about("observer-watch", reason)))
    doubtful = {"timer_accuracy", "trigger_execution", "lost_transitions", "early", "double", "illegal"}
    assert doubtful <= inconclusive(report)
    assert "pubnub_delivery" not in inconclusive(report)
    # One thing is missing, though several witnesses are in doubt by it.
    assert named(report, "witnesses")["measured"] == 1

    other = verdict_of(good_rows, load_policy(), missing=entries(Doubt(Witness.HEALTH, "no database at all")))
    assert inconclusive(other) == {"availability"}


@pytest.mark.parametrize("entry", ["the database was not read", {"witness": "a ghost", "reason": "x"}, 3])
def test_a_doubt_of_another_version_doubts_everything(entry: Any, good_rows: pd.DataFrame) -> None:
    report = verdict_of(good_rows, load_policy(), missing=[entry])
    assert inconclusive(report) == {row["name"] for row in (*report["objectives"], *report["integrity"])}


@pytest.mark.parametrize(
    ("writer", "witnesses"),
    [
        ("cron", {Witness.CRON}),
        ("load", {Witness.PLAYERS}),
        ("load-12", {Witness.PLAYERS}),
        ("observer-3", {Witness.SUBSCRIBERS}),
        ("observer-watch", {Witness.DATABASE, Witness.HEALTH}),
        ("somebody", {Witness.RUN}),
    ],
)
def test_a_history_is_known_by_the_name_of_its_writer(writer: str, witnesses: set[Witness]) -> None:
    assert {doubt.witness for doubt in doubts_about(writer, "gone")} == witnesses


def test_doubts_are_kept_in_the_run_and_added_to(tmp_path: Path) -> None:
    run = create_run(tmp_path, "synthetic")
    run.doubt(Doubt(Witness.DATABASE, "not read"))
    run.doubt(*doubts("load-2 left", *WORKER))
    assert read_doubts(run.read().missing) == [
        Doubt(Witness.DATABASE, "not read"),
        Doubt(Witness.PLAYERS, "load-2 left"),
        Doubt(Witness.SUBSCRIBERS, "load-2 left"),
    ]


def test_what_nobody_could_have_recorded_is_not_lost(good_rows: pd.DataFrame) -> None:
    unheard = an_unheard_event(good_rows.copy())
    assert named(verdict_of(unheard, load_policy()), "lost_events")["verdict"] == "fail"

    for witness in (Witness.SUBSCRIBERS, Witness.PATHS):
        report = verdict_of(unheard, load_policy(), missing=entries(Doubt(witness, "out of open files")))
        row = named(report, "lost_events")
        assert (row["verdict"], row["violations"]) == ("inconclusive", 0)
        assert row["examples"][0]["event"] == "game-5-event-2"
        assert row["doubts"][0].startswith("1 cases were seen, which prove nothing")
        assert report["verdict"] == "inconclusive"


def test_what_is_in_the_record_is_broken_whatever_is_in_doubt(good_rows: pd.DataFrame) -> None:
    rows = an_early_move(good_rows.copy())
    report = verdict_of(rows, load_policy(), missing=entries(Doubt(Witness.PATHS, "out of open files")))
    assert named(report, "early")["verdict"] == "fail"
    assert report["verdict"] == "fail"


def test_a_worker_whose_rows_are_elsewhere_is_named_and_half_a_record_is_not_judged(
    good_rows: pd.DataFrame,
) -> None:
    there = ["synthetic"]
    assert verdict_of(good_rows, load_policy(), recorders=there)["verdict"] == "pass"

    report = verdict_of(good_rows, load_policy(), recorders=[*there, "load-2", "observer-2"])
    assert inconclusive(report) == rests_on(Witness.PLAYERS) | rests_on(Witness.SUBSCRIBERS)
    row = named(report, "witnesses")
    assert row["measured"] == 2
    assert "no history of load-2 is in the run's folder" in row["explanation"]
    assert "no history of observer-2" in row["explanation"]


def test_a_history_that_its_worker_did_not_close_touches_what_it_is_the_record_of(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(SMALL), SMALL)
    (run.history / "observer-1-4711.arrow").touch()
    report = document_of(build_report(run, load_policy()))
    assert named(report, "whole_files")["explanation"].startswith("Cut off: observer-1-4711.arrow")
    assert set(named(report, "whole_files")["witnesses"]) == {Witness.SUBSCRIBERS}
