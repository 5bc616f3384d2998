"""`stormwatch run`, as a user types it, on a small scale: a report, an exit code, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SMALL = ["--games=3", "--players=2", "--briefing=1s", "--drawing=1s", "--voting=1s", "--tick=500ms"]


def command(reports: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "run", "--reports", str(reports), *arguments]


def descendants(marker: Path) -> list[psutil.Process]:
    """Return the processes of a run: all that name its reports folder, or descend from one that does."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(
                str(marker) in part
                for part in [*process.cmdline(), process.environ().get("STORMWATCH_RUN_DIR", "")]
            ):
                found += [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def eventually_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those of ``processes`` that outlive the time they have to end."""
    return psutil.wait_procs(processes, timeout=20)[1]


def wait_for_window(reports: Path, name: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for path in reports.glob("*/run.json"):
            if name in [window["name"] for window in json.loads(path.read_text()).get("windows", [])]:
                return
        time.sleep(0.2)
    pytest.fail(f"no {name} window within {timeout_s} s")


def test_a_small_run_says_that_it_is_too_small(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, "--no-failures", "--", *SMALL, "--duration=4s"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Too few samples to decide" in " ".join(done.stdout.split())
    report = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert report["verdict"] == "inconclusive"
    assert {row["name"]: row["samples"] for row in report["objectives"]}["timer_accuracy"] > 0
    assert all(row["verdict"] != "fail" for row in report["integrity"])
    assert eventually_gone(descendants(tmp_path)) == []


def test_ctrl_c_ends_early_and_judges_what_was_seen(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--", *SMALL, "--duration=10min"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        wait_for_window(tmp_path, "steady")
        time.sleep(2)
        started = descendants(tmp_path)
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=60)[0]
    assert run.returncode == 3, output
    report = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert report["verdict"] == "inconclusive"
    assert report["run"]["interrupted"] is True
    assert "Traceback" not in output
    assert eventually_gone(started) == []


def test_kill_9_leaves_no_process_and_a_history_that_can_be_judged(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--", *SMALL, "--duration=10min"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        wait_for_window(tmp_path, "steady")
        time.sleep(2)
        started = descendants(tmp_path)
        assert len(started) > 5
        os.kill(run.pid, signal.SIGKILL)
    assert eventually_gone(started) == []
    (folder,) = (path.parent for path in tmp_path.glob("*/run.json"))
    again = [sys.executable, "-m", "harness.cli", "report", str(folder)]
    assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    assert json.loads((folder / "report.json").read_text())["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--games=0"], "--games"),
        (["--tick=fast"], "--tick"),
        (["--host=http://127.0.0.1:9"], "SUPABASE_SERVICE_ROLE_KEY"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_of_the_load_is_named_and_leaves_no_folder(
    tmp_path: Path, options: list[str], named: str
) -> None:
    done = subprocess.run(command(tmp_path, "--", *options), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
