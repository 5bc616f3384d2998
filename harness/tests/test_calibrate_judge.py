"""What a calibration makes of constructed measurements: right, wrong, or not to be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.calibrate.judge import busy, judge
from harness.calibrate.measure import Delayed, Findings, Lost, Measured
from harness.calibrate.plan import LOSSES, PATHS, allowed_s
from harness.documents.shown import Calibrated

DELAYS_S = (0.005, 0.05, 0.5, 2.0)
QUIET = {"machine_cpu_percent": 20.0, "harness_cpu_percent": 5.0, "loop_lag_ms": 0.4}
GAMES = frozenset(f"game-{number}" for number in range(10))


def floor(seed: int, count: int = 50, spread_ms: float = 0.3) -> Any:
    """Latencies of a path that nothing is injected into: some 1.2 ms."""
    return 1.2e-3 + np.abs(np.random.default_rng(seed).normal(0, spread_ms / 1000, count))


def measured(
    errors_s: dict[float, float] | None = None, *, spread_ms: float = 0.3, count: int = 50, seed: int = 1
) -> Measured:
    """One path that reports each delay with its error, and well where none is given."""
    errors_s = errors_s or {}
    floors = [floor(seed + number, count, spread_ms) for number in range(len(DELAYS_S) + 1)]
    delayed = [
        Delayed(
            delay,
            delay + errors_s.get(delay, 0.0) + floor(seed + 100 + number, count, spread_ms),
            np.concatenate(floors[number : number + 2]),
        )
        for number, delay in enumerate(DELAYS_S)
    ]
    return Measured(PATHS[0], floors, delayed)


def lost(**changes: Any) -> Lost:
    about = {"injected": GAMES, "reported": GAMES, "cases": 10}
    return Lost("lost", **(about | changes))


def rows_of(*paths: Measured, losses: tuple[Lost, ...] = (), **about: Any) -> list[Calibrated]:
    return judge(Findings(list(paths), list(losses), **({"conditions": QUIET} | about)))


def verdicts(rows: list[Calibrated]) -> dict[float, str]:
    return {row.injected: row.verdict for row in rows if row.kind == "delay"}


def test_a_harness_that_reports_what_was_injected_passes_in_every_row() -> None:
    rows = rows_of(measured(), losses=tuple(Lost(x.name, GAMES, GAMES, 10) for x in LOSSES))
    assert {row.verdict for row in rows} == {"pass"}
    assert [row.injected for row in rows] == [0, *DELAYS_S, 10, 10, 10, 10]
    assert all(row.floor == pytest.approx(1.4e-3, abs=1e-4) for row in rows if row.kind == "delay")


def test_a_subscriber_that_hears_20_ms_later_than_declared_is_caught_and_named() -> None:
    rows = rows_of(measured({0.05: 0.020}))
    assert verdicts(rows) == {0: "pass", 0.005: "pass", 0.05: "fail", 0.5: "pass", 2.0: "pass"}
    caught = next(row for row in rows if row.verdict == "fail")
    assert caught.error == pytest.approx(0.020, abs=3e-4)
    assert caught.reported == pytest.approx(0.070, abs=3e-4)
    assert "2.50 ms either way is allowed" in caught.reason


@pytest.mark.parametrize(
    ("injected", "error_s", "verdict"),
    [
        (0.005, 0.0015, "pass"),
        (0.005, 0.003, "fail"),
        (0.005, -0.003, "fail"),
        (0.5, 0.006, "pass"),
        (0.5, 0.008, "fail"),
        (2.0, 0.021, "pass"),
        (2.0, -0.021, "pass"),
        (2.0, 0.023, "fail"),
        (2.0, -0.023, "fail"),
        # On the edge: some of the interval is within, some is not.
        (2.0, 0.022, "inconclusive"),
    ],
)
def test_two_milliseconds_and_one_percent_are_allowed_either_way(
    injected: float, error_s: float, verdict: str
) -> None:
    assert allowed_s(injected) == pytest.approx(0.002 + injected / 100)
    assert verdicts(rows_of(measured({injected: error_s})))[injected] == verdict


def test_an_error_of_nothing_is_as_good_as_never_called_one() -> None:
    failed = sum(
        row.verdict == "fail"
        for seed in range(0, 10_000, 1_000)
        for row in rows_of(measured(seed=seed, spread_ms=3.0))
    )
    assert failed == 0


def test_what_a_busy_machine_blurs_is_not_told_and_the_machine_is_named() -> None:
    blurred = measured(spread_ms=20.0)
    (row, *_) = [row for row in rows_of(blurred) if row.injected == 0.005]
    assert row.verdict == "inconclusive"
    assert "--repetitions" in row.reason
    crowded = {"machine_cpu_percent": 97.0, "harness_cpu_percent": 5.0, "loop_lag_ms": 31.0}
    (row, *_) = [row for row in rows_of(blurred, conditions=crowded) if row.injected == 0.005]
    assert row.verdict == "inconclusive"
    assert (
        "the machine's CPU was used to 97 % and an event loop of the harness ran 31.0 ms late" in row.reason
    )
    assert busy(QUIET) == ""
    assert busy({}) == ""


def crowd(good: Measured, cpu_percent: float, late_s: float, *, spared: int) -> Measured:
    """The second delay, most of whose samples are late by so much, with the machine so busy."""
    one = good.delayed[1]
    order = np.argsort(one.samples)
    one.samples[order[spared:]] += late_s
    good.delayed[1] = replace(one, cpu_percent=cpu_percent)
    return good


def test_a_fail_on_a_busy_machine_counts_only_if_the_quickest_sample_shows_it_too() -> None:
    def row_of(*about: Any, **more: Any) -> Calibrated:
        return next(row for row in rows_of(crowd(measured(), *about, **more)) if row.injected == 0.05)

    settled = row_of(40.0, 0.015, spared=5)
    assert settled.verdict == "fail"
    crowded = row_of(99.0, 0.015, spared=5)
    assert crowded.verdict == "inconclusive"
    assert "the machine's CPU was used to 99 %, and the quickest sample is as it should be" in crowded.reason
    wrong = row_of(99.0, 0.015, spared=0)
    assert wrong.verdict == "fail"
    assert row_of(99.0, 0.0, spared=0).verdict == "pass"


def test_a_floor_that_moves_by_itself_is_seen_and_is_no_fault_of_the_harness() -> None:
    good = measured()
    jumping = [samples + (0.010 if number % 2 else 0.0) for number, samples in enumerate(good.floors)]
    rows = rows_of(Measured(good.path, jumping, good.delayed))
    assert rows[0].injected == 0
    assert rows[0].verdict == "inconclusive"
    assert rows[0].reason.startswith("The floor itself moved.")


def test_too_few_samples_are_too_few_to_judge() -> None:
    rows = rows_of(measured(count=4))
    assert set(verdicts(rows).values()) == {"inconclusive"}
    assert "at least 10 are needed" in rows[1].reason
    nothing = Measured(PATHS[0], [], [])
    assert verdicts(rows_of(nothing)) == {0: "inconclusive"}


def test_a_sample_that_never_came_makes_its_row_doubtful() -> None:
    good = measured()
    good.delayed[1].samples[3] = np.inf
    row = next(row for row in rows_of(good) if row.injected == 0.05)
    assert (row.verdict, row.error) == ("inconclusive", None)
    assert "1 of the samples never came" in row.reason


def test_a_measurement_in_doubt_judges_nothing_in_either_direction() -> None:
    doubts = ["History files whole: 1 cut off"]
    rows = rows_of(measured({0.05: 0.020}), losses=(lost(reported=frozenset()),), doubts=doubts)
    assert {row.verdict for row in rows} == {"inconclusive"}


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "pass", ""),
        # A loss that is not seen.
        ({"reported": GAMES - {"game-7"}, "cases": 9}, "fail", "9 of 10 reported; not seen: game-7"),
        # The count is right, the game is not.
        ({"reported": GAMES - {"game-7"} | {"game-44"}}, "fail", "left alone: game-44"),
        # A loss that was none.
        ({"reported": GAMES | {"game-44"}, "cases": 11}, "fail", "11 of 10 reported"),
        # The same game twice.
        ({"cases": 11}, "fail", "11 of 10 reported"),
        ({"reported": frozenset(), "cases": 0}, "fail", "not seen: game-0, game-1, game-2 and 7 more"),
    ],
)
def test_losses_have_to_be_exact_game_by_game(changes: dict[str, Any], verdict: str, reason: str) -> None:
    (row,) = rows_of(losses=(lost(**changes),))
    assert row.verdict == verdict
    assert reason in row.reason
    assert (row.injected, row.interval) == (10, None)
