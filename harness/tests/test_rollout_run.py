"""A rollout on local stacks: a version that tells players something wrong is taken back; nobody is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.documents.base import read_document
from harness.documents.rollout import RolloutDocument
from harness.report.gate import read_report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_POLICY = """
extends = "default"
[rollout]
steps = ["0% for 1s", "50% for 90s", "100% for 1s"]
checkpoints = ["integrity"]
proof = "2s"
rollback = ["sh -c 'echo the flag is off for $STORMWATCH_NEW_URL'"]
"""


def test_a_version_that_tells_a_wrong_phase_is_taken_back(tmp_path: Path) -> None:
    policy = tmp_path / "sla.toml"
    policy.write_text(_POLICY, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "harness.cli", "rollout", "--local", "--games", "12"),
        *("--system", "scenarios/systems/drawing_game.py", "--sla", str(policy)),
        *("--new", "fixtures.defects._system:DefectiveGame", "--reports", str(tmp_path)),
    ]
    environment = os.environ | {"STORMWATCH_DEFECT": "told_a_wrong_phase"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1, done.stderr
    [folder] = tmp_path.glob("*-rollout")
    found = read_document(folder / "rollout.json", RolloutDocument, "")
    assert (found.outcome, found.old_violations) == ("rolled back", 0)
    assert "integrity: told wrongly" in found.why
    assert found.steps[-1].share == 0.5
    assert found.rollback is not None
    assert found.rollback.failed == []
    assert found.rollback.from_decision_s is not None
    assert found.rollback.from_decision_s < 60
    # What acts on production does not run in a rehearsal.
    assert found.rollback.hooks == ()
    assert "the policy's commands (split, rollback) are left out" in done.stderr
    assert "told wrongly" in (folder / "rollout.md").read_text(encoding="utf-8")
    # The record of each version has a report of its own.
    assert next(row for row in read_report(folder / "new").integrity if row.name == "told_wrongly").violations
    assert not any(row.violations for row in read_report(folder / "old").integrity)
