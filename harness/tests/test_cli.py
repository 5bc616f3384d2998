"""The `stormwatch` command teaches, and refuses what makes no sense in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import COMMANDS, main


def test_help_names_every_command_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    for name in COMMANDS:
        assert name in shown
    assert "3 inconclusive" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_an_unknown_command_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "fly" in result.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--no-load", "--no-failures"], "nothing to do"),
        (["--profile", "heroic"], "heroic"),
        (["--workers", "0"], "0"),
        (["--sla", "no-such.toml"], "no-such.toml"),
        (["--games", "5"], "--games"),
    ],
)
def test_run_refuses_what_makes_no_sense(tmp_path: Path, arguments: list[str], named: str) -> None:
    result = CliRunner().invoke(main, ["run", "--reports", str(tmp_path), *arguments])
    assert result.exit_code == 2, result.output
    assert named in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_run_names_a_reports_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, ["run", "--reports", str(tmp_path / "file" / "reports")])
    assert result.exit_code == 2
    assert "can't write to" in result.output


def test_up_starts_without_what_only_reports_need() -> None:
    heavy = ("pandas", "pyarrow", "locust", "pubnub")
    code = f"import sys, harness.commands.up, harness.stack; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    assert shown.strip() == "[]"
