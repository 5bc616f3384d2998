"""`stormwatch init` writes a whole beginning, and never over what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from harness.cli import main
from harness.sla.policy import load_policy
from harness.system import HasProcesses, find_system
from harness.system.beside import load_of, scenarios_of


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "3 Our Auctions"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def init(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["init", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_all_of_it_is_found_where_it_is_written(repository: Path) -> None:
    assert "stormwatch run --system stormwatch/our_auctions.py" in init()
    system = find_system()
    assert (system.__name__, system.name) == ("OurAuctions", "our_auctions")
    assert issubclass(system, HasProcesses)
    assert load_of(system) == repository / "stormwatch" / "locustfile.py"
    assert scenarios_of(system)[1] == repository / "stormwatch" / "failure"
    assert "our_auctions" in (repository / "stormwatch" / "failure" / "test_our_auctions.py").read_text(
        "utf-8"
    )
    assert load_policy(repository / "stormwatch" / "sla.toml", profile="quick").objectives
    for path in (".github/workflows/stormwatch.yml", ".gitlab-ci.yml", "stormwatch/gitlab-ci.yml"):
        assert yaml.safe_load(Path(path).read_text(encoding="utf-8")), path
    assert not [path for path in repository.rglob("*") if "mine" in path.name]


def test_nothing_is_overwritten_and_what_belongs_into_a_file_of_others_is_told(repository: Path) -> None:
    Path("pyproject.toml").write_text("[project]\n", encoding="utf-8")
    Path("stormwatch").mkdir()
    Path("stormwatch/auction.py").write_text("ours", encoding="utf-8")
    said = init("auction")
    assert "kept     stormwatch/auction.py" in said
    assert 'add: system = "stormwatch/auction.py"' in said
    assert Path("pyproject.toml").read_text(encoding="utf-8") == "[project]\n"
    assert Path("stormwatch/auction.py").read_text(encoding="utf-8") == "ours"
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert "written" not in init("auction")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["My Auction", "../x", "9lives", "locustfile", "a-b"])
def test_a_name_that_no_module_can_have_is_refused(repository: Path, name: str) -> None:
    assert f"NAME {name!r}" in init(name, code=2)
    assert list(repository.iterdir()) == []


def test_a_folder_without_letters_gives_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2026").mkdir()
    monkeypatch.chdir(tmp_path / "2026")
    assert "stormwatch/mine.py" in init()
