"""What lies beside a system's file replaces what comes along; its policy is named to all processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.files import SHIPPED
from harness.pytest_plugin import scenario_id
from harness.sla.policy import SETTING as POLICY
from harness.sla.policy import load_policy
from harness.system import System, find_system
from harness.system.beside import load_of, put_to_the_test, scenarios_of
from harness.system.find import SETTING
from harness.tests.helpers import REFERENCE, policy_with
from harness.tests.test_system_find import WHOLE


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[System]:
    for name in (SETTING, POLICY):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        del os.environ[name]
    (tmp_path / "auction.py").write_text(WHOLE, encoding="utf-8")
    return find_system(str(tmp_path / "auction.py"))


def test_alone_it_takes_what_comes_along(system: type[System]) -> None:
    assert load_of(system) == SHIPPED / "scenarios" / "concurrent_games.py"
    assert scenarios_of(system) == [SHIPPED / "scenarios" / "failure"]


@pytest.mark.usefixtures("system")
def test_without_a_policy_beside_it_the_example_judges_and_the_reference_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_to_the_test(str(tmp_path / "auction.py"))
    options = [profile.options for profile in load_policy().profiles.values()]
    assert not any("briefing" in one for one in options)
    monkeypatch.delenv(POLICY)
    put_to_the_test(REFERENCE)
    assert "briefing" in load_policy().profiles["quick"].options


def test_a_load_and_scenarios_beside_it_are_its_own(system: type[System], tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").touch()
    (tmp_path / "failure").mkdir()
    assert load_of(system) == tmp_path / "locustfile.py"
    assert scenarios_of(system) == [SHIPPED / "scenarios" / "failure", tmp_path / "failure"]


@pytest.mark.usefixtures("system")
def test_it_is_named_to_all_that_is_started_and_so_is_its_policy(tmp_path: Path) -> None:
    policy = policy_with(tmp_path, 'confidence = "95%"', 'confidence = "90%"')
    assert load_policy().confidence == 0.95
    put_to_the_test(str(tmp_path / "auction.py"))
    assert os.environ[SETTING] == str(tmp_path / "auction.py")
    assert os.environ[POLICY] == str(policy)
    assert load_policy().confidence == 0.9


@pytest.mark.usefixtures("system")
def test_a_policy_that_is_named_and_one_of_the_systems_own_name_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_with(tmp_path, 'confidence = "95%"', 'confidence = "90%"').rename(tmp_path / "auction.toml")
    policy_with(tmp_path, 'confidence = "95%"', 'confidence = "80%"')
    put_to_the_test(str(tmp_path / "auction.py"))
    assert load_policy().confidence == 0.9
    monkeypatch.setenv(POLICY, str(tmp_path / "sla.toml"))
    put_to_the_test(None)
    assert load_policy().confidence == 0.8


def test_a_scenario_that_came_along_is_called_the_same_everywhere() -> None:
    here = "scenarios/failure/test_chaos.py::test_chaos"
    assert scenario_id(f"../lib/harness/_bundled/{here}") == scenario_id(here)
