"""What git ignores is in no image: keys of targets lie in files that it ignores."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
IGNORED = (
    "fixtures/targets/staging.env", "fixtures/deep/er/prod.env", "scenarios/.env", "harness/__pycache__/a",
    "service/old.pyc", "scenarios/.mypy_cache/a.json", "harness/.pytest_cache/a", "fixtures/.hypothesis/a",
    "service/.venv/bin/python", "reports/latest/run.json", "dist/a.whl", ".venv-other/a",
)  # fmt: skip
KEPT = (
    "fixtures/targets/staging.env.example",
    "fixtures/targets/README.md",
    "harness/cli.py",
    "service/sql/a.sql",
)

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def expression(pattern: str) -> re.Pattern[str]:
    """A line of .dockerignore: from the top, and with all that lies below."""
    pattern = re.escape(pattern.strip("/")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.compile(f"{pattern}(/.*)?")


def copied(names: list[str]) -> set[str]:
    """Which of files would be in the context of an image's build."""
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [expression(line) for line in lines if line and not line.startswith("#")]
    return {name for name in names if not any(pattern.fullmatch(name) for pattern in patterns)}


def test_no_image_has_what_git_ignores(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name in (".gitignore", "fixtures/targets/.gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    for name in IGNORED + KEPT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    ).stdout.split()
    assert set(listed) - {".gitignore", "fixtures/targets/.gitignore"} == set(KEPT)
    assert copied([*IGNORED, *KEPT]) == set(KEPT)


def test_an_image_has_every_file_of_its_folders_that_git_knows() -> None:
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    sources = [word for line in re.findall("^COPY (.*)$", text, re.M) for word in line.split()[:-1]]
    listed = subprocess.run(["git", "-C", PROJECT, "ls-files", *sources], capture_output=True, check=False)
    known = listed.stdout.decode().split()
    assert copied(known) == set(known)
