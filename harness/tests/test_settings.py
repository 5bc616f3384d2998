"""Settings in a file, and completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands._settings import VARIABLES, defaults_of
from harness.commands.run import _repeating
from harness.commands.run import command as run
from harness.files import DocumentError, project_settings


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


def settings() -> dict[str, tuple[object, str]]:
    done = CliRunner().invoke(main, ["settings", "--json"])
    assert done.exit_code == 0, done.output
    return {one["name"]: (one["value"], one["source"]) for one in json.loads(done.stdout)}


def test_what_is_set_comes_from_environment_file_or_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text(
        '[project]\nname = "x"\n\n[tool.stormwatch]\nsla = "own.toml"\nfailures = false\n', encoding="utf-8"
    )
    found = settings()
    assert found["sla"] == ("own.toml", "pyproject.toml:5")
    assert found["failures"] == (False, "pyproject.toml:6")
    assert found["profile"] == ("quick", "default")
    assert defaults_of(run, Path()) == {"sla": "own.toml", "with_failures": False}
    monkeypatch.setenv("STORMWATCH_SLA", "other.toml")
    assert settings()["sla"] == ("other.toml", "STORMWATCH_SLA")
    assert "sla" not in defaults_of(run, Path())
    Path("pyproject.toml").unlink()
    Path("stormwatch.toml").write_text('profile = "production"\n', encoding="utf-8")
    assert settings()["profile"] == ("production", "stormwatch.toml:1")


def test_the_command_line_goes_before_the_file() -> None:
    Path("stormwatch.toml").write_text('profile = "production"\nworkers = 3\n', encoding="utf-8")
    with run.make_context("run", ["--profile", "quick"]) as context:
        assert (context.params["profile"], context.params["workers"]) == ("quick", 3)


def test_the_command_that_repeats_a_run_says_what_the_file_said() -> None:
    Path("stormwatch.toml").write_text("local = false\nfailures = false\nworkers = 3\n", encoding="utf-8")
    with run.make_context("run", []) as context:
        assert _repeating(context, None) == "stormwatch run --no-failures --workers 3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\nprofle = 'quick'\n", "stormwatch.toml:2: profle: no such setting; did you mean 'profile'?"),
        ("workers = 99\n", "stormwatch.toml:1: workers: 99 is not in the range"),
        ("list = true\n", "stormwatch.toml:1: list: no such setting"),
        ("failures = 'no'\n", "stormwatch.toml:1: failures: it is 'no', it must be true or false"),
        ("workers = [1]\n", "stormwatch.toml:1: workers: it must be one value"),
        ("profile = \n", "can't be read: not TOML"),
    ],
)
@pytest.mark.parametrize("command", ["run", "settings"])
def test_a_broken_file_is_told_by_line_and_field(command: str, text: str, told: str) -> None:
    Path("stormwatch.toml").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(main, [command])
    assert (done.exit_code, told in done.output) == (2, True), done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_STORMWATCH_COMPLETE={shell}_complete" in done.output


def test_commands_and_options_are_completed() -> None:
    from click.shell_completion import ShellComplete

    complete = ShellComplete(main, {}, "stormwatch", "_STORMWATCH_COMPLETE")
    assert [one.value for one in complete.get_completions([], "expo")] == ["export"]
    assert "--profile" in [one.value for one in complete.get_completions(["run"], "--pro")]


def test_a_shell_that_asks_is_answered() -> None:
    asked = {"_STORMWATCH_COMPLETE": "bash_complete", "COMP_WORDS": "stormwatch ru", "COMP_CWORD": "1"}
    call = "from harness.cli import main; main(prog_name='stormwatch')"
    done = subprocess.run(
        [sys.executable, "-c", call],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert (done.stdout, done.stderr) == ("plain,run\n", "")


def test_an_unknown_shell_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["completion", "tcsh"])
    assert done.exit_code == click.UsageError.exit_code
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.output


def test_settings_in_two_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "stormwatch.toml").write_text("workers = 3\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.stormwatch]\nsystem = "a.py"\n', encoding="utf-8")
    with pytest.raises(DocumentError, match=r"pyproject\.toml: has \[tool\.stormwatch\], and there is"):
        project_settings(tmp_path)


def test_every_setting_that_the_environment_knows_is_told_to_come_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {option.opts[-1].lstrip("-"): option.envvar for option in run.params if option.envvar}
    assert known.items() <= VARIABLES.items()
    Path("stormwatch.toml").write_text('reports = "here"\n', encoding="utf-8")
    monkeypatch.setenv("STORMWATCH_REPORTS", "there")
    assert settings()["reports"] == ("there", "STORMWATCH_REPORTS")
    assert run.make_context("run", []).params["reports"] == Path("there")
