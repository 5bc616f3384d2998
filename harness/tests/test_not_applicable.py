"""What is absent by choice is named once and not counted: no fail, no doubt, and no pass by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from rich.console import Console

from fixtures.synthetic_run import history_of, run_of, synthetic_rows, windows, write_run
from harness.commands.gate import command
from harness.documents.report import Report
from harness.history import Doubt, History, Witness
from harness.live.document import Snapshot, judge_so_far, live_document
from harness.live.terminal import one_line, render
from harness.report.gate import judge_again
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.terminal import print_summary
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import report_of
from harness.tests.test_verdicts import SHAPE, late_timers, named, verdict_of

NO_TICKS = "no ticks of ours: STORMWATCH_MAY_TICK does not name the target's address"
ABSENT = [Doubt(Witness.CRON, NO_TICKS).entry()]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Return a good run whose cron is elsewhere: it has no ticks of ours."""
    rows = synthetic_rows(SHAPE)
    return rows[rows["kind"] != "monitor"]


@pytest.fixture(scope="module")
def report(rows: pd.DataFrame) -> dict[str, Any]:
    return verdict_of(rows, load_policy(), absent=ABSENT)


def test_without_ticks_of_ours_monitoring_is_not_applicable_and_the_rest_is_judged(
    report: dict[str, Any],
) -> None:
    assert report["verdict"] == "pass"
    monitor = named(report, "monitor_execution")
    assert (monitor["verdict"], monitor["samples"]) == ("not applicable", 0)
    assert NO_TICKS in monitor["reason"]
    others = {row["verdict"] for row in report["objectives"] if row is not monitor}
    assert others == {"pass"}


def test_without_pubnub_nobody_asks_for_its_clock(rows: pd.DataFrame) -> None:
    rows = rows[rows["actor"] != "pubnub"].copy()
    heard = rows["kind"] == "delivery"
    rows.loc[heard & (rows["name"] == "subscribe"), "place"] = "WebSocket"
    rows.loc[heard & (rows["name"] == "phase_changed"), "start_ns"] = pd.NA
    report = verdict_of(rows, load_policy(), absent=ABSENT)
    assert named(report, "pubnub_delivery")["verdict"] == "not applicable"
    assert named(report, "pubnub_clock")["explanation"] == "Nothing was measured by it."
    assert report["verdict"] == "pass"


def test_a_broken_promise_still_fails(rows: pd.DataFrame) -> None:
    found = verdict_of(late_timers(rows.copy()), load_policy(), absent=ABSENT)
    assert (found["verdict"], named(found, "timer_accuracy")["verdict"]) == ("fail", "fail")


def test_an_unknown_schedule_leaves_timers_undecided(rows: pd.DataFrame) -> None:
    unknown = [Doubt(Witness.SCHEDULE, "how often the target's own cron ticks is not known").entry()]
    found = verdict_of(late_timers(rows.copy()), load_policy(), absent=ABSENT, missing=unknown)
    assert named(found, "timer_accuracy")["verdict"] == "inconclusive"
    assert named(found, "monitor_execution")["verdict"] == "not applicable"


def test_what_is_not_applicable_alone_is_no_pass(report: dict[str, Any], tmp_path: Path) -> None:
    policy = load_policy()
    only = policy.model_copy(
        update={"objectives": {"monitor_execution": policy.objectives["monitor_execution"]}}
    )
    assert judge_again(report_of(report), only).verdict == "inconclusive"


def test_a_row_with_samples_cannot_be_declared_absent(report: dict[str, Any]) -> None:
    forged = [
        row | {"absent": NO_TICKS, "verdict": "not applicable"} if row["samples"] else row
        for row in report["objectives"]
    ]
    with pytest.raises(ValidationError, match="its figures say"):
        Report.model_validate({**report, "objectives": forged})


def test_every_view_names_it_once(report: dict[str, Any]) -> None:
    console = Console(width=200)
    with console.capture() as terminal:
        print_summary(report_of(report), console)
    for view in (terminal.get(), render_markdown(report_of(report)), render_junit(report_of(report))):
        assert view.count("STORMWATCH_MAY_TICK") == 1, view
    assert render_junit(report_of(report)).count('type="not applicable"') == 1
    page = render_html(report_of(report))
    assert "not applicable" in page
    assert page.count("STORMWATCH_MAY_TICK") == 1


def test_the_gate_passes_and_names_it(rows: pd.DataFrame, tmp_path: Path) -> None:
    run = write_run(tmp_path, rows, SHAPE, absent=ABSENT)
    write_reports(run, load_policy())
    result = CliRunner().invoke(command, [str(run.path)])
    assert (result.exit_code, result.output.count(NO_TICKS)) == (0, 1), result.output
    assert ": pass" in result.output


def test_the_live_view_shows_it_from_the_start(rows: pd.DataFrame) -> None:
    spans = windows(SHAPE)
    history: History = history_of(rows)
    about = run_of(SHAPE, absent=ABSENT, windows=spans[:1])
    snapshot = Snapshot("run", spans[0]["end_ns"], about, history)
    figures = judge_so_far(snapshot, load_policy())
    monitor = next(row for row in figures.objectives if row.name == "monitor_execution")
    assert (monitor.verdict, NO_TICKS in monitor.reason) == ("not applicable", True)
    document = live_document(snapshot, figures, every_s=1.0)
    assert "not applicable" not in one_line(document)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(document, snapshot.at_ns / 1e9))
    assert "–" in shown.get()


def test_the_live_view_has_integrity_that_no_witness_can_tell(rows: pd.DataFrame) -> None:
    found = judge_so_far(
        Snapshot("run", windows(SHAPE)[0]["end_ns"], run_of(SHAPE), history_of(rows.assign(said=None))),
        load_policy(),
    )
    assert {row.name: row.verdict for row in found.integrity}["told_wrongly"] == "not applicable"


def test_scenarios_that_were_skipped_are_told_by_their_reason_once(report: dict[str, Any]) -> None:
    why = "quiz needs no pubnub on a local stack"
    skipped = [
        {"id": f"outage.{fault}", "outcome": "skipped", "message": f"network:{fault} service-pubnub: {why}"}
        for fault in ("down", "stall")
    ]
    console = Console(width=200)
    with console.capture() as terminal:
        print_summary(report_of({**report, "scenarios": [*report["scenarios"], *skipped]}), console)
    assert f"? 2 skipped: {why}\n" in terminal.get()
    assert ", 2 skipped\n" in terminal.get()
