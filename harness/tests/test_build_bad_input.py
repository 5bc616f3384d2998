"""A report of a record that is not as it should be: a named error or a doubt, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import NS, START, Shape, fault_row, synthetic_rows, write_file, write_run
from harness.cli import main
from harness.history import HistoryError, RunFolder
from harness.report import write_reports
from harness.report.build import build_report
from harness.report.scenarios import read_scenarios
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import document_of

pytestmark = pytest.mark.slow

SHAPE = Shape(games_at_once=5, players=2, seconds=20, http_per_s=2)
#: What is shown and not judged: where it is made, and what its absence is noted as.
SHOWN = {
    "stages": "The stages",
    "timeline": "The timeline",
    "worst_games": "The worst games",
    "distribution": "The distribution of broadcast_latency",
    "newest_calibration": "The calibration",
}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture
def run(rows: pd.DataFrame, tmp_path: Path) -> RunFolder:
    return write_run(tmp_path, rows, SHAPE)


def add_scenario(run: RunFolder, text: str, id: str = "outage") -> None:
    (run.scenarios / id).mkdir(parents=True)
    (run.scenarios / id / "scenario.json").write_text(text, encoding="utf-8")


def scenario(**fields: Any) -> str:
    good = {"id": "outage", "outcome": "passed", "seconds": 3.0, "message": None, "faults": []}
    return json.dumps(good | fields)


def fault(**fields: Any) -> dict[str, Any]:
    return {"name": "down", "place": "network", "started_at": "2026-11-23T21:00:00Z"} | fields


def expecting(**fields: Any) -> dict[str, Any]:
    return fault(expectations=[{"name": "fast", "verdict": "pass"} | fields])


# --- scenario.json ---------------------------------------------------------------------------------------

LINE = {"start_ms": 0, "bin_s": 1, "bins": 1, "windows": [], "series": []}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (scenario(seconds=float("nan")), "NaN is no JSON"),
        (scenario(seconds="3 s"), "seconds"),
        (scenario(message=3), "message"),
        (scenario(faults=3), "faults"),
        (scenario(faults=["x"]), "faults.0"),
        (scenario(faults=[fault(started_at="yesterday")]), "faults.0.started_at"),
        (scenario(faults=[fault(recovered_after_s=float("inf"))]), "Infinity is no JSON"),
        (scenario(faults=[expecting(measured="9 s")]), "faults.0.expectations.0.measured"),
        (scenario(faults=[expecting(verdict=None)]), "faults.0.expectations.0.verdict"),
        (scenario(timeline=LINE | {"series": [{"panel": "a", "title": "b", "unit": "s", "values": ["x"]}]}),
         "timeline.series.0.values.0"),
        (scenario(timeline=LINE | {"bin_s": 0}), "timeline.bin_s"),
        # What is not looked at in particular.
        (scenario(faults=[expecting(examples=[{"took": float("nan")}])]), "NaN is no JSON"),
        (scenario().replace("null", '"\\ud800"'), "surrogates not allowed"),
        (scenario().replace("3.0", "1e999"), "seconds: Input should be a finite number"),
        ("[]", "the whole"), ("[" * 100_000, "can't be read"), ("", "can't be read"),
    ],
)  # fmt: skip
def test_a_scenario_that_can_not_be_relied_on_is_an_error_that_names_what_is_wrong(
    text: str, named: str, run: RunFolder
) -> None:
    add_scenario(run, text)
    report = document_of(write_reports(run, load_policy()))
    (row,) = report["scenarios"]
    assert (row["id"], row["outcome"]) == ("outage", "error")
    assert named in row["message"]
    objective = next(row for row in report["objectives"] if row["name"] == "scenarios_passed")
    assert objective["verdict"] == "inconclusive"


def test_a_good_scenario_is_taken_as_it_is(run: RunFolder) -> None:
    line = LINE | {"series": [{"panel": "a", "title": "b", "unit": "s", "values": [1, None, 0.5]}]}
    add_scenario(run, scenario(faults=[expecting(measured=1)], timeline=line, title="PubNub is away"))
    assert read_scenarios(run)[0].title == "PubNub is away"
    report = document_of(write_reports(run, load_policy()))
    assert (report["scenarios"][0]["outcome"], report["scenarios"][0]["timeline"]) == ("passed", line)
    assert report["faults"][0]["expectations"][0]["measured"] == 1
    assert report["notes"] == []


# --- rows that are out of their minds --------------------------------------------------------------------


def endless(name: str) -> Callable[[pd.DataFrame], None]:
    def spoil(rows: pd.DataFrame) -> None:
        rows.loc[rows["name"] == name, "value"] = np.inf

    return spoil


def times_of_the_next_century(rows: pd.DataFrame) -> None:
    rows.loc[rows["kind"] == "http", "end_ns"] = 2**63 - 1


@pytest.mark.parametrize(
    "spoil",
    [
        *map(endless, ("outbox_depth", "pool_in_use", "cpu_percent", "loop_lag_ms", "clock_offset_ms")),
        endless("wall_minus_monotonic_ms"),
        endless("trigger"),
        times_of_the_next_century,
    ],
)  # fmt: skip
def test_readings_without_end_are_reported_and_never_a_pass(
    spoil: Callable[[pd.DataFrame], None], rows: pd.DataFrame, tmp_path: Path
) -> None:
    spoiled = rows.copy()
    spoil(spoiled)
    report = document_of(write_reports(write_run(tmp_path, spoiled, SHAPE), load_policy()))
    assert report["notes"] == []
    assert report["verdict"] != "pass"


# --- another run's files ---------------------------------------------------------------------------------


def test_the_files_of_another_run_alone_are_not_judged_as_this_one(
    rows: pd.DataFrame, run: RunFolder
) -> None:
    for path in run.history.glob("*.arrow"):
        path.unlink()
    write_file(run.history / "other.arrow", rows, "20260101-000000-0000-another", "other")
    with pytest.raises(HistoryError, match="20260101-000000-0000-another") as caught:
        build_report(run, load_policy())
    assert run.id in str(caught.value)
    result = CliRunner().invoke(main, ["report", str(run.path)])
    assert (result.exit_code, "20260101-000000-0000-another" in result.output) == (4, True)


def test_a_run_whose_folder_was_renamed_is_still_its_own(run: RunFolder) -> None:
    moved = RunFolder(run.path.rename(run.path.with_name("nightly")))
    assert build_report(moved, load_policy()).run.id == "nightly"


# --- what crashes ----------------------------------------------------------------------------------------


def crash(*_: object) -> None:
    raise KeyError("gone")


@pytest.mark.parametrize(("made_by", "what"), SHOWN.items())
def test_what_can_not_be_shown_is_said(
    made_by: str, what: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"harness.report.build.{made_by}", crash)
    report = document_of(write_reports(run, load_policy()))
    assert f"{what} can't be shown: KeyError: 'gone'" in report["notes"]


def test_a_recovery_that_can_not_be_judged_is_inconclusive_and_says_so(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = {"start_ns": START + 10 * NS, "end_ns": START + 12 * NS, "ok": True}
    declared = fault_row("network:down service-pubnub", **at)
    broken = pd.concat([rows, pd.DataFrame([declared])], ignore_index=True).astype(rows.dtypes)
    monkeypatch.setattr("harness.judge.recovery.judge_all", crash)
    report = document_of(write_reports(write_run(tmp_path, broken, SHAPE), load_policy()))
    (row,) = report["faults"]
    assert [one["verdict"] for one in row["expectations"]] == ["inconclusive"]
    assert "KeyError" in row["expectations"][0]["explanation"]
    assert report["verdict"] == "inconclusive"
