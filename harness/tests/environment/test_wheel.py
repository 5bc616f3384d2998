"""The wheel: one name, no tests, and nothing that only the reference service can play."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (found,) = folder.iterdir()
    return found


def test_it_has_one_name_no_tests_and_nothing_that_needs_the_reference_service(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        sources = {
            name: archive.read(name).decode()
            for name in names
            if name.startswith("harness/_bundled/scenarios/") and name.endswith(".py")
        }
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"harness"}
    assert not [name for name in names if "/tests/" in name]
    assert sources
    others = re.compile(r"^\s*(?:from|import) (?:scenarios|service|fixtures)\b", re.MULTILINE)
    bound = [name for name, source in sources.items() if others.search(source)]
    assert not bound, "exclude them from the wheel, in pyproject.toml"
