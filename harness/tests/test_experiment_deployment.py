"""Scenarios against a deployment: what it has is broken, what it lacks is skipped with the reason."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.stack import StackOptions, start_stack

#: A stack, and a session of scenarios on it.
pytestmark = pytest.mark.timeout(180)

SCENARIOS = """
from harness.experiment import Silence
from harness.faults.network import Down
from harness.faults.process import Kill

def test_network(experiment):
    with experiment.games(count=4, players=1):
        experiment.steady("2s")
        experiment.inject(Down("service-pubnub"), "3s", Silence())
        experiment.recovered()

def test_process(experiment):
    with experiment.games(count=4, players=1):
        experiment.inject(Kill("service-1"), "3s")

def test_settings(experiment):
    with experiment.games(service={"LOG_LEVEL": "DEBUG"}, replicas=2):
        raise AssertionError("it took place")
"""


GONE = """
import os, signal, threading

from harness.faults.database import IdleInTransaction

def test_no_time(experiment):
    with experiment.games(count=4, players=1):
        experiment.inject(IdleInTransaction(), "0s")

def test_gone(experiment):
    with experiment.games(count=4, players=1):
        experiment.steady("2s")
        threading.Timer(1.0, os.kill, [int(os.environ["TOXIPROXY_PID"]), signal.SIGKILL]).start()
        experiment.inject(IdleInTransaction(), "5s")
        experiment.recovered(within="5s")
"""


#: A deployment that is not there.
NAMED = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SERVICE_ROLE_KEY": "key",
    "CRON_SECRET": "cron",
    "PUBNUB_SUBSCRIBE_KEY": "sub",
}
CONSENT = ("STORMWATCH_MAY_LOAD", "STORMWATCH_MAY_BREAK")


def scenarios(folder: Path, environment: dict[str, str], text: str = SCENARIOS) -> dict[str, dict[str, Any]]:
    """Run the scenarios with this environment; return their documents by name."""
    pytest_on(folder, environment, text)
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("run/scenarios/*/scenario.json")
    ]
    return {document["id"].removeprefix("demo."): document for document in documents}


def pytest_on(
    folder: Path, environment: dict[str, str], text: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest on scenarios with this environment; return what became of it."""
    (folder / "test_demo.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--stormwatch-run=run", "-q", *options],
        cwd=folder,
        env=os.environ | environment,
        timeout=150,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("run/scenarios/*/scenario.json")
    ]
    return {document["id"].removeprefix("demo."): document for document in documents}


def test_what_a_deployment_has_is_broken_and_what_it_lacks_is_skipped(tmp_path: Path) -> None:
    with start_stack(StackOptions(log_folder=tmp_path / "logs")) as stack:
        found = scenarios(tmp_path, stack.permission.environment())
    assert found["network"]["outcome"] == "passed", found["network"]["message"]
    verdicts = {row["name"]: row["verdict"] for row in found["network"]["faults"][0]["expectations"]}
    assert set(verdicts.values()) == {"pass"}
    assert "the backlog is drained within 15 s of its end" in verdicts
    # There are no readings of its processes.
    assert not any("rss_bytes" in name for name in verdicts)
    reasons = {name: (found[name]["outcome"], found[name]["message"]) for name in ("process", "settings")}
    assert reasons["process"] == (
        "skipped",
        "process:kill service-1: no process is within reach: the target is a deployment",
    )
    assert reasons["settings"] == (
        "skipped",
        "the target is a deployment: its service can't be started with LOG_LEVEL=DEBUG, 2 replicas",
    )


def test_a_deployment_that_nobody_can_look_into_is_left_alone(tmp_path: Path) -> None:
    found = scenarios(tmp_path, NAMED | dict.fromkeys(CONSENT, "127.0.0.1:9"))
    assert {document["outcome"] for document in found.values()} == {"skipped"}
    assert "DATABASE_URL is not set" in found["network"]["message"]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_a_deployment_that_nobody_consented_to_break_ends_the_session(
    tmp_path: Path, workers: list[str]
) -> None:
    done = pytest_on(tmp_path, NAMED, SCENARIOS, *workers)
    assert done.returncode == 2, done.stdout
    wanted = (
        "set STORMWATCH_MAY_LOAD=127.0.0.1:9 STORMWATCH_MAY_BREAK=127.0.0.1:9 if that is meant, "
        "or take --stormwatch-local"
    )
    assert wanted in done.stdout + done.stderr
    assert not list(tmp_path.glob("run/scenarios/*/scenario.json"))


def test_a_toxiproxy_that_ends_meanwhile_is_not_held_against_the_service(tmp_path: Path) -> None:
    with start_stack(StackOptions(log_folder=tmp_path / "logs")) as stack:
        more = {"TOXIPROXY_PID": str(stack.pid("toxiproxy"))}
        found = scenarios(tmp_path, stack.permission.environment() | more, GONE)
    assert found["gone"]["outcome"] == "inconclusive", found["gone"]["message"]
    assert "a part of the harness does not serve: Toxiproxy at" in found["gone"]["message"]
    assert "'0s' is no time at all" in found["no_time"]["message"]
