"""The steady state before a fault: seen, not assumed, and not waited for for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.documents.rows import Finding
from harness.documents.verdict import Verdict
from harness.experiment import Experiment, Inconclusive, Testbeds
from harness.experiment import watch as module
from harness.experiment.watch import Watch
from harness.history import now_ns
from harness.sla.policy import load_policy

Steady = Callable[..., int]


@pytest.fixture
def steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steady:
    """Return what looks for a steady state: each look finds the next verdict; tells how many it took."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def look(*verdicts: Verdict) -> int:
        looks = 0

        def judge_all(*_: Any) -> list[Finding]:
            nonlocal looks
            looks += 1
            verdict = verdicts[min(looks, len(verdicts)) - 1]
            return [Finding(name="timers", verdict=verdict, explanation="not exercised")]

        def wait(_: Watch, seconds: float) -> None:
            clock.now += max(seconds, 0.0)

        monkeypatch.setattr(module, "judge_all", judge_all)
        monkeypatch.setattr(Watch, "wait", wait)
        policy = load_policy()
        subject = Experiment(
            session=tmp_path, testbeds=Testbeds(tmp_path, policy), policy=policy, id="x", title="", command=""
        )
        evidence = SimpleNamespace(tick_s=0.5, policy=policy)
        testbed: Any = SimpleNamespace(settled_since_ns=now_ns(), evidence=lambda: evidence)
        subject._watch = Watch(testbed)
        subject.steady("3s")
        return looks

    return look


def test_what_is_well_is_looked_at_once(steady: Steady) -> None:
    assert steady("pass") == 1


def test_it_waits_until_a_timer_has_fired(steady: Steady) -> None:
    assert steady("inconclusive", "inconclusive", "pass") == 3


def test_where_no_timer_ever_fires_there_is_no_steady_state(steady: Steady) -> None:
    with pytest.raises(Inconclusive, match="no steady state"):
        steady("inconclusive")


def test_what_was_ill_once_may_be_well_for_long_enough(steady: Steady) -> None:
    assert steady("fail", "pass") == 2


def test_what_stays_ill_is_no_steady_state(steady: Steady) -> None:
    with pytest.raises(Inconclusive, match="timers"):
        steady("fail")


@pytest.mark.parametrize(("looks", "taken"), [([True], 1), ([False, False, True], 3), ([OSError(), True], 2)])
def test_a_fault_waits_until_a_game_is_to_fall_due(
    monkeypatch: pytest.MonkeyPatch, looks: list[Any], taken: int
) -> None:
    answers = iter(looks)

    def falls_due(from_s: float, to_s: float) -> bool:
        assert 0 < from_s < to_s
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    watched: list[float] = []
    monkeypatch.setattr(Watch, "wait", lambda _, seconds: watched.append(seconds))
    testbed: Any = SimpleNamespace(falls_due=falls_due)
    Watch(testbed).wait_until_due()
    assert len(watched) == taken - 1
    assert next(answers, None) is None
