"""The steady state before a fault: seen, not assumed, and not waited for for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from harness.documents.rows import Finding
from harness.documents.verdict import Verdict
from harness.experiment import Experiment, Inconclusive, Testbeds
from harness.experiment import watch as module
from harness.experiment.testbed import timers_left_s
from harness.experiment.watch import DUE_S, LOOK_S, Watch
from harness.history import now_ns
from harness.judge.evidence import NS
from harness.sla.policy import load_policy
from harness.system import find_system

Steady = Callable[..., int]


@pytest.fixture
def steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steady:
    """Return what looks for a steady state: each look finds the next verdict; tells how many it took."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def look(*verdicts: Verdict, look_s: float = 0.0) -> int:
        looks = 0

        def judge_all(*_: Any) -> list[Finding]:
            nonlocal looks
            looks += 1
            clock.now += look_s
            verdict = verdicts[min(looks, len(verdicts)) - 1]
            return [Finding(name="timers", verdict=verdict, explanation="not exercised")]

        def wait(_: Watch, seconds: float) -> None:
            clock.now += max(seconds, 0.0)

        monkeypatch.setattr(module, "judge_all", judge_all)
        monkeypatch.setattr(Watch, "wait", wait)
        policy = load_policy()
        testbeds = Testbeds(tmp_path, policy, find_system())
        subject = Experiment(session=tmp_path, testbeds=testbeds, policy=policy, id="x", title="", command="")
        evidence = SimpleNamespace(tick_s=0.5, policy=policy)
        testbed: Any = SimpleNamespace(
            settled_since_ns=now_ns(), evidence=lambda: evidence, game_s=60.0, applicable=list
        )
        subject._watch = Watch(testbed)
        subject.steady()
        return looks

    return look


def test_what_is_well_is_looked_at_once(steady: Steady) -> None:
    assert steady("pass") == 1


def test_it_waits_until_a_timer_has_fired(steady: Steady) -> None:
    assert steady("inconclusive", "inconclusive", "pass") == 3


def test_on_a_busy_machine_a_look_that_was_begun_in_time_is_not_the_last(steady: Steady) -> None:
    # A look takes as long as all is waited for, and finds what was there when it was begun.
    assert steady("inconclusive", "pass", look_s=70.0) == 2


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
    testbed: Any = SimpleNamespace(falls_due=falls_due, game_s=60.0)
    assert Watch(testbed).wait_until_due()
    assert len(watched) == taken - 1
    assert next(answers, None) is None


def test_without_a_database_the_timers_that_run_are_told_by_the_moves() -> None:
    moves = pd.DataFrame(
        {
            "game": [1, 1, 2, 3],
            "to": ["open", "closed", "open", "open"],
            "moved_ns": [1 * NS, 3 * NS, 3 * NS, 4 * NS],
        }
    )
    left_s = timers_left_s(moves, {"open": 2.0}.get, at_ns=4 * NS)
    assert left_s.tolist() == [1.0, 2.0], "the first one is over"
    assert timers_left_s(moves[:0], {"open": 2.0}.get, at_ns=4 * NS).empty


@pytest.mark.parametrize(
    ("looks", "waits"),
    [([2], []), ([0, 1, 2], [LOOK_S, LOOK_S, DUE_S[1]]), ([0, None], [LOOK_S, DUE_S[1]])],
)
def test_a_fault_lasts_until_timers_fell_due_and_a_little_longer_or_nobody_can_tell(
    monkeypatch: pytest.MonkeyPatch, looks: list[int | None], waits: list[float]
) -> None:
    answers = iter(looks)
    watched: list[float] = []
    monkeypatch.setattr(Watch, "wait", lambda _, seconds: watched.append(seconds))
    testbed: Any = SimpleNamespace(fallen_due=lambda since_ns: next(answers), game_s=60.0)
    Watch(testbed).wait_until_fallen_due(0, timers=2)
    assert watched == waits
    assert next(answers, "all asked") == "all asked"


def test_where_nothing_falls_due_a_fault_lasts_no_longer_than_a_game(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def wait(_: Watch, seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(Watch, "wait", wait)
    testbed: Any = SimpleNamespace(falls_due=lambda *_: False, fallen_due=lambda _: 0, game_s=60.0)
    watch = Watch(testbed)
    watch.wait_until_fallen_due(0, timers=1)
    assert clock.now == pytest.approx(watch.patience_s, abs=module.LOOK_S)
    assert not watch.wait_until_due()
    assert clock.now == pytest.approx(2 * watch.patience_s, abs=module.LOOK_S)


@pytest.mark.parametrize(("applied_s", "waits"), [(0.1, []), (1.0, [1])])
def test_a_fault_that_takes_long_to_apply_waits_for_the_next_timer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, applied_s: float, waits: list[int]
) -> None:
    clock, waited = SimpleNamespace(ns=0), []
    monkeypatch.setattr("harness.experiment.experiment.now_ns", lambda: clock.ns)

    @contextmanager
    def inject(*_: object) -> Iterator[None]:
        clock.ns += int(applied_s * 1e9)
        yield

    watch = SimpleNamespace(
        wait_until_due=lambda: True,
        wait=lambda seconds: None,
        wait_until_fallen_due=lambda since_ns, timers: waited.append(timers),
        touched=set(),
    )
    monkeypatch.setattr(Experiment, "watch", watch)
    monkeypatch.setattr(Experiment, "stack", None)
    monkeypatch.setattr(Experiment, "history", None)
    monkeypatch.setattr(Experiment, "_expect", lambda *_: SimpleNamespace())
    monkeypatch.setattr(Experiment, "_note", lambda _: None)
    policy = load_policy()
    testbeds = Testbeds(tmp_path, policy, find_system())
    subject = Experiment(session=tmp_path, testbeds=testbeds, policy=policy, id="x", title="", command="")
    fault: Any = SimpleNamespace(place="service", target="service", inject=inject)
    subject.inject(fault, "5s")
    assert waited == waits
