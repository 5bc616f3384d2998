"""Expectations of rollbacks pass on a service that keeps them, and catch one that breaks them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, fault_row, synthetic_rows
from harness.history.names import Reading
from harness.judge import Window
from harness.tests.synthetic_judging import FAULT, SHAPE, at, during, judge, plus
from scenarios.drawing_game.expect_rollback import (
    MakesNoEvents,
    MovedByHand,
    NoGrace,
    RolledBack,
    TicksSkip,
)
from scenarios.drawing_game.faults.rollback import EmergencyRollback
from scenarios.drawing_game.operator import DAWDLER, OPERATOR

ROLLBACK = Window(str(EmergencyRollback()), FAULT.start_ns, FAULT.end_ns)


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture
def rows(good: pd.DataFrame) -> pd.DataFrame:
    return good.copy()


# --- ticks that skip ---------------------------------------------------------------------------------


def test_ticks_that_all_skip_pass(rows: pd.DataFrame) -> None:
    rows.loc[during(rows, "monitor"), "name"] = "skip"
    assert judge(TicksSkip(), rows).verdict == "pass"


def test_a_tick_that_works_is_caught(rows: pd.DataFrame) -> None:
    ticks = rows[during(rows, "monitor")].index
    rows.loc[ticks[1:], "name"] = "skip"
    finding = judge(TicksSkip(), rows)
    assert (finding.verdict, finding.measured) == ("fail", 1)


def test_a_tick_that_fails_is_no_skip(rows: pd.DataFrame) -> None:
    ticks = during(rows, "monitor")
    rows.loc[ticks, "name"] = "skip"
    rows.loc[rows[ticks].index[0], ["ok", "error"]] = [False, "http 503"]
    assert judge(TicksSkip(), rows).verdict == "fail"


def test_no_ticks_prove_nothing_of_skipping(rows: pd.DataFrame) -> None:
    assert judge(TicksSkip(), rows[~during(rows, "monitor")]).verdict == "inconclusive"


# --- moved by hand -----------------------------------------------------------------------------------


def call(second: float, ok: bool = True) -> dict[str, Any]:
    return {
        "kind": "http", "name": "POST /rest/v1/rpc/transition_game_status", "actor": OPERATOR,
        "start_ns": at(second), "end_ns": at(second + 0.01), "ok": ok, "error": None if ok else "http 500",
    }  # fmt: skip


def by_hand(rows: pd.DataFrame) -> pd.DataFrame:
    """Have some games be moved by no timer."""
    timed = rows[during(rows, "transition", 22, 28) & (rows["name"] != "waiting->briefing")].index
    rows.loc[timed, "intended_ns"] = None
    return rows


def test_games_moved_by_hand_pass(rows: pd.DataFrame) -> None:
    finding = judge(MovedByHand(), plus(by_hand(rows), call(21), call(25)))
    assert finding.verdict == "pass"
    assert "0 of 2 calls failed" in finding.explanation


def test_a_call_that_fails_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(MovedByHand(), plus(by_hand(rows), call(21), call(25, ok=False)))
    assert (finding.verdict, finding.measured) == ("fail", 1)


def test_calls_that_move_nothing_are_caught(rows: pd.DataFrame) -> None:
    finding = judge(MovedByHand(), plus(rows, call(21)))
    assert finding.verdict == "fail"
    assert "nothing was moved" in finding.explanation


def test_an_operator_who_makes_no_call_proves_nothing(rows: pd.DataFrame) -> None:
    assert judge(MovedByHand(), plus(by_hand(rows), call(15))).verdict == "inconclusive"


# --- grace periods -----------------------------------------------------------------------------------


def dawdler(number: int, over_s: float, grace_s: float) -> list[dict[str, Any]]:
    """A game whose drawing phase of 4 s is over at a second of the run, and gets so long a grace period."""
    game = f"sw12345678-{DAWDLER}-{number}"
    row = {"kind": "transition", "actor": "database", "game": game, "ok": True}
    return [
        row | {"name": "briefing->drawing", "event": f"{game}-2", "seq": 2, "start_ns": at(over_s) - 4 * NS},
        row
        | {
            "name": "drawing->voting",
            "event": f"{game}-3",
            "seq": 3,
            "intended_ns": at(over_s + grace_s),
            "start_ns": at(over_s + grace_s + 0.3),
        },
    ]


def dawdling(rows: pd.DataFrame, *, before: float = 1, during: float = 0, after: float = 1) -> pd.DataFrame:
    spans = [(10, before), (14, before), (22, during), (25, during), (33, after), (36, after)]
    games = [dawdler(n, over_s, grace_s) for n, (over_s, grace_s) in enumerate(spans)]
    return plus(rows, *[row for game in games for row in game])


def test_grace_periods_before_and_after_alone_pass(rows: pd.DataFrame) -> None:
    finding = judge(NoGrace(), dawdling(rows), lengths={"drawing": 4})
    assert finding.verdict == "pass"
    assert finding.explanation == "dawdling: 2 before, 2 while it lasted, 2 after"


@pytest.mark.parametrize(
    "spans", [{"during": 1}, {"before": 0}, {"after": 0}], ids=["while it is off", "before", "on again"]
)
def test_grace_periods_that_are_wrong_are_caught(rows: pd.DataFrame, spans: dict[str, float]) -> None:
    finding = judge(NoGrace(), dawdling(rows, **spans), lengths={"drawing": 4})
    assert (finding.verdict, finding.measured) == ("fail", 2)
    assert DAWDLER in finding.examples[0]["game"]


@pytest.mark.parametrize("second", [29.5, 31.0], ids=["just before the end", "just after it"])
def test_what_runs_out_as_the_flag_is_turned_is_nobodys_fault(rows: pd.DataFrame, second: float) -> None:
    for grace_s in (0.0, 1.0):
        finding = judge(NoGrace(), plus(dawdling(rows), *dawdler(9, second, grace_s)), lengths={"drawing": 4})
        assert finding.verdict == "pass"


def test_without_dawdlers_nothing_is_proven_of_grace(rows: pd.DataFrame) -> None:
    finding = judge(NoGrace(), rows, lengths={"drawing": 4})
    assert finding.verdict == "inconclusive"
    assert "no player dawdled before and while it lasted and after" in finding.explanation


# --- no events ---------------------------------------------------------------------------------------


def test_moves_without_events_pass(rows: pd.DataFrame) -> None:
    rows.loc[during(rows, "transition"), "event"] = None
    assert judge(MakesNoEvents(), rows).verdict == "pass"


def test_a_move_with_an_event_is_caught(rows: pd.DataFrame) -> None:
    moved = rows[during(rows, "transition")].index
    rows.loc[moved[1:], "event"] = None
    finding = judge(MakesNoEvents(), rows)
    assert (finding.verdict, finding.measured) == ("fail", 1)


def test_without_moves_nothing_is_proven_of_events(rows: pd.DataFrame) -> None:
    assert judge(MakesNoEvents(), rows[~during(rows, "transition")]).verdict == "inconclusive"


# --- the emergency rollback --------------------------------------------------------------------------


def rolled_back(rows: pd.DataFrame, *lengths_s: float, ok: bool = True) -> pd.DataFrame:
    """Add a rollback whose steps took so long, up to the begin of the fault's effect."""
    begun_s = 20 - sum(lengths_s)
    fault = fault_row(ROLLBACK.name, start_ns=at(begun_s))
    steps = []
    for step, length_s in zip(EmergencyRollback.STEPS, lengths_s, strict=False):
        steps.append(
            {
                "kind": "resource",
                "name": Reading.STEP,
                "actor": step,
                "start_ns": at(begun_s),
                "end_ns": at(begun_s + length_s),
                "ok": ok,
                "value": length_s,
            }
        )
        begun_s += length_s
    return plus(rows, fault, *steps)


def test_a_quick_rollback_passes_and_names_its_steps(rows: pd.DataFrame) -> None:
    finding = judge(RolledBack(300), rolled_back(rows, 0.5, 3.0, 0.1), ROLLBACK)
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(3.6)
    assert "2 redeploy the functions 3.00 s" in finding.explanation


def test_a_slow_rollback_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(RolledBack(5), rolled_back(rows, 0.5, 5.0, 0.1), ROLLBACK)
    assert finding.verdict == "fail"
    assert finding.measured == pytest.approx(5.6)


def test_a_missing_step_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(RolledBack(300), rolled_back(rows, 0.5, 3.0), ROLLBACK)
    assert (finding.verdict, finding.measured) == ("fail", None)
    assert "not done: 3 drop the trigger" in finding.explanation


def test_a_step_that_failed_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(RolledBack(300), rolled_back(rows, 0.5, 3.0, 0.1, ok=False), ROLLBACK)
    assert (finding.verdict, finding.measured) == ("fail", None)


def test_a_rollback_that_was_not_recorded_proves_nothing(rows: pd.DataFrame) -> None:
    assert judge(RolledBack(300), rows, ROLLBACK).verdict == "inconclusive"
