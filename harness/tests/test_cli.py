"""The `stormwatch` command teaches, and refuses what makes no sense in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from harness.cli import COMMANDS, main
from harness.commands.help import TOPICS, section
from harness.output import QUIET, console

#: Commands without --json -> why.
NO_TABLE = {
    "init": "it writes files and names them",
    "down": "it says in a line what it ended",
    "open": "it prints where the page is",
    "export": "what it writes is data",
    "badge": "what it writes is a picture",
    "help": "text",
    "completion": "what it prints is for a shell",
}


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


def commands() -> Iterator[tuple[str, click.Command]]:
    root = click.Context(main)
    for name in COMMANDS:
        found = main.get_command(root, name)
        assert found is not None
        yield name, found


def test_every_command_that_prints_a_table_prints_json_too() -> None:
    with_json = {
        name
        for name, one in commands()
        for part in (one, *(one.commands.values() if isinstance(one, click.Group) else ()))
        if any("--json" in option.opts for option in part.params)
    }
    assert with_json.isdisjoint(NO_TABLE)
    assert with_json | NO_TABLE.keys() == set(COMMANDS)


def test_lists_are_json_where_that_is_asked_for() -> None:
    listed = json.loads(CliRunner().invoke(main, ["fault", "--list", "--json"]).stdout)
    assert "network:down" in {one["name"] for one in listed}
    for line in (["fault", "--json", "mend"], ["clean", "--json"]):
        done = CliRunner().invoke(main, line)
        assert (done.exit_code, "--json goes with --list" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("verdicts", "inconclusive"),
        ("policy", "not_judged"),
        ("faults", "network:down"),
        ("exit-codes", "validate"),
        ("gate", "--allow-inconclusive"),
    ],
)
def test_help_explains_topics_and_commands(topic: str, told: str) -> None:
    done = CliRunner().invoke(main, ["help", topic])
    assert (done.exit_code, told in done.stdout, "<!--" in done.stdout) == (0, True, False), done.output


def test_help_names_the_topics_and_the_nearest_one() -> None:
    assert all(topic in CliRunner().invoke(main, ["help"]).stdout for topic in TOPICS)
    done = CliRunner().invoke(main, ["help", "exitcodes"])
    assert (done.exit_code, "did you mean 'exit-codes'?" in done.output) == (2, True)
    assert "there are verdicts" in CliRunner().invoke(main, ["help", "x"]).output


def test_help_has_the_first_page_from_the_wheel_where_it_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "# Us\n\n## A verdict, read aloud\n\nPassed.\n\n## Else\n"
    described = SimpleNamespace(json={"description": page})
    monkeypatch.setattr("harness.files.SHIPPED", Path("nowhere"))
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: described)
    assert section("README.md", "A verdict, read aloud").strip() == "Passed."


@pytest.mark.parametrize(
    "line", [["-q", "--no-color", "help"], ["help", "--no-color", "verdicts", "--quiet"]]
)
def test_quiet_and_colours_are_said_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    monkeypatch.setenv(QUIET, "")
    monkeypatch.setenv("NO_COLOR", "")
    assert CliRunner().invoke(main, line).exit_code == 0
    assert (os.environ[QUIET], os.environ["NO_COLOR"]) == ("1", "1")
    console(stderr=True).print("progress")
    console().print("result")
    assert capsys.readouterr() == ("result\n", "")


def test_what_follows_two_dashes_is_not_ours() -> None:
    done = CliRunner().invoke(main, ["run", "--", "--quiet"])
    assert done.exit_code == 2
    assert "--quiet" in done.output
