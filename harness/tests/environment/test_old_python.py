"""A Python that is too old is told of in a line, before anything is installed with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    old = tmp_path / "python3.10"
    lie = "import sys; sys.version_info = (3, 10, 2); sys.version = '3.10.2 (main)'; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{lie}" "$2"\n', encoding="utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", tmp_path, "setup", f"PYTHON={old}"],
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode != 0
    assert f"Python 3.11 or newer is needed, {old} is 3.10.2" in done.stderr
    assert not (tmp_path / ".venv").exists()
