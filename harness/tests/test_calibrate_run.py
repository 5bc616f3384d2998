"""`stormwatch calibrate` on a small scale: a truth that is told, a lie that is caught, no trace left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from click.testing import CliRunner

from harness.calibrate.conduct import CalibrationError, Conductor, conduct
from harness.calibrate.judge import calibration
from harness.calibrate.measure import measure
from harness.calibrate.plan import PATHS, Plan, delay
from harness.cli import main
from harness.documents.base import read_document
from harness.documents.calibration import WAY_OUT, Calibration
from harness.faults import Fault
from harness.history import create_run
from harness.stack import StackError
from harness.stack.proxies import PLAYERS_PUBNUB

LOSSES = ("lost", "missed", "repeated", "overtaken")
#: Far more than a crowded machine adds to a median.
LIE_MS = 400


def command(reports: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "calibrate", "--reports", str(reports), *arguments]


def test_a_small_calibration_tells_what_was_injected_and_exits_by_it(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, "--delay", "50ms", "--repetitions", "10"),
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    (path,) = tmp_path.glob("*/calibration.json")
    found = json.loads(read_document(path, Calibration, WAY_OUT).text())
    # On a busy machine ten samples may not be enough to tell 50 ms from 53: the verdict is the machine's.
    assert done.returncode == {"pass": 0, "fail": 1, "inconclusive": 3}[found["verdict"]], done.stderr
    assert found["verdict"].upper() in done.stdout
    assert "players-pubnub delayed by 50 ms" in done.stderr

    delays = [row for row in found["rows"] if row["kind"] == "delay"]
    assert [(row["path"], row["injected"]) for row in delays] == [
        (path.name, injected) for path in PATHS for injected in (0, 0.05)
    ]
    assert all(row["samples"] >= 10 for row in delays)
    for row in delays:
        assert row["error"] == pytest.approx(0, abs=LIE_MS / 2000), row
    assert [row["path"] for row in found["rows"] if row["kind"] == "count"] == list(LOSSES)
    assert [row["injected"] for row in found["rows"] if row["kind"] == "count"] == [2, 2, 2, 2]
    for row in found["rows"]:
        if row["kind"] == "count":
            assert (row["reported"], row["error"]) == (2, 0), row
    assert not (tmp_path / "latest").exists(), "a calibration is no run to be gated"


def test_a_delay_that_is_larger_than_declared_is_caught_on_the_paths_that_it_is_on(tmp_path: Path) -> None:
    def lie(place: str, milliseconds: int) -> Fault | None:
        return delay(place, milliseconds + (LIE_MS if place == PLAYERS_PUBNUB and milliseconds else 0))

    run = create_run(tmp_path, "calibrate", options=(plan := Plan((0, 50), 10)).document())
    said: list[tuple[str, int, int]] = []
    conduct(run, plan, say=lambda *what: said.append(what), inject=lie)
    found = json.loads(calibration(run, measure(run)).text())
    assert said[-1][1] == said[-1][2] == plan.steps
    errors = {row["path"]: row["error"] for row in found["rows"] if row["injected"] == 0.05}
    for path in ("players", "commit"):
        assert errors[path] == pytest.approx(LIE_MS / 1000, abs=LIE_MS / 2000)
    for path in ("publish", "http", "cron"):
        assert errors[path] == pytest.approx(0, abs=LIE_MS / 2000)
    lied = [row for row in found["rows"] if row["path"] in {"players", "commit"} and row["injected"] == 0.05]
    if not found["doubts"]:  # the quickest sample is late too: however busy the machine
        assert [row["verdict"] for row in lied] == ["fail", "fail"]
    assert found["verdict"] != "pass"


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def test_ctrl_c_gives_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "players-pubnub delayed" in line:
                break
        started = family(psutil.Process(run.pid))
        assert len(started) > 5
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read()
        assert run.wait(60) == 130
    assert "Traceback" not in rest
    assert "nothing is left of it" in rest
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "messages hit by drop" in line:
                break
        time.sleep(1)
        started = family(psutil.Process(run.pid))
        run.kill()
    assert psutil.wait_procs(started, timeout=20)[1] == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (StackError("toxiproxy-server not found: install Go"), "install Go"),
        (CalibrationError("the driver ended by itself"), "the driver ended"),
    ],
)
def test_what_can_not_be_measured_exits_3_and_says_by_what(
    failure: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("harness.calibrate.conduct.conduct", fail)
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
    assert Plan.from_document(json.loads(json.dumps(Plan((5, 50), 20).document()))) == Plan((5, 50), 20)


class Machine:
    """A stand-in for the steps of a calibration: how busy the machine was in each attempt, in turn."""

    def __init__(self, *cpu_percent: float) -> None:
        self._cpu_percent = iter(cpu_percent)
        self.attempts: list[float] = []

    def delay(self, place: str, milliseconds: int) -> dict[str, Any]:
        self.attempts.append(next(self._cpu_percent, 10.0))
        return {
            "kind": "delay", "name": place, "injected_ms": milliseconds, "start_ns": len(self.attempts),
            "end_ns": len(self.attempts) + 1, "cpu_percent": self.attempts[-1],
        }  # fmt: skip


@pytest.mark.parametrize(
    ("cpu_percent", "attempts", "kept"),
    [
        ((20.0, 30.0), 2, [1, 2]),
        ((99.0, 30.0, 20.0), 3, [2, 3]),
        ((99.0, 97.0, 98.0, 20.0), 4, [2, 4]),
    ],
)
def test_a_step_during_which_the_machine_was_busy_is_repeated_and_the_calmest_is_kept(
    cpu_percent: tuple[float, ...], attempts: int, kept: list[int], tmp_path: Path
) -> None:
    machine = Machine(*cpu_percent)
    run = create_run(tmp_path, "calibrate")
    conductor = Conductor(run, Plan((0,), 10), *([cast("Any", None)] * 2), lambda *_: None, delay)
    conductor.attempt = machine.delay  # type: ignore[method-assign]  # of this one alone
    conductor.delays(PLAYERS_PUBNUB)
    assert len(machine.attempts) == attempts
    assert [step["start_ns"] for step in run.read()["steps"]] == kept
