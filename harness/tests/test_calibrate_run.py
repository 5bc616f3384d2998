"""`stormwatch calibrate`: a lie that is caught, an exit code by what was found, no trace left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from click.testing import CliRunner

from harness.calibrate import inject as module
from harness.calibrate.inject import inject
from harness.calibrate.judge import calibration
from harness.calibrate.measure import Findings, Lost, measure
from harness.calibrate.plan import LOSSES, Plan, delay
from harness.cli import main
from harness.documents.base import read_document
from harness.documents.calibration import WAY_OUT, Calibration
from harness.faults import Fault
from harness.history import create_run
from harness.process import ProcessError
from harness.stack import StackError
from harness.stack.proxies import PLAYERS_PUBNUB
from harness.system import find_system
from harness.tests.helpers import eventually
from harness.tests.test_calibrate_judge import GAMES, QUIET, measured

#: Far more than a crowded machine adds to a median.
LIE_MS = 400


def command(reports: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "calibrate", "--reports", str(reports), *arguments]


@pytest.mark.parametrize(
    ("off_s", "code", "verdict"), [(0.0, 0, "PASS"), (0.020, 1, "FAIL")], ids=["true", "wrong"]
)
def test_the_command_shows_and_writes_what_was_found_and_exits_by_it(
    off_s: float, code: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Findings([measured({0.05: off_s})], [Lost("lost", GAMES, GAMES, 10)], [], QUIET)
    monkeypatch.setattr("harness.calibrate.inject.inject", lambda *_, **__: None)
    monkeypatch.setattr("harness.calibrate.measure.measure", lambda run, plan: found)
    result = CliRunner().invoke(main, ["calibrate", "--reports", str(tmp_path)])
    (path,) = tmp_path.glob("*/calibration.json")
    assert (result.exit_code, read_document(path, Calibration, WAY_OUT).verdict.upper()) == (code, verdict)
    assert verdict in result.output
    assert "Lost events" in result.output
    assert not (tmp_path / "latest").exists(), "a calibration is no run to be gated"


@pytest.mark.timeout(400)
def test_a_delay_that_is_larger_than_declared_is_caught_on_the_paths_that_it_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 1)  # no step again for a calmer machine: the lie is far larger

    def lie(place: str, milliseconds: int) -> Fault | None:
        return delay(place, milliseconds + (LIE_MS if place == PLAYERS_PUBNUB and milliseconds else 0))

    run, plan = create_run(tmp_path, "calibrate"), Plan((0, 50), 15)
    said: list[tuple[str, int, int]] = []
    inject(run, plan, find_system(), say=lambda *what: said.append(what), fault_of=lie)
    found = json.loads(calibration(run, plan, measure(run, plan)).text())
    assert said[-1][1] == said[-1][2] == plan.steps
    errors = {row["path"]: row["error"] for row in found["rows"] if row["injected"] == 0.05}
    for path in ("players", "commit"):
        assert errors[path] == pytest.approx(LIE_MS / 1000, abs=LIE_MS / 2000)
    for path in ("publish", "http", "cron"):
        if errors[path] is not None or not found["doubts"]:  # a busy machine may leave it without samples
            assert errors[path] == pytest.approx(0, abs=LIE_MS / 2000)
    lied = [row for row in found["rows"] if row["path"] in {"players", "commit"} and row["injected"] == 0.05]
    if not found["doubts"]:  # the quickest sample is late too: however busy the machine
        assert [row["verdict"] for row in lied] == ["fail", "fail"]
    assert found["verdict"] != "pass"
    losses = [row for row in found["rows"] if row["kind"] == "count"]
    assert [row["path"] for row in losses] == [loss.name for loss in LOSSES]
    assert all(row["injected"] > 0 and row["error"] == 0 for row in losses), losses


def playing(pid: int) -> list[psutil.Process]:
    """Return the calibration's process and all that it started, once the load is among them; else nothing."""
    process = psutil.Process(pid)
    found = [process, *process.children(recursive=True)]
    with suppress(psutil.NoSuchProcess):  # one that ended meanwhile
        if any("locust" in one.cmdline() for one in found):
            return found
    return []


def test_ctrl_c_gives_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--delay=50ms"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as run:
        assert run.stdout is not None
        started = eventually(lambda: playing(run.pid), 60, otherwise=lambda: "no load in time")
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read()
        assert run.wait(60) == 130
    assert "Traceback" not in rest
    assert "nothing is left of it" in rest
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (StackError("toxiproxy-server not found: install Go"), "install Go"),
        (ProcessError("the load ended by itself"), "the load ended"),
    ],
)
def test_what_can_not_be_measured_exits_3_and_says_by_what(
    failure: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("harness.calibrate.inject.inject", fail)
    result = CliRunner().invoke(main, ["calibrate", "--reports", str(tmp_path)])
    assert result.exit_code == 3
    assert said in result.output
    assert "it could not be measured" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--delay", "5"], "not a duration"),
        (["--delay", "3s"], "up to 2000"),
        (["--delay", "0.5ms"], "whole number of milliseconds"),
        (["--repetitions", "3"], "--repetitions"),
    ],
)
def test_wrong_usage_is_named_and_leaves_no_folder(arguments: list[str], named: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["calibrate", "--reports", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert named in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_baseline_is_measured_anew_beside_every_delay() -> None:
    assert Plan((500, 0, 5)).injected_ms == [0, 5, 0, 500, 0]
    assert Plan((0,)).injected_ms == [0, 0]
    assert Plan((5,)).steps == 3 + 3 * 3


@pytest.mark.parametrize(
    ("cpu_percent", "attempts", "kept"),
    [((20.0,), 1, 20.0), ((99.0, 30.0), 2, 30.0), ((97.0, 99.0, 98.0), 3, 97.0)],
)
def test_a_step_during_which_the_machine_was_busy_is_repeated_and_the_calmest_is_kept(
    cpu_percent: tuple[float, ...], attempts: int, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = iter([value for busy in cpu_percent for value in (0.0, busy)])  # read before and after each
    monkeypatch.setattr(module.psutil, "cpu_percent", lambda: next(read))
    step = module._calmest(cast("Any", None), PLAYERS_PUBNUB, None, 0, 0.0)
    assert step.cpu_percent == kept
    assert len(list(read)) == 2 * (len(cpu_percent) - attempts)
