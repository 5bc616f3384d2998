"""report.json, its views, and the gate that reads it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from rich.console import Console

from fixtures.synthetic_run import NS, START, Shape, synthetic_rows, write_file, write_run
from harness.cli import main
from harness.documents.report import Report
from harness.files import DocumentError
from harness.history import RunFolder
from harness.report import read_report, write_reports
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import print_summary
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import document_of

SHAPE = Shape(games_at_once=200, seconds=120, http_per_s=60)
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A good run with one scenario, judged and reported."""
    folder = write_run(tmp_path_factory.mktemp("reports"), synthetic_rows(SHAPE), SHAPE, files=3)
    scenario = folder.scenarios / "pubnub-outage"
    scenario.mkdir(parents=True)
    document = {
        "id": "pubnub-outage", "outcome": "passed", "seconds": 21.5, "message": None,
        "command": "pytest scenarios/failure -k pubnub_outage",
        "faults": [
            {
                "name": "PubNub unreachable", "place": "network", "started_at": "2026-11-23T21:00:00Z",
                "ended_at": "2026-11-23T21:00:10Z", "detected_after_s": 1.2, "recovered_after_s": 2.5,
                "expectations": [
                    {"name": "games go on", "verdict": "pass", "measured": 100.0, "threshold": 100.0},
                ],
            },
        ],
    }  # fmt: skip
    (scenario / "scenario.json").write_text(json.dumps(document), encoding="utf-8")
    write_reports(folder, load_policy())
    return folder


@pytest.fixture
def report(run: RunFolder) -> dict[str, Any]:
    return document_of(read_report(run.path))


@pytest.fixture
def failing(report: dict[str, Any]) -> dict[str, Any]:
    """The same report with a broken promise, an inconclusive one, a violation and a failed scenario."""
    spoiled = copy.deepcopy(report)
    latency = next(row for row in spoiled["objectives"] if row["name"] == "broadcast_latency")
    latency |= {
        "measured": 2.5,
        "interval": [2.4, "infinity"],
        "verdict": "fail",
        "reason": "Slow | <b>.",
    }
    delivery = next(row for row in spoiled["objectives"] if row["name"] == "pubnub_delivery")
    delivery |= {
        "measured": 1.0,
        "interval": [0.9, 1.2],
        "verdict": "inconclusive",
        "samples_needed": 99_000,
    }
    early = next(row for row in spoiled["integrity"] if row["name"] == "early")
    early |= {
        "violations": 1,
        "verdict": "fail",
        "examples": [{"detail": "2.000 ms early", "game": "game-9"}],
    }
    spoiled["scenarios"].append(
        {
            "id": "crash",
            "outcome": "failed",
            "seconds": 3.0,
            "message": "bell \x07 and <tag>",
            "command": "pytest",
        }
    )
    scenarios = next(row for row in spoiled["objectives"] if row["name"] == "scenarios_passed")
    scenarios |= {"measured": 50.0, "interval": [50.0, 50.0], "samples": 2, "verdict": "fail"}
    spoiled["verdict"] = "fail"
    Report.model_validate(spoiled)
    return spoiled


def gate(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["gate", *map(str, arguments)])


def save(report: dict[str, Any], folder: Path) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


# --- what is written -----------------------------------------------------------------------------------


def test_a_run_gets_its_four_reports(run: RunFolder) -> None:
    found = {path.name for path in run.path.iterdir() if path.is_file()}
    assert {"report.json", "report.html", "report.md", "junit.xml"} <= found
    assert (run.path / "report.html").stat().st_size < 3_000_000


def test_scenarios_and_their_faults_are_merged(report: dict[str, Any]) -> None:
    assert [scenario["id"] for scenario in report["scenarios"]] == ["pubnub-outage"]
    fault = report["faults"][0]
    assert (fault["scenario"], fault["recovered_after_s"]) == ("pubnub-outage", 2.5)
    assert [expectation["verdict"] for expectation in fault["expectations"]] == ["pass"]


def test_a_scenario_that_left_rubbish_is_an_error_of_that_scenario(tmp_path: Path) -> None:
    shape = Shape(games_at_once=3, seconds=15)
    run = write_run(tmp_path, synthetic_rows(shape), shape)
    (run.scenarios / "broken").mkdir(parents=True)
    (run.scenarios / "broken" / "scenario.json").write_text("{", encoding="utf-8")
    report = document_of(write_reports(run, load_policy()))
    assert [(row["id"], row["outcome"]) for row in report["scenarios"]] == [("broken", "error")]


def test_judging_again_changes_nothing_but_the_reports(run: RunFolder) -> None:
    def state() -> dict[str, bytes]:
        files = [path for path in run.path.rglob("*") if path.is_file() and "report" not in path.name]
        return {str(path): path.read_bytes() for path in files if path.name != "junit.xml"}

    before = state()
    write_reports(run, load_policy())
    assert state() == before


def test_report_json_has_no_number_that_json_has_not(run: RunFolder) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(run.report_json.read_text(encoding="utf-8"), parse_constant=refuse)


# --- golden views --------------------------------------------------------------------------------------

FIXED_RUN = {
    "id": "20261123-210000-0000-golden", "kind": "golden", "started_at": "2026-11-23T21:00:00.000+00:00",
    "finished_at": "2026-11-23T21:02:05.000+00:00", "versions": {"python": "3.11.0"},
    "machine": {"system": "Linux", "cores": 2},
}  # fmt: skip


@pytest.mark.parametrize("view", ["report.md", "junit.xml", "terminal.txt"])
@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_the_views_are_as_they_were_agreed(
    view: str, verdict: str, report: dict[str, Any], failing: dict[str, Any]
) -> None:
    spoiled = copy.deepcopy(report if verdict == "pass" else failing)
    spoiled["run"] |= FIXED_RUN
    document = Report.model_validate(spoiled)
    if view == "report.md":
        text = render_markdown(document)
    elif view == "junit.xml":
        text = render_junit(document)
    else:
        console = Console(record=True, width=110, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as the console
        print_summary(document, console)
        text = console.export_text()
    golden = GOLDEN / f"{verdict}-{view}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        f"differs from {golden.name}; if that is meant, run with UPDATE_GOLDEN=1"
    )


def test_junit_counts_its_cases(failing: dict[str, Any]) -> None:
    root = ET.fromstring(render_junit(Report.model_validate(failing)))
    objectives = next(suite for suite in root if suite.get("name") == "objectives")
    assert (objectives.get("tests"), objectives.get("failures"), objectives.get("errors")) == ("10", "2", "1")


# --- the gate ------------------------------------------------------------------------------------------


def test_the_gate_opens_for_a_pass(run: RunFolder) -> None:
    for path in (run.path, run.report_json):
        result = gate(path)
        assert (result.exit_code, result.output) == (0, f"{run.id}: pass\n")


def test_the_gate_closes_for_a_fail_and_names_the_rows(failing: dict[str, Any], tmp_path: Path) -> None:
    result = gate(save(failing, tmp_path))
    assert result.exit_code == 1
    assert "objective broadcast_latency: p95 2.50 s (2.40 s to never), promised < 2 s. Slow" in result.output
    assert "integrity early: 1 of" in result.output
    assert "game game-9: 2.000 ms early" in result.output


def inconclusive(report: dict[str, Any]) -> dict[str, Any]:
    row = next(row for row in report["objectives"] if row["name"] == "pubnub_delivery")
    row |= {"measured": 1.0, "interval": [0.9, 1.2], "verdict": "inconclusive"}
    report["verdict"] = "inconclusive"
    return report


def test_an_inconclusive_report_exits_3_unless_that_row_is_allowed(
    report: dict[str, Any], failing: dict[str, Any], tmp_path: Path
) -> None:
    path = save(inconclusive(report), tmp_path)
    assert gate(path).exit_code == 3
    allowed = gate(path, "--allow-inconclusive", "pubnub_delivery")
    assert allowed.exit_code == 0
    assert "allowed" in allowed.output
    assert gate(path, "--allow-inconclusive", "availability").exit_code == 3
    # A fail is not what was allowed.
    assert gate(save(failing, tmp_path), "--allow-inconclusive", "broadcast_latency").exit_code == 1


def test_an_allowed_name_that_no_report_has_is_wrong_usage(run: RunFolder) -> None:
    result = gate(run.path, "--allow-inconclusive", "latency")
    assert result.exit_code == 2
    assert "no such row" in result.output


def test_of_several_reports_the_worst_decides(
    run: RunFolder, failing: dict[str, Any], tmp_path: Path
) -> None:
    path = save(failing, tmp_path)
    assert gate(run.path, path).exit_code == 1
    assert gate(run.path, path, tmp_path / "nowhere").exit_code == 4


def test_thresholds_can_be_set_at_the_gate(run: RunFolder) -> None:
    result = gate(run.path, "--set", "broadcast_latency.threshold=10ms")
    assert result.exit_code == 1
    assert "objective broadcast_latency" in result.output
    assert gate(run.path, "--set", "broadcast_latency.threshold=10min").exit_code == 0


def test_another_quantile_needs_the_samples_and_is_refused(run: RunFolder) -> None:
    result = gate(run.path, "--set", "broadcast_latency.quantile=p99")
    assert result.exit_code == 4
    assert "use `stormwatch report --sla`" in result.output


@pytest.mark.parametrize(
    ("option", "complaint"),
    [("broadcast_latency.threshold", "write NAME=VALUE"), ("x.y=1s", "nothing is called")],
)
def test_a_malformed_override_is_wrong_usage(option: str, complaint: str, run: RunFolder) -> None:
    result = gate(run.path, "--set", option)
    assert result.exit_code == 2
    assert complaint in result.output


def edit_verdict(report: dict[str, Any]) -> None:
    inconclusive(report)["verdict"] = "pass"


def edit_row(report: dict[str, Any]) -> None:
    row = inconclusive(report)["objectives"][3]
    row["verdict"] = report["verdict"] = "pass"


def hide_a_violation(report: dict[str, Any]) -> None:
    report["integrity"][0]["violations"] = 3


def hide_a_doubt(report: dict[str, Any]) -> None:
    report["measurement"]["checks"][0]["verdict"] = "inconclusive"


def drop_a_field(report: dict[str, Any]) -> None:
    del report["objectives"][0]["source"]


def drop_all_objectives(report: dict[str, Any]) -> None:
    report["objectives"] = []


def another_schema(report: dict[str, Any]) -> None:
    report["schema"] = "stormwatch.report/9"


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (edit_verdict, "the report says pass, but its figures say inconclusive"),
        (edit_row, "objective 'pubnub_delivery' says pass, but its figures say inconclusive"),
        (hide_a_violation, "integrity row 'lost_transitions' says pass, but its figures say fail"),
        (hide_a_doubt, "the measurement says pass"),
        (drop_a_field, "objectives.0.source: Field required"),
        (drop_all_objectives, "objectives: Tuple should have at least 1 item"),
        (another_schema, "schema is 'stormwatch.report/9'"),
    ],
)
def test_an_edited_report_is_no_evidence(
    edit: Any, complaint: str, report: dict[str, Any], tmp_path: Path
) -> None:
    edit(report)
    result = gate(save(report, tmp_path))
    assert result.exit_code == 4
    assert complaint in result.output


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such report"), ("", "not JSON"), ("{", "not JSON"), ("[]", "schema is 'list'"),
        ('{"schema": NaN}', "NaN is no JSON"), ("[" * 100_000, "nested deeper"), ("\udcff", "can't be read"),
    ],
)  # fmt: skip
def test_a_report_that_can_not_be_read_exits_4_with_one_line(
    content: str | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    result = gate(path)
    assert result.exit_code == 4
    assert complaint in result.output
    assert len(result.output.splitlines()) == 1


# --- stormwatch report ---------------------------------------------------------------------------------


def report_command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_report_judges_again_by_another_policy(tmp_path: Path) -> None:
    shape = Shape(games_at_once=20, seconds=30)
    run = write_run(tmp_path, synthetic_rows(shape), shape)
    run.point_latest_here()
    result = report_command(tmp_path / "latest", "--set", "pubnub_delivery.threshold=1ms")
    assert result.exit_code == 0
    assert str(run.path / "report.html") in result.output
    assert read_report(run.path).verdict == "fail"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["nowhere"], 4, "no such run"),
        (["."], 4, "not a run folder"),
        ([".", "--sla", "nowhere.toml"], 4, "not a run folder"),
    ],
)
def test_report_names_what_it_can_not_find(
    arguments: list[str], code: int, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = report_command(*arguments)
    assert (result.exit_code, complaint in result.output) == (code, True)


def test_a_folder_that_can_not_be_written_keeps_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(games_at_once=5, seconds=15)
    run = write_run(tmp_path, synthetic_rows(shape), shape)
    write_reports(run, load_policy())
    old = run.report_json.read_bytes()

    def full(texts: dict[Path, str]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.report.write.write_together", full)
    result = report_command(run.path)
    assert result.exit_code == 4
    assert "No space left on device" in result.output
    assert run.report_json.read_bytes() == old


# --- histories that are not as they should be ----------------------------------------------------------


def test_histories_of_two_runs_are_not_judged_together(tmp_path: Path) -> None:
    shape = Shape(games_at_once=5, seconds=15)
    rows = synthetic_rows(shape)
    run = write_run(tmp_path, rows, shape)
    write_file(run.history / "other.arrow", rows.head(10), "another-run", "other")
    result = report_command(run.path)
    assert (result.exit_code, "rows of 2 runs are mixed" in result.output) == (4, True)


def test_a_history_cut_off_anywhere_is_read_up_to_there_and_never_passes(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(SHAPE), SHAPE, files=2)
    path = run.history / "synthetic-1.arrow"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = document_of(write_reports(run, load_policy()))
    assert report["verdict"] == "inconclusive"
    assert any("synthetic-1.arrow" in row["explanation"] for row in report["measurement"]["checks"])


def test_an_empty_file_and_a_run_without_history_are_inconclusive(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(Shape(games_at_once=5, seconds=15)).head(0), Shape(seconds=15))
    (run.history / "dead.arrow").touch()
    assert write_reports(run, load_policy()).verdict == "inconclusive"


def test_a_run_that_was_interrupted_is_reported_and_inconclusive(tmp_path: Path) -> None:
    rows = synthetic_rows(SHAPE)
    seen = rows[rows["start_ns"] < START + 70 * NS]
    run = write_run(tmp_path, seen, SHAPE, interrupted=True)
    report = document_of(write_reports(run, load_policy()))
    assert report["verdict"] == "inconclusive"
    assert next(row for row in report["objectives"] if row["name"] == "broadcast_latency")["samples"] > 1000


def test_a_report_error_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"report\.json: no such report"):
        read_report(tmp_path)
