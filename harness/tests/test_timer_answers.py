"""What the timer call tells is compared with the truth, and with what the same player knew before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of
from harness.documents.rows import IntegrityRow, ObjectiveRow
from harness.history import HistoryWriter, read_history
from harness.judge import Evidence, evidence_of
from harness.judge.rows import integrity_row, objective_row
from harness.report.build import report_on
from harness.sla.policy import load_policy
from harness.system import TimeLeft
from scenarios.systems.drawing_game import DrawingGame

POLICY = load_policy()
NAME = "timer_answers"
SHAPE = Shape(games_at_once=40, players=2, seconds=40, http_per_s=2)


def evidence(rows: pd.DataFrame, **about: Any) -> Evidence:
    return evidence_of(history_of(rows), run_of(SHAPE, **about), POLICY)


def objective(rows: pd.DataFrame, **about: Any) -> ObjectiveRow:
    return objective_row(NAME, POLICY.objectives[NAME], evidence(rows, **about), [])[0]


def reported(rows: pd.DataFrame, **about: Any) -> ObjectiveRow:
    """With what the checks of the measurement say against it."""
    return next(one for one in report_on(evidence(rows, **about), "run").objectives if one.name == NAME)


def back(rows: pd.DataFrame, **about: Any) -> IntegrityRow:
    return integrity_row("timer_back", evidence(rows, **about), [])


def answers(rows: pd.DataFrame, state: str = "") -> pd.Series:
    """Which rows are answers to players, of one state or of any."""
    told = (rows["kind"] == "timer") & (rows["name"] == "told")
    return told & (rows["target"] == state) if state else told


def timers(rows: pd.DataFrame) -> pd.Series:
    return (rows["kind"] == "timer") & (rows["name"] == "set")


def clock(rows: pd.DataFrame, offset_ms: float, bound_ms: float) -> pd.DataFrame:
    """Tell another offset and bound of the database's clock."""
    of_database = rows["actor"] == "database"
    rows.loc[of_database & (rows["name"] == "clock_offset_ms"), "value"] = offset_ms
    rows.loc[of_database & (rows["name"] == "clock_error_bound_ms"), "value"] = bound_ms
    return rows


# --- held against the truth ----------------------------------------------------------------------------


def test_answers_that_tell_what_is_so_pass(rows: pd.DataFrame) -> None:
    found = objective(rows)
    assert (found.verdict, found.samples > 500, found.worst) == ("pass", True, ())
    assert found.measured == pytest.approx(0, abs=1e-3)
    assert back(rows).verdict == "pass"


@pytest.mark.parametrize("by_s", [2.0, -0.8])
def test_more_or_less_time_than_is_left_fails(by_s: float, rows: pd.DataFrame) -> None:
    rows.loc[answers(rows), "value"] += by_s
    found = objective(rows)
    assert (found.verdict, found.measured) == ("fail", pytest.approx(abs(by_s), abs=0.01))
    assert {"game", "actor", "detail"} <= found.worst[0].keys()
    assert " s left; " in found.worst[0]["detail"]


def test_another_end_fails_though_the_time_left_is_right(rows: pd.DataFrame) -> None:
    rows.loc[answers(rows), "intended_ns"] += 60 * NS
    found = objective(rows)
    assert (found.verdict, found.measured) == ("fail", pytest.approx(60, abs=0.01))
    assert "its end is 60.0 s off" in found.worst[0]["detail"]


def test_an_answer_from_an_old_copy_is_as_far_off_as_it_is_old(rows: pd.DataFrame) -> None:
    # Asked 4 s after the time of which it tells: of many, the phase is over since.
    old = answers(rows, "voting")
    rows.loc[old, ["start_ns", "end_ns"]] += 4 * NS
    found = objective(rows)
    assert (found.verdict, found.measured) == ("fail", pytest.approx(2.1, abs=0.5))
    assert "it was over since" in found.worst[0]["detail"]


def test_a_state_that_never_was_is_off_for_ever(rows: pd.DataFrame) -> None:
    rows.loc[answers(rows, "briefing"), "target"] = "cancelled"
    found = objective(rows)
    assert (found.verdict, found.measured) == ("fail", float("inf"))
    assert "it never was" in found.worst[0]["detail"]


def test_one_answer_of_many_that_is_off_is_borne(rows: pd.DataFrame) -> None:
    rows.loc[rows.index[answers(rows)][300], "value"] += 5
    assert objective(rows).verdict == "pass"


def test_within_the_round_trip_nobody_can_tell(rows: pd.DataFrame) -> None:
    told = answers(rows)
    rows.loc[told, "value"] -= 0.7
    rows.loc[told, "end_ns"] += NS
    assert objective(rows).verdict == "pass"


def test_a_timer_that_is_extended_may_be_told_with_either_end(rows: pd.DataFrame) -> None:
    # The end as it was set is 2 s earlier than that at which the phase was left.
    rows.loc[timers(rows), "intended_ns"] -= 2 * NS
    assert objective(rows).verdict == "pass"
    rows.loc[answers(rows), "intended_ns"] -= 2 * NS
    rows.loc[answers(rows), "value"] -= 2
    rows.loc[answers(rows), "value"] = rows.loc[answers(rows), "value"].clip(lower=0)
    assert objective(rows).verdict == "pass"
    rows.loc[answers(rows), "value"] += 5
    assert objective(rows).verdict == "fail"


def test_the_offset_of_the_databases_clock_is_taken_out(rows: pd.DataFrame) -> None:
    of_database = rows["kind"].isin(["transition", "trigger", "publish"]) | timers(rows)
    for column in ("intended_ns", "start_ns", "end_ns"):
        rows.loc[of_database, column] += 5 * NS
    rows.loc[answers(rows), "intended_ns"] += 5 * NS
    found = objective(clock(rows, 5000, 0.4))
    assert (found.verdict, found.measured) == ("pass", pytest.approx(0, abs=1e-3))


def test_a_clock_that_is_known_worse_than_answers_are_off_is_the_reason_why_nobody_can_tell(
    rows: pd.DataFrame,
) -> None:
    rows.loc[answers(rows), "value"] += 0.6
    assert objective(rows).verdict == "fail"
    found = reported(clock(rows, 0, 200))
    assert (found.verdict, found.clock_error) == ("inconclusive", pytest.approx(0.2))
    assert "Clock of the database" in found.reason


# --- where nobody can tell -----------------------------------------------------------------------------


def test_while_the_truth_is_missing_nobody_can_tell(rows: pd.DataFrame) -> None:
    rows.loc[answers(rows), "value"] += 5
    blind = rows[~(rows["kind"].isin(["transition", "trigger", "publish"]) | timers(rows))]
    gone = [{"witness": "database", "reason": "the database could not be read"}]
    found = reported(blind, missing=gone)
    assert (found.verdict, found.samples) == ("inconclusive", 0)
    assert "the database could not be read" in " ".join(found.doubts)


def test_of_a_phase_under_way_nobody_knows_when_it_is_to_end(rows: pd.DataFrame) -> None:
    found = objective(rows[~((rows["kind"] == "transition") & (rows["name"] == "voting->completed"))])
    assert found.verdict == "pass"
    assert "of which the end is not known, and not counted" in found.explanation


def test_where_nobody_asks_it_is_not_applicable(rows: pd.DataFrame) -> None:
    system = DrawingGame.entry(may_watch=False) | {"members": ["tick"]}
    silent = rows[~answers(rows)]
    found = objective(silent, system=system), back(silent, system=system)
    assert [(one.verdict, one.absent) for one in found] == [
        ("not applicable", "nobody asks how much time is left")
    ] * 2
    members = system | {"members": ["ask_timer", "tick"]}
    assert objective(silent, system=members).verdict == "inconclusive"


def test_a_record_of_an_earlier_version_is_not_applicable(rows: pd.DataFrame) -> None:
    calls = rows["kind"] == "http"
    rows.loc[calls, "intended_ns"] = rows.loc[calls, "start_ns"]
    found = objective(rows[rows["kind"] != "timer"])
    assert (found.verdict, "its record" in (found.absent or "")) == ("not applicable", True)


def test_a_witness_that_does_not_say_when_timers_end_makes_it_not_applicable(rows: pd.DataFrame) -> None:
    found = objective(rows[~timers(rows)])
    assert (found.verdict, "`ends_at`" in (found.absent or "")) == ("not applicable", True)


# --- held against what the player knew -----------------------------------------------------------------


def later(rows: pd.DataFrame, by_s: float, **told: Any) -> pd.DataFrame:
    """One player asks a second time, after a while, and is told something else."""
    first = rows[answers(rows, "drawing")].iloc[[9]]
    second = first.assign(
        start_ns=first["start_ns"] + int(by_s * NS), end_ns=first["end_ns"] + int(by_s * NS)
    )
    second["value"] = (second["value"] - by_s).clip(lower=0)
    return pd.concat([rows, second.assign(**told)], ignore_index=True)


def test_less_time_left_is_how_it_goes(rows: pd.DataFrame) -> None:
    assert back(later(rows, 0.5)).verdict == "pass"


def test_more_time_left_than_before_went_back(rows: pd.DataFrame) -> None:
    found = back(later(rows, 0.5, value=3.9))
    assert (found.verdict, found.violations) == ("fail", 1)
    assert found.examples[0]["detail"].startswith("told drawing, 3.9 s left")


def test_of_a_timer_that_was_extended_more_may_be_left(rows: pd.DataFrame) -> None:
    rows.loc[timers(rows), "intended_ns"] -= 2 * NS
    assert back(later(rows, 0.5, value=3.9)).verdict == "pass"


def test_answers_that_overtake_each_other_are_not_compared(rows: pd.DataFrame) -> None:
    assert back(later(rows, 0.001, value=3.9)).verdict == "pass"


def test_an_earlier_state_than_one_that_was_answered_before_went_back(rows: pd.DataFrame) -> None:
    found = back(later(rows, 0.5, target="briefing"))
    assert (found.verdict, found.violations) == ("fail", 1)
    assert found.examples[0]["detail"] == "told briefing after drawing"


@pytest.mark.parametrize(("after_s", "violations"), [(1.5, 0), (2.5, 1)])
def test_what_an_event_told_is_told_by_the_timer_within_the_promised_latency(
    after_s: float, violations: int, rows: pd.DataFrame
) -> None:
    # An answer that still tells of drawing, so long after its player heard that voting began.
    heard = (rows["kind"] == "delivery") & (rows["target"] == "voting") & (rows["actor"] == "player-1")
    event = rows[heard].iloc[5]
    mine = (rows["game"] == event["game"]) & (rows["actor"] == "player-1")
    at_ns = int(event["end_ns"]) + int(after_s * NS)
    stale = rows[answers(rows, "drawing") & mine].assign(start_ns=at_ns, end_ns=at_ns + 1, value=0.0)
    found = back(pd.concat([rows[~(answers(rows) & mine)], stale], ignore_index=True))
    assert found.violations == violations
    if violations:
        assert found.examples[0]["detail"] == "told drawing after voting"


# --- as it is recorded ---------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [1, 2026, 9999])
def test_whatever_an_answer_tells_can_be_recorded(year: int, tmp_path: Any) -> None:
    told = TimeLeft("drawing", float("inf"), datetime(year, 12, 31, tzinfo=UTC))
    with HistoryWriter(tmp_path, "load", "run") as history:
        history.append(told.row("game-1", "player-1", START, START + 1))
    (row,) = read_history(tmp_path).table.to_pylist()
    assert (row["kind"], row["target"], row["value"]) == ("timer", "drawing", float("inf"))


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        TimeLeft("drawing", float("nan"))
    with pytest.raises(ValueError, match="no time zone"):
        TimeLeft("drawing", 1.0, datetime(2026, 1, 1))
