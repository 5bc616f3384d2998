"""The pytest plugin leaves an outcome for every scenario, whatever became of it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment import Arenas, Experiment
from harness.experiment.suite import account_for_missing, write_plan
from harness.faults.network import Down
from harness.history import RunFolder
from harness.sla.policy import load_policy

pytest_plugins = ["pytester"]

SCENARIOS = '''
import os
import pytest
from harness.experiment import ExpectationsFailed, Inconclusive
from harness.faults import FaultError, NotExercisedError

def test_fine(experiment):
    """All is well."""

def test_failed(experiment):
    raise ExpectationsFailed("fail: timers: measured 7 s")

def test_unexercised(experiment):
    raise NotExercisedError("nothing passed the proxy")

def test_inconclusive(experiment):
    raise Inconclusive("no steady state before the fault")

def test_harness_failed(experiment):
    raise FaultError("Toxiproxy does not answer")

def test_bug(experiment):
    raise ZeroDivisionError("in the scenario")

def test_skipped(experiment):
    pytest.skip("the target is a deployment")

@pytest.mark.parametrize("name", ["a/b"])
def test_each(experiment, name):
    pass

def test_no_scenario():
    pass
'''
CRASH = """
import os

def test_crash(experiment):
    os._exit(1)
"""
CRASH_ONCE = """
import os, pathlib

def test_crash(experiment):
    tried = pathlib.Path("tried")
    if not tried.exists():
        tried.touch()
        os._exit(1)
"""
BROKEN = """
import pathlib, time

def test_broken(experiment):
    try:
        pathlib.Path("broken").touch()
        time.sleep(60)
    finally:
        pathlib.Path("mended").touch()

def test_after(experiment):
    pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Path:
    return pytester.path / "run"


def outcomes(run: Path) -> dict[str, dict[str, Any]]:
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in run.glob("scenarios/*/scenario.json")
    ]
    return {document["id"]: document for document in documents}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_every_outcome_is_told_apart_and_explained(
    pytester: pytest.Pytester, run: Path, workers: list[str]
) -> None:
    pytester.makepyfile(test_demo=SCENARIOS)
    pytester.runpytest_subprocess(f"--stormwatch-run={run}", *workers)
    found = {id: document["outcome"] for id, document in outcomes(run).items()}
    assert found == {
        "demo.fine": "passed",
        "demo.failed": "failed",
        "demo.unexercised": "failed",
        "demo.inconclusive": "inconclusive",
        "demo.harness_failed": "inconclusive",
        "demo.bug": "error",
        "demo.skipped": "skipped",
        "demo.each[a-b]": "passed",
    }
    failed = outcomes(run)["demo.failed"]
    assert failed["message"] == "fail: timers: measured 7 s"
    assert failed["command"] == "pytest test_demo.py::test_failed"
    assert failed["seconds"] >= 0
    assert outcomes(run)["demo.fine"]["title"] == "All is well."


def test_a_crash_is_an_error_that_did_not_finish(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makepyfile(test_demo=CRASH)
    pytester.runpytest_subprocess(f"--stormwatch-run={run}", "-n", "1", "--max-worker-restart=0")
    crashed = outcomes(run)["demo.crash"]
    assert (crashed["outcome"], crashed["message"]) == ("error", "it did not finish")


def test_a_crash_stays_an_error_where_another_attempt_passed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=CRASH_ONCE)
    pytester.runpytest_subprocess("--stormwatch-reports=reports", "-n", "1", "--dist", "loadfile")
    latest = pytester.path / "reports" / "latest"
    crashed = outcomes(latest)["demo.crash"]
    assert crashed["outcome"] == "error"
    assert "crashed while running" in crashed["message"]
    assert "another attempt passed" in crashed["message"]
    assert json.loads((latest / "report.json").read_text(encoding="utf-8"))["verdict"] != "pass"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_being_ended_undoes_what_is_broken_and_says_so(
    pytester: pytest.Pytester, workers: list[str], number: signal.Signals
) -> None:
    pytester.makepyfile(test_demo=BROKEN)
    command = [sys.executable, "-m", "pytest", "--stormwatch-reports=reports", *workers]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as process:
        eventually((pytester.path / "broken").exists)
        process.send_signal(number)
        process.wait(60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    eventually((pytester.path / "mended").exists)
    latest = pytester.path / "reports" / "latest"
    found = {id: (document["outcome"], document["message"]) for id, document in outcomes(latest).items()}
    assert found == {
        "demo.broken": ("inconclusive", "interrupted: it did not finish"),
        "demo.after": ("inconclusive", "interrupted: it never ran"),
    }
    report = json.loads((latest / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["run"]["interrupted"]) == ("inconclusive", True)


@pytest.mark.parametrize("garbage", ["{", "[]", "{}", "7"])
def test_what_can_not_be_read_is_left_for_the_report_to_name(tmp_path: Path, garbage: str) -> None:
    run = RunFolder(tmp_path)
    write_plan(run, [{"id": "a", "title": "", "command": ""}, {"id": "b", "title": "", "command": ""}])
    left = run.scenarios / "a" / "scenario.json"
    left.parent.mkdir()
    left.write_text(garbage, encoding="utf-8")
    account_for_missing(run, interrupted=True)
    assert left.read_text(encoding="utf-8") == garbage
    lost = json.loads((run.scenarios / "b" / "scenario.json").read_text(encoding="utf-8"))
    assert (lost["outcome"], lost["message"]) == ("inconclusive", "interrupted: it never ran")


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_crash_leaves_the_faults_that_were_on(tmp_path: Path) -> None:
    policy = load_policy()
    subject = Experiment(
        session=tmp_path, arenas=Arenas(tmp_path, policy), policy=policy, id="x", title="", command=""
    )
    with subject:
        fault = Down("service-pubnub")
        subject._expect(str(fault), fault.place, [], [fault])
        (left,) = outcomes(tmp_path).values()
    assert (left["outcome"], left["message"]) == ("error", "it did not finish")
    assert [(found["name"], found["ended_at"]) for found in left["faults"]] == [(str(fault), None)]


def test_the_plan_names_what_was_to_run(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makepyfile(test_demo=SCENARIOS)
    pytester.runpytest_subprocess(f"--stormwatch-run={run}", "-k", "fine or bug")
    plan = json.loads((run / "scenarios" / "plan.json").read_text(encoding="utf-8"))
    assert [scenario["id"] for scenario in plan] == ["demo.fine", "demo.bug"]


def test_other_tests_leave_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest_subprocess()
    assert not (pytester.path / "reports").exists()
