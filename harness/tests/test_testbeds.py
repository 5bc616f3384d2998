"""Testbeds: who gets one that was used before, and who never does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from harness.calibrate.plan import PATHS, Plan, paths_of, setup_for
from harness.experiment import testbed as module
from harness.experiment.setup import Setup, lacking
from harness.experiment.testbed import Testbeds
from harness.faults import Fault
from harness.faults.database import AdvisoryLock
from harness.faults.network import Down
from harness.history import RunFolder
from harness.sla.policy import Policy, load_policy
from harness.system import Lifecycle, System, Ticks, Timed, find_system

SETUP = Setup(count=3, service={"ENABLE_GRACE_PERIOD": "false"})


class FakeTestbed:
    """What :class:`Testbeds` needs to know of a testbed; a real one is a stack and its load."""

    def __init__(self, setup: Setup, run: RunFolder, policy: Policy, system: type[System]) -> None:
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
    return Testbeds(tmp_path, load_policy(), find_system())


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
    testbeds = Testbeds(tmp_path, load_policy(), find_system(), shared=False)
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


class Slow(System):
    """Rounds of 15 s at least that nobody ticks."""

    name = "quiz"
    lifecycle = Lifecycle(
        "open",
        ("open->asked", "asked->over"),
        {"asked": Timed("20s", "15s", "15s", "20s")},
        frozenset({"over"}),
    )
    without_extensions: ClassVar = {"LATE": "no"}


@pytest.mark.parametrize(
    ("asked", "runs"), [({}, "15s"), ({"asked": "2s"}, "15s"), ({"asked": "1min"}, "20s")]
)
def test_timers_run_as_nearly_as_asked_for_as_the_system_allows(asked: dict[str, str], runs: str) -> None:
    setup = Setup(lengths=asked, tick="1s")
    assert setup.lengths_of(Slow.lifecycle) == {"asked": runs}
    assert setup.game_s(Slow) == float(runs.removesuffix("s")) + 1


@pytest.mark.parametrize(
    ("setup", "needs", "why"),
    [
        (Setup(), [], None),
        (Setup(), [System], None),
        (Setup(own_ticks=True), [], None),
        (Setup(), [Ticks], "quiz is no Ticks: Timers are moved by a call that cron makes."),
        (Setup(), [Down("service-pubnub")], None),
        (
            Setup(),
            [AdvisoryLock()],
            "database:advisory-lock postgres: quiz has no lever tick_lock: add it to `levers`",
        ),
        (Setup(lengths={"drawing": "7s"}), [], "quiz has no timer in a state 'drawing'"),
        (Setup(replicas=3), [], "quiz has no database on a local stack"),
    ],
)
def test_what_a_system_lacks_is_said(setup: Setup, needs: list[type | Fault], why: str | None) -> None:
    found = lacking(setup, Slow, needs)
    assert found == why if why is None else str(found).startswith(why)


def test_replicas_that_share_a_database_stand_in_for_each_other() -> None:
    assert lacking(Setup(replicas=3), find_system()) is None


def test_processes_that_only_tick_when_told_to_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    system = find_system()
    assert lacking(Setup(own_ticks=True), system) is None
    monkeypatch.setattr(system, "own_ticks", None)
    assert "do not tick by themselves" in str(lacking(Setup(own_ticks=True), system))


def test_what_an_experiment_asks_of_the_processes_is_the_systems_to_translate() -> None:
    assert Setup(service={"A": "1"}).environment(Slow) == {"A": "1"}
    assert Setup(service={"A": "1"}, extensions=False, own_ticks=True).environment(Slow) == {
        "A": "1",
        "LATE": "no",
    }


def test_a_calibration_takes_the_ways_that_a_system_has() -> None:
    assert Plan(paths=paths_of(Slow)).places == ()
    reference = Plan(paths=paths_of(find_system()))
    assert (reference.paths, reference.steps) == (PATHS, Plan().steps)
    assert Plan(paths=PATHS[3:]).actions == ()


def test_a_calibrations_events_come_evenly_however_long_timers_run() -> None:
    assert setup_for(find_system()).count == 40
    assert setup_for(find_system(), 100).count == 24
    assert setup_for(Slow).count == round(15.04 / 0.19)
