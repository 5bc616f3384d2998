"""The exit code is the verdict's and output is plain, whatever surrounds a command."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands._display import Display
from harness.history import RunFolder
from harness.output import console, one_line, plain
from harness.tests.environment.hostile import COMMAND, ESCAPES, in_shell, small_run, stormwatch, surroundings

FULL = "stormwatch: the output could not be written: No space left on device"
WORDS = f"503 {ESCAPES} – 日本 ✓ é"


@pytest.fixture
def hostile(failed: RunFolder, tmp_path: Path) -> Path:
    """A report whose reasons are another's words."""
    report = json.loads(failed.report_json.read_text(encoding="utf-8"))
    report["objectives"][0]["reason"] = WORDS
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("ascii", "- ?? ok e"), ("iso-8859-1", "- ?? ok é"), ("euc-jp", "- 日本 ok"), ("utf-8", "– 日本 ✓ é")],
)
def test_output_degrades_to_what_the_encoding_has(hostile: Path, encoding: str, words: str) -> None:
    shown = stormwatch("gate", hostile, PYTHONIOENCODING=encoding)
    assert shown.returncode == 1, shown.stderr
    assert words in shown.stdout.decode(encoding)


def test_a_summary_is_shown_in_ascii(failed: RunFolder) -> None:
    shown = stormwatch("report", failed.path, PYTHONIOENCODING="ascii")
    assert shown.returncode == 0, shown.stderr
    assert "x  Scenarios passed" in shown.stdout.decode("ascii")


@pytest.mark.parametrize(
    "line",
    [
        "$STORMWATCH | true; exit ${PIPESTATUS[0]}",
        "$STORMWATCH | head -c 1; exit ${PIPESTATUS[0]}",
        "$STORMWATCH 2>&1 | true; exit ${PIPESTATUS[0]}",
        "$STORMWATCH > /dev/full",
        "$STORMWATCH > /dev/full 2>&1",
        "$STORMWATCH >&-",
        "$STORMWATCH >&- 2>&-",
    ],
)
def test_the_exit_code_is_the_verdicts_whatever_becomes_of_the_output(
    passed: RunFolder, failed: RunFolder, line: str
) -> None:
    assert in_shell(line, "gate", passed.path).returncode == 0
    assert in_shell(line, "gate", failed.path).returncode == 1
    assert in_shell(line, "gate", failed.path / "nowhere").returncode == 4


def test_a_full_disk_is_said(passed: RunFolder) -> None:
    shown = in_shell("$STORMWATCH > /dev/full", "gate", passed.path)
    assert shown.stderr.decode().strip() == FULL


def test_a_report_is_written_although_nobody_reads_on(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run.report_json.unlink()
    done = in_shell("$STORMWATCH | true; exit ${PIPESTATUS[0]}", "report", run.path)
    assert done.returncode == 0, done.stderr
    assert run.report_json.exists()


def test_a_gate_shows_no_escape_sequences_of_others(hostile: Path) -> None:
    is_plain(stormwatch("gate", hostile).stdout.decode())


def test_a_summary_has_its_own_colours_and_no_escape_sequences_of_others(failed: RunFolder) -> None:
    text = stormwatch("report", failed.path, FORCE_COLOR="1").stdout.decode()
    assert "\x1b[1;31m" in text
    is_plain(text)


def is_plain(text: str) -> None:
    assert "owned" in text
    assert not any(one in text for one in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\r"))


def test_an_error_has_no_escape_sequences_either(tmp_path: Path) -> None:
    shown = stormwatch("gate", tmp_path / ESCAPES)
    assert shown.returncode == 4
    assert b"no such report" in shown.stderr
    assert b"\x1b" not in shown.stderr


def test_colours_without_a_terminal_draw_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert (console().is_terminal, console().is_interactive) == (True, False)
    with Display(tmp_path) as display:
        for done in range(5):
            display.stage("steady", done, 5)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_on_a_terminal_a_console_draws(name: str) -> None:
    program = (
        "from harness.output import *; guard_output()\n"
        f"raise SystemExit(not console(stderr={name == 'stderr'}).is_interactive)"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", program], surroundings({"TERM": "xterm"}))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_help_ends_well_when_nobody_reads_on() -> None:
    assert in_shell("$STORMWATCH | true; exit ${PIPESTATUS[0]}", "--help").returncode == 0


def test_help_of_the_load_ends_well_when_nobody_reads_on() -> None:
    scenario = Path(__file__).parents[3] / "scenarios" / "concurrent_games.py"
    done = in_shell(f"{sys.executable} -m locust -f {scenario} --help | head -1")
    assert done.stdout.startswith(b"Usage: locust")
    assert b"Traceback" not in done.stderr


def test_words_stay_on_their_line() -> None:
    assert one_line("a\n  pass\tb") == "a pass b"
    assert plain("a\n\tb é ✓") == "a\n\tb é ✓"


def test_a_command_that_fails_itself_says_so_and_breaks_no_promise() -> None:
    program = (
        "import click, harness.cli as cli\n"
        "cli._LazyGroup.get_command = lambda *_: click.Command('gate', callback=lambda: 1 / 0)\n"
        "cli.main(['gate'])\n"
    )
    done = subprocess.run([COMMAND[0], "-c", program], capture_output=True, check=False)
    assert done.returncode == 4
    assert b"stormwatch itself failed: ZeroDivisionError" in done.stderr
