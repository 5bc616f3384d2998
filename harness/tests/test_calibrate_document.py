"""The document of a calibration: written, refused when it is not one, and shown in later reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.calibrate.judge import calibration
from harness.calibrate.measure import Findings, Lost
from harness.calibrate.plan import Plan
from harness.documents.base import read_document
from harness.documents.calibration import NAME, WAY_OUT, Calibration, newest_calibration
from harness.documents.report import Report
from harness.files import DocumentError
from harness.history import RunFolder, create_run
from harness.report.calibration import NONE, complaints, delays, figures, losses, paths, summary
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.test_calibrate_judge import GAMES, QUIET, measured

SHAPE = Shape(games_at_once=5, seconds=20)


def calibrated(reports: Path, *, off_s: float = 0.0, day: str | None = None) -> tuple[RunFolder, Calibration]:
    """Write a calibration under ``reports``, whose delay of 50 ms is reported ``off_s`` wrongly."""
    run = create_run(reports, "calibrate")
    lost = Lost("lost", GAMES, GAMES, 10)
    found = calibration(run, Plan(), Findings([measured({0.05: off_s})], [lost], [], QUIET))
    if day:
        found = found.model_copy(update={"finished_at": f"{day}T00:00:00.000+00:00"})
    (run.path / NAME).write_text(found.text(), encoding="utf-8")
    return run, found


def report_in(reports: Path) -> Report:
    return write_reports(write_run(reports, synthetic_rows(SHAPE), SHAPE), load_policy())


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    run, found = calibrated(tmp_path)
    assert read_document(run.path / NAME, Calibration, WAY_OUT) == found
    assert found.verdict == "pass"
    assert found.options == {"delays_ms": [0, 5, 50, 500, 2000], "repetitions": 50}


def test_a_doubt_leaves_a_calibration_open_and_so_do_no_rows(tmp_path: Path) -> None:
    good, wrong = calibrated(tmp_path)[1], calibrated(tmp_path, off_s=0.020)[1]
    doubts = {"doubts": ("History files whole: 1 cut off",)}
    assert good.model_copy(update=doubts).verdict == "inconclusive"
    assert good.model_copy(update={"rows": ()}).verdict == "inconclusive"
    assert wrong.model_copy(update=doubts).verdict == "fail"


def test_an_error_makes_the_whole_calibration_fail(tmp_path: Path) -> None:
    assert calibrated(tmp_path, off_s=0.020)[1].verdict == "fail"


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda d: d.update(verdict="pass"), "says pass, but its figures say fail; make one with"),
        (lambda d: d.update(schema="stormwatch.calibration/9"), "schema is 'stormwatch.calibration/9'"),
        (lambda d: d.pop("rows"), "rows: Field required"),
        (lambda d: d["rows"][0].pop("allowed"), "rows.0.allowed: Field required"),
        (lambda d: d.update(doubts="none"), "doubts: Input should be a valid tuple, found 'none'"),
    ],
)
def test_a_calibration_that_is_none_is_refused_by_name(edit: Any, complaint: str, tmp_path: Path) -> None:
    run, found = calibrated(tmp_path, off_s=0.020)
    spoiled = json.loads(found.text())
    edit(spoiled)
    path = run.path / NAME
    path.write_text(json.dumps(spoiled), encoding="utf-8")
    with pytest.raises(DocumentError, match=NAME) as refused:
        read_document(path, Calibration, WAY_OUT)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_file_that_is_no_calibration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content, encoding="utf-8")
    with pytest.raises(DocumentError, match=NAME):
        read_document(tmp_path / NAME, Calibration, WAY_OUT)
    with pytest.raises(DocumentError, match="there is none; make one"):
        read_document(tmp_path / "nowhere.json", Calibration, WAY_OUT)


def test_the_newest_that_can_be_read_is_found(tmp_path: Path) -> None:
    assert newest_calibration(tmp_path) is None
    assert newest_calibration(tmp_path / "nowhere") is None
    days = ("2026-01-02", "2026-03-04", "2026-02-03")
    runs = [calibrated(tmp_path, day=day)[0] for day in days]
    found = newest_calibration(tmp_path)
    assert found is not None
    assert found.run == runs[1].id
    (runs[1].path / NAME).write_text("{", encoding="utf-8")
    found = newest_calibration(tmp_path)
    assert found is not None
    assert found.run == runs[2].id


def test_a_report_shows_the_newest_calibration_with_its_date(tmp_path: Path) -> None:
    run, found = calibrated(tmp_path)
    report = report_in(tmp_path)
    shown = report.measurement.calibration
    assert shown is not None
    assert (shown.run, shown.verdict, shown.same_machine) == (run.id, "pass", True)
    moment = found.finished_at[:16].replace("T", " ")
    for page in (render_markdown(report), render_html(report)):
        assert f"Calibrated {moment} UTC on this machine" in page
        assert "PubNub delivery" in page
        assert "Lost events" in page
        assert "+0.0" in page or "−0.0" in page


def test_a_report_says_in_a_line_that_there_is_no_calibration(tmp_path: Path) -> None:
    report = report_in(tmp_path)
    assert report.measurement.calibration is None
    assert NONE in render_markdown(report)
    assert NONE.replace("`", "") in render_html(report)


def test_a_calibration_that_can_not_be_read_never_costs_a_report(tmp_path: Path) -> None:
    run, _ = calibrated(tmp_path)
    (run.path / NAME).write_bytes(b"\xff\xfe")
    assert report_in(tmp_path).measurement.calibration is None


def test_a_failed_calibration_is_shown_with_its_reason_and_judges_no_run(tmp_path: Path) -> None:
    without = report_in(tmp_path).verdict
    calibrated(tmp_path, off_s=0.020)
    report = report_in(tmp_path)
    assert report.verdict == without
    shown = report.measurement.calibration
    assert shown is not None
    (complaint,) = complaints(shown)
    assert complaint.startswith("PubNub delivery, 50 ms at players-pubnub: The error is +")
    assert "something else was reported than was injected" in summary(shown)
    for page in (render_markdown(report), render_html(report)):
        assert "either way is allowed" in page


def test_the_small_table_has_a_column_for_each_delay_and_a_gap_where_one_was_not_measured(
    tmp_path: Path,
) -> None:
    found = calibrated(tmp_path, off_s=0.020)[1].shown_on(None)
    assert found.same_machine is False
    assert "on another machine" in summary(found)
    assert delays(found) == [0.005, 0.05, 0.5, 2.0]
    (path,) = paths(found)
    assert [row and row.verdict for row in path.delays] == ["pass", "fail", "pass", "pass"]
    assert path.delays[1] is not None
    assert figures(path.delays[1])["error"].startswith(("+19.", "+20."))
    assert path.verdict == "fail"
    (lost,) = losses(found)
    assert (lost.title, figures(lost)["injected"], figures(lost)["reported"]) == ("Lost events", "10", "10")

    other = [row.model_copy(update={"path": "http"}) for row in found.rows if row.injected == 0.05]
    gap = found.model_copy(update={"rows": (*found.rows, *other)})
    assert [row is None for row in paths(gap)[1].delays] == [True, False, True, True]
