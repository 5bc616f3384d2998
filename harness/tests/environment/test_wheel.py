"""The wheel in an environment of its own: one name, no tests, and all that a run needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; all else is found where it is installed here."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Links to source folders, this one's among them, are not followed from there.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return programs


def run(*words: str | Path, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


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


def test_all_that_a_run_needs_is_found_there(fresh: Path, tmp_path: Path) -> None:
    shown = run(
        fresh / "python", "-c", "import harness, sys; print(harness.__file__, *sys.path)", cwd=tmp_path
    )
    assert str(PROJECT) not in shown.replace(sysconfig.get_path("purelib"), "")
    run(fresh / "stormwatch", "init", "quiz", cwd=tmp_path)
    for topic, told in (("verdicts", "inconclusive"), ("policy", "comparison")):
        assert told in run(fresh / "stormwatch", "help", topic, cwd=tmp_path)
    found = json.loads(run(fresh / "stormwatch", "doctor", "--json", cwd=tmp_path))
    assert {one["part"]: one["works"] for one in found}["PubNub"] is True
    assert {one["part"] for one in found} >= {"Postgres", "Toxiproxy", "PubNub", "system", "service"}


def test_what_init_writes_is_put_to_the_test_at_once(fresh: Path, tmp_path: Path) -> None:
    run(fresh / "stormwatch", "init", "quiz", cwd=tmp_path)
    policy = tmp_path / "stormwatch" / "sla.toml"
    with policy.open("a", encoding="utf-8") as file:
        file.write('[tolerances]\nsettle = "1s"\n')
    # Rounds of a second, for some seconds: too few to prove a promise, and enough for each to be measured.
    shortly = ("--games=4", "--players=2", "--announced=500ms", "--open=500ms", "--duration=4s")
    run(fresh / "stormwatch", "run", "--no-failures", "--", *shortly, cwd=tmp_path, codes=(0, 3))
    report = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text(encoding="utf-8"))
    verdicts = {row["name"]: row["verdict"] for row in report["objectives"] + report["integrity"]}
    assert "fail" not in verdicts.values(), verdicts
    assert verdicts["lost_events"] == verdicts["lost_transitions"] == "pass", verdicts
    assert all(row["samples"] for row in report["objectives"]), report["objectives"]
