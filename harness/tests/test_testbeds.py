"""Testbeds: who gets one that was used before, and who never does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.experiment import testbed as module
from harness.experiment.testbed import Setup, Testbeds
from harness.history import RunFolder
from harness.sla.policy import Policy, load_policy

SETUP = Setup(count=3, service={"ENABLE_GRACE_PERIOD": "false"})


class FakeTestbed:
    """What :class:`Testbeds` needs to know of a testbed; a real one is a stack and its load."""

    def __init__(self, setup: Setup, run: RunFolder, policy: Policy) -> None:
        self.setup = setup
        self.run = run
        self.load = SimpleNamespace(exit_code=None)
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def fake_testbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Testbed", FakeTestbed)


@pytest.fixture
def testbeds(tmp_path: Path) -> Testbeds:
    return Testbeds(tmp_path, load_policy())


def test_those_that_agree_share_one(testbeds: Testbeds) -> None:
    first = testbeds.take(SETUP, "first")
    testbeds.give_back(first)
    assert testbeds.take(replace(SETUP, service=dict(SETUP.service)), "second") is first
    assert not first.closed


@pytest.mark.parametrize("other", [{"players": 3}, {"replicas": 2}, {"service": {}}, {"tick": "1s"}])
def test_those_that_differ_do_not(testbeds: Testbeds, other: dict[str, object]) -> None:
    first = testbeds.take(SETUP, "first")
    testbeds.give_back(first)
    second = testbeds.take(replace(SETUP, **other), "second")
    assert second is not first
    assert first.closed


def test_one_that_was_not_given_back_is_not_handed_out_again(testbeds: Testbeds) -> None:
    first = testbeds.take(SETUP, "first")
    assert testbeds.take(SETUP, "second") is not first


def test_one_whose_games_have_ended_is_replaced(testbeds: Testbeds) -> None:
    first = testbeds.take(SETUP, "first")
    testbeds.give_back(first)
    first.load.exit_code = 1
    assert testbeds.take(SETUP, "second") is not first
    assert first.closed


def test_apart_each_gets_its_own(tmp_path: Path) -> None:
    testbeds = Testbeds(tmp_path, load_policy(), shared=False)
    first = testbeds.take(SETUP, "same")
    testbeds.give_back(first)
    assert first.closed
    second = testbeds.take(SETUP, "same")
    assert second is not first
    assert second.run.path != first.run.path


def test_what_is_kept_is_closed_in_the_end(testbeds: Testbeds) -> None:
    first = testbeds.take(SETUP, "first")
    testbeds.give_back(first)
    testbeds.close()
    assert first.closed
