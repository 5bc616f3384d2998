"""What CI is told: few rights, one run at a time, artifacts that end, comments in place of the last."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "harness" / "commands" / "starter" / "github.yml"
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), STARTER]
#: Makes a report.
MADE = "mkdir -p reports/latest; cd reports/latest; touch report.json junit.xml; echo red > report.md"
ACTION = ROOT / ".github" / "actions" / "sla"


def steps(document: Any) -> list[dict[str, Any]]:
    """Return every step that uses an action or runs something, at whatever depth."""
    if isinstance(document, list):
        return [step for entry in document for step in steps(entry)]
    if not isinstance(document, dict):
        return []
    own = [document] if {"uses", "run"} & set(document) else []
    return own + [step for value in document.values() for step in steps(value)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_alone_unless_a_job_says_more_and_ends_in_time(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_artifacts_end_and_no_checkout_leaves_its_token() -> None:
    found = [
        step
        for path in [*WORKFLOWS, ACTION / "action.yml"]
        for step in steps(yaml.safe_load(path.read_text("utf-8")))
    ]
    uploads = [step["with"] for step in found if "upload-artifact" in step.get("uses", "")]
    checkouts = [step["with"] for step in found if "actions/checkout" in step.get("uses", "")]
    assert len(uploads) >= 3
    assert all("retention-days" in step for step in uploads)
    assert all(step["persist-credentials"] is False for step in checkouts)


def test_the_report_is_shown_before_the_verdict_ends_the_job_and_when_it_is_red() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
    names = [step.get("name") for step in action["runs"]["steps"]]
    assert names[-1] == "Verdict"
    shown = action["runs"]["steps"][names.index("Run") + 1 :]
    assert all(step["if"].startswith("always()") for step in shown)


def test_what_a_user_types_is_no_part_of_a_script() -> None:
    for path in [*WORKFLOWS, ACTION / "action.yml"]:
        scripts = [step.get("run", "") for step in steps(yaml.safe_load(path.read_text("utf-8")))]
        assert not [script for script in scripts if "${{" in script], path


@pytest.mark.parametrize(
    ("command", "code", "shown"),
    [
        (f"{MADE}; exit 1", 1, "red"),
        ("exit 4", 4, "Stormwatch made no report: see the log of the job."),
    ],
)
def test_a_red_run_leaves_its_code_and_something_to_show(
    tmp_path: Path, command: str, code: int, shown: str
) -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
    script = next(step["run"] for step in action["runs"]["steps"] if step.get("name") == "Run")
    environment = {
        "COMMAND": command,
        "GITHUB_OUTPUT": "output",
        "RUNNER_TEMP": "temp",
        "PATH": os.environ["PATH"],
    }
    # As GitHub runs `shell: bash`.
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, check=True, timeout=30,
    )  # fmt: skip
    assert (tmp_path / "output").read_text(encoding="utf-8") == f"code={code}\n"
    assert (tmp_path / "temp" / "stormwatch" / "report.md").read_text(encoding="utf-8").strip() == shown


# --- comments ------------------------------------------------------------------------------------------

GH = """#!/bin/bash
printf '%s\\n' "$*" >> calls
for argument in "$@"; do [[ $argument == body=@* ]] && cp "${argument#body=@}" body; done
[[ "$*" == *--jq* ]] && cat found
exit 0
"""


def post(folder: Path, report: str, found: str) -> str:
    """Post a report where GitHub knows of comments with these ids; return what gh was called with last."""
    (folder / "gh").write_text(GH, encoding="utf-8")
    (folder / "gh").chmod(0o755)
    (folder / "found").write_text(found, encoding="utf-8")
    (folder / "report.md").write_text(report, encoding="utf-8")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "a/b", "GH_TOKEN": "none"}
    subprocess.run(
        [ACTION / "comment", "report.md", "7", "sla-report"],
        cwd=folder,
        env=environment,
        check=True,
        timeout=30,
    )
    return (folder / "calls").read_text(encoding="utf-8").splitlines()[-1]


def test_a_report_is_posted_once_and_then_put_in_place_of_the_last(tmp_path: Path) -> None:
    assert "--method POST repos/a/b/issues/7/comments " in post(tmp_path, "first", "")
    assert (tmp_path / "body").read_text(encoding="utf-8") == "<!-- stormwatch: sla-report -->\nfirst"
    assert "--method PATCH repos/a/b/issues/comments/41 " in post(tmp_path, "second", "41\n42\n")


def test_a_report_that_is_too_long_for_a_comment_is_cut_between_characters(tmp_path: Path) -> None:
    post(tmp_path, "x" + "✅" * 30_000, "")
    body = (tmp_path / "body").read_text(encoding="utf-8")
    assert body.endswith("✅")
    assert len(body.encode()) < 65_536


def test_a_workflow_with_a_fault_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("on: push\njobs:\n  one:\n    runs-on: x\n    stepz: []\n", encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    assert subprocess.run([*command, broken], check=False, capture_output=True, timeout=60).returncode == 1
    found = subprocess.run([*command, *WORKFLOWS], check=False, capture_output=True, timeout=60)
    assert found.returncode == 0, found.stdout
