"""Arenas: who gets one that was used before, and who never does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.experiment import arena as module
from harness.experiment.arena import Arenas, Setup
from harness.history import RunFolder
from harness.sla.policy import Policy, load_policy

SETUP = Setup(count=3, service={"ENABLE_GRACE_PERIOD": "false"})


class FakeArena:
    """What :class:`Arenas` needs to know of an arena; a real one is a stack and its load."""

    def __init__(self, setup: Setup, run: RunFolder, policy: Policy) -> None:
        self.setup = setup
        self.run = run
        self.load = SimpleNamespace(ended=None)
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def fake_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Arena", FakeArena)


@pytest.fixture
def arenas(tmp_path: Path) -> Arenas:
    return Arenas(tmp_path, load_policy())


def test_those_that_agree_share_one(arenas: Arenas) -> None:
    first = arenas.take(SETUP, "first")
    arenas.give_back(first)
    assert arenas.take(replace(SETUP, service=dict(SETUP.service)), "second") is first
    assert not first.closed


@pytest.mark.parametrize("other", [{"players": 3}, {"replicas": 2}, {"service": {}}, {"tick": "1s"}])
def test_those_that_differ_do_not(arenas: Arenas, other: dict[str, object]) -> None:
    first = arenas.take(SETUP, "first")
    arenas.give_back(first)
    second = arenas.take(replace(SETUP, **other), "second")
    assert second is not first
    assert first.closed


def test_one_that_was_not_given_back_is_not_handed_out_again(arenas: Arenas) -> None:
    first = arenas.take(SETUP, "first")
    assert arenas.take(SETUP, "second") is not first


def test_one_whose_games_have_ended_is_replaced(arenas: Arenas) -> None:
    first = arenas.take(SETUP, "first")
    arenas.give_back(first)
    first.load.ended = 1
    assert arenas.take(SETUP, "second") is not first
    assert first.closed


def test_apart_each_gets_its_own(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path, load_policy(), shared=False)
    first = arenas.take(SETUP, "same")
    arenas.give_back(first)
    assert first.closed
    second = arenas.take(SETUP, "same")
    assert second is not first
    assert second.run.path != first.run.path


def test_what_is_kept_is_closed_in_the_end(arenas: Arenas) -> None:
    first = arenas.take(SETUP, "first")
    arenas.give_back(first)
    arenas.close()
    assert first.closed
