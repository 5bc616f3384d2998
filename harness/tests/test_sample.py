"""The sample of a run is real, small and of the present state; `python -m fixtures.sample` makes it anew."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

import harness
from harness.cli import main
from harness.documents.report import Report
from harness.history import open_run
from harness.report.build import build_report
from harness.report.gate import read_report
from harness.sla.policy import DEFAULT_POLICY, load_policy

SAMPLE = Path(harness.__file__).parents[1] / "reports" / "sample"
MADE = [SAMPLE / "run.json", SAMPLE / "report.json", SAMPLE / "report.md", *SAMPLE.glob("history/*")]


@pytest.fixture(scope="module")
def report() -> Report:
    return read_report(SAMPLE)


def test_it_is_small_and_names_no_machine() -> None:
    contents = [path.read_bytes() for path in MADE]
    assert sum(map(len, contents)) < 300_000
    assert sum(path.suffix == ".arrow" for path in MADE) == 4
    for named in (b"/tmp/", b"/home/", b"/root", socket.gethostname().encode()):
        assert not any(named in content for content in contents), named


def test_its_record_is_judged_today_as_its_report_says(report: Report) -> None:
    again = build_report(open_run(SAMPLE), load_policy(DEFAULT_POLICY, profile="quick"))
    for part in ("objectives", "integrity", "drift"):
        was, now = ({row.name: row.verdict for row in getattr(one, part)} for one in (report, again))
        assert now == was, "make it anew: python -m fixtures.sample"
    checks = [{row.name: row.verdict for row in one.measurement.checks} for one in (report, again)]
    assert checks[0] == checks[1]


def test_the_gate_reads_it(report: Report) -> None:
    done = CliRunner().invoke(main, ["gate", str(SAMPLE)])
    assert (report.verdict, done.exit_code) == ("inconclusive", 3), done.output
