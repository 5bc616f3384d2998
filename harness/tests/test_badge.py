"""The badge says what the gate says."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import Shape
from harness.cli import main
from harness.commands.badge import _svg
from harness.tests.synthetic_report import loaded_report


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_a_badge_is_a_picture_of_the_verdict(verdict: str) -> None:
    assert "".join(ElementTree.fromstring(_svg(verdict)).itertext()).endswith(f"stormwatch{verdict}")


def test_no_report_is_no_badge(tmp_path: Path) -> None:
    output = tmp_path / "badge.svg"
    done = CliRunner().invoke(main, ["badge", str(tmp_path / "none"), "--output", str(output)])
    assert (done.exit_code, output.exists()) == (4, False), done.output


def test_it_says_what_the_gate_says(tmp_path: Path) -> None:
    report, output = tmp_path / "report.json", tmp_path / "badge.svg"
    report.write_text(json.dumps(loaded_report(tmp_path, Shape())), encoding="utf-8")
    gated = CliRunner().invoke(main, ["gate", str(report)])
    done = CliRunner().invoke(main, ["badge", str(report), "--output", str(output)])
    assert done.exit_code == 0, done.output
    said = gated.stdout.splitlines()[0].rpartition(": ")[2]
    assert f"stormwatch: {said}" in output.read_text(encoding="utf-8")
