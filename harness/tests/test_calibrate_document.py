"""calibration.json: what it may be, which is the newest, and what the report of a run shows of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.calibrate.judge import document
from harness.calibrate.measure import Findings, Lost
from harness.calibrate.plan import Plan
from harness.history import RunFolder, create_run
from harness.report.calibration import NONE, complaints, injected, losses, paths, summary
from harness.report.calibration_file import (
    NAME,
    DocumentError,
    derived_verdict,
    in_report,
    newest,
    read,
    schema,
    write,
)
from harness.report.gate import report_schema, validate
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.test_calibrate_judge import GAMES, QUIET, measured

SHAPE = Shape(games_at_once=5, seconds=20)


def calibration(reports: Path, *, off_s: float = 0.0) -> tuple[RunFolder, dict[str, Any]]:
    """A calibration under ``reports``, whose delay of 50 ms is reported ``off_s`` wrongly."""
    run = create_run(reports, "calibrate", options=Plan().document())
    lost = Lost("lost", GAMES, GAMES, 10, 10, 50)
    found = document(run, Findings([measured({0.05: off_s})], [lost], [], QUIET))
    write(run, found)
    return run, found


def report_of(reports: Path) -> dict[str, Any]:
    return write_reports(write_run(reports, synthetic_rows(SHAPE), SHAPE), load_policy())


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    run, found = calibration(tmp_path)
    assert read(run.path / NAME) == json.loads(json.dumps(found))
    assert found["verdict"] == "pass"
    assert found["options"] == {"delays_ms": [0, 5, 50, 500, 2000], "repetitions": 50}
    jsonschema.Draft202012Validator.check_schema(schema())


def test_an_error_makes_the_whole_calibration_fail(tmp_path: Path) -> None:
    assert calibration(tmp_path, off_s=0.020)[1]["verdict"] == "fail"


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda d: d.update(verdict="pass"), "says pass, but its rows say fail; it was edited"),
        (lambda d: d.update(schema="stormwatch.calibration/9"), "run `stormwatch calibrate` again"),
        (lambda d: d.pop("rows"), "'rows' is a required property"),
        (lambda d: d["rows"][0].pop("allowed"), "'allowed' is a required property"),
        (lambda d: d.update(doubts="none"), "doubts"),
    ],
)
def test_a_calibration_that_is_none_is_refused_by_name(edit: Any, complaint: str, tmp_path: Path) -> None:
    run, found = calibration(tmp_path, off_s=0.020)
    spoiled = json.loads(json.dumps(found))
    edit(spoiled)
    path = run.path / NAME
    path.write_text(json.dumps(spoiled), encoding="utf-8")
    with pytest.raises(DocumentError, match=NAME) as refused:
        read(path)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_file_that_is_no_calibration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content, encoding="utf-8")
    with pytest.raises(DocumentError, match=NAME):
        read(tmp_path / NAME)
    with pytest.raises(DocumentError, match="can't be read"):
        read(tmp_path / "nowhere.json")


def test_the_newest_that_can_be_read_is_found(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "nowhere") is None
    ids = []
    for day in ("2026-01-02", "2026-03-04", "2026-02-03"):
        run, found = calibration(tmp_path)
        write(run, found | {"finished_at": f"{day}T00:00:00.000+00:00"})
        ids.append(run.id)
    found = newest(tmp_path)
    assert found is not None
    assert found["run"] == ids[1]
    (tmp_path / ids[1] / NAME).write_text("{", encoding="utf-8")
    found = newest(tmp_path)
    assert found is not None
    assert found["run"] == ids[2]


def test_the_report_and_the_calibration_agree_on_what_a_row_is() -> None:
    own = schema()["$defs"]["row"]
    embedded = report_schema()["$defs"]["calibration"]["properties"]["rows"]["items"]
    assert set(own["required"]) == set(embedded["required"]) == set(embedded["properties"])


def test_a_report_shows_the_newest_calibration_with_its_date(tmp_path: Path) -> None:
    run, found = calibration(tmp_path)
    report = report_of(tmp_path)
    shown = report["measurement"]["calibration"]
    assert (shown["run"], shown["verdict"], shown["same_machine"]) == (run.id, "pass", True)
    moment = found["finished_at"][:16].replace("T", " ")
    for page in (render_markdown(report), render_html(report)):
        assert f"Calibrated {moment} UTC on this machine" in page
        assert "PubNub delivery" in page
        assert "Lost events" in page
        assert "+0.0" in page or "−0.0" in page


def test_a_report_says_in_a_line_that_there_is_no_calibration(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    assert report["measurement"]["calibration"] is None
    assert NONE in render_markdown(report)
    assert NONE.replace("`", "") in render_html(report)
    # A report of before there were calibrations.
    del report["measurement"]["calibration"]
    validate(report)
    assert NONE in render_markdown(report)
    assert NONE.replace("`", "") in render_html(report)


def test_a_calibration_that_can_not_be_read_never_costs_a_report(tmp_path: Path) -> None:
    run, _ = calibration(tmp_path)
    (run.path / NAME).write_bytes(b"\xff\xfe")
    assert report_of(tmp_path)["measurement"]["calibration"] is None


def test_a_failed_calibration_is_shown_with_its_reason_and_judges_no_run(tmp_path: Path) -> None:
    without = report_of(tmp_path)["verdict"]
    calibration(tmp_path, off_s=0.020)
    report = report_of(tmp_path)
    assert report["verdict"] == without
    shown = report["measurement"]["calibration"]
    (complaint,) = complaints(shown)
    assert complaint.startswith("PubNub delivery, 50 ms at players-pubnub: The error is +")
    assert "something else was reported than was injected" in summary(shown)
    for page in (render_markdown(report), render_html(report)):
        assert "either way is allowed" in page


def test_the_small_table_has_a_column_for_each_delay_and_a_gap_where_one_was_not_measured(
    tmp_path: Path,
) -> None:
    found = in_report(calibration(tmp_path, off_s=0.020)[1], None)
    assert found["same_machine"] is False
    assert "on another machine" in summary(found)
    assert injected(found) == ["5 ms", "50 ms", "500 ms", "2 s"]
    (row,) = paths(found)
    assert [one["verdict"] for one in row["errors"]] == ["pass", "fail", "pass", "pass"]
    assert row["errors"][1]["error"].startswith(("+19.", "+20."))
    assert row["verdict"] == "fail"
    assert losses(found) == [{"title": "Lost events", "injected": "10", "reported": "10", "verdict": "pass"}]

    gap = copy.deepcopy(found)
    other = [row | {"path": "http", "title": "Requests"} for row in gap["rows"] if row["injected"] == 0.05]
    gap["rows"] += other
    assert [one["error"] is None for one in paths(gap)[1]["errors"]] == [True, False, True, True]
    assert derived_verdict(gap["rows"], []) == "fail"
