"""Runs real commands in hostile surroundings: encodings, closed pipes, full disks, folders."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.history import RunFolder, create_run
from harness.report import write_reports
from harness.sla.policy import load_policy

COMMAND = [sys.executable, "-m", "harness.cli"]

#: Clears the screen, sets the window's title, turns the direction of text, rings, and goes back.
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m\rPASS"


def stormwatch(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, its output as bytes."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, check=False, env=surroundings(environment)
    )


def in_shell(line: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``$STORMWATCH`` is the command with ``arguments``."""
    command = shlex.join([*COMMAND, *map(str, arguments)])
    return subprocess.run(
        ["bash", "-c", line.replace("$STORMWATCH", command)],
        capture_output=True,
        check=False,
        env=surroundings(environment),
    )


def surroundings(environment: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", **environment}


def small_run(reports: Path, outcome: str = "passed", **scenario: Any) -> RunFolder:
    """Make a run of one failure scenario without load, judged and reported."""
    run = create_run(reports, "failure", expects_load=False, expects_scenarios=True, seed=1)
    folder = run.scenarios / "one"
    folder.mkdir(parents=True)
    document = {"id": "one", "outcome": outcome, "seconds": 1.0, "message": None, "command": None} | scenario
    (folder / "scenario.json").write_text(json.dumps(document), encoding="utf-8")
    run.update(finished_at=run.read().started_at, interrupted=False)
    write_reports(run, load_policy())
    return run
