"""A database that was lost and came back: what its backup lacks is named, the rest is judged as ever."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import synthetic_rows
from harness.commands import drill
from harness.documents.report import Report
from harness.drills.practice import Exercise, practise
from harness.drills.recovery import DataLoss, PlayersAgree, RecoveryTime, RestoreError
from harness.experiment import EveryoneHears, Experiment, Intact
from harness.history import create_run
from harness.judge import INTEGRITY
from harness.sla.policy import load_policy
from harness.tests.synthetic_judging import FAULT, SHAPE, at, evidence, judge, plus
from scenarios.systems.drawing_game import DrawingGame

#: Lost then, and back; the newest commit that survived is of second 20.
LOST_S, BACK_S = 25, 29
PLAYERS = ("player-0", "player-1")


@cache
def calm() -> pd.DataFrame:
    """Return what stands in the record besides games: clocks, ticks, probes."""
    rows = synthetic_rows(SHAPE)
    return rows[rows["kind"].isin(["resource", "monitor", "health"])]


def move(
    seq: int, states: str, second: float, *, event: str = "", due_s: float | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a move of the one game, and of its event."""
    one = {"game": "game-1", "event": event or f"event-{seq}", "seq": seq, "ok": True}
    due_ns = None if seq == 1 else at(second - 0.3 if due_s is None else due_s)
    moved = one | {"start_ns": at(second), "end_ns": at(second + 0.01)}
    rows = [
        {"kind": "transition", "name": states, "actor": "database", "intended_ns": due_ns} | moved,
        {"kind": "trigger", "name": "trigger", "actor": "database", "value": 0.2} | moved,
        {"kind": "publish", "name": "outbox", "actor": "database", "intended_ns": at(second), "value": 1.0}
        | moved,
    ]
    return rows + messages(seq, states, second, one["event"])


def messages(seq: int, states: str, second: float, event: object) -> list[dict[str, Any]]:
    """Return what the players heard of a move."""
    told = {"start_ns": at(second + 0.02), "end_ns": at(second + 0.04), "target": states.partition("->")[2]}
    one = {"game": "game-1", "event": event, "seq": seq, "ok": True}
    return [{"kind": "delivery", "name": "phase_changed", "actor": who} | one | told for who in PLAYERS]


def survived(event: str, second: float) -> dict[str, Any]:
    row = {"kind": "resource", "name": "survived_loss", "actor": "database", "game": "game-1"}
    return row | {"event": event, "start_ns": at(second), "end_ns": at(second + 0.01)}


def lost(at_s: float = LOST_S, back_s: float = BACK_S) -> dict[str, Any]:
    row = {"kind": "resource", "name": "database_lost", "actor": "database"}
    return row | {"start_ns": at(at_s), "end_ns": at(back_s)}


def record(*more: dict[str, Any], told: bool = True, again: bool = True) -> pd.DataFrame:
    """Return a game that had moved to drawing when that was lost, and moves there once more."""
    listen = {"kind": "delivery", "name": "subscribe", "game": "game-1", "ok": True}
    rows = [listen | {"actor": who, "start_ns": at(9), "end_ns": at(9.1)} for who in PLAYERS]
    rows += move(1, "waiting->briefing", 20)
    rows += move(2, "briefing->drawing", 23)
    if told:
        rows += [lost(), survived("event-1", 20)]
    if again:
        rows += move(2, "briefing->drawing", 30, event="event-2-again", due_s=22.7)
        rows += move(3, "drawing->voting", 34)
    return plus(calm(), *rows, *more)


def broken(rows: pd.DataFrame) -> set[str]:
    """Return what must never happen, and did."""
    found = evidence(rows)
    return {name for name in INTEGRITY if Intact(name).judge(found, FAULT).verdict == "fail"}


def test_what_the_backup_lacks_is_nobodys_fault() -> None:
    assert not broken(record())


def test_without_a_loss_the_same_moves_are_twice_and_out_of_order() -> None:
    assert broken(record(told=False)) == {"double", "illegal"}


def test_a_move_that_nobody_but_players_saw_is_lost_too() -> None:
    rows = record(*messages(3, "drawing->voting", 24.9, "never-read"))
    assert not broken(rows)
    assert judge(DataLoss(), rows).explanation.endswith("gap: 2 moves, of which players had heard of 2")


def test_what_is_told_of_nothing_outside_of_the_gap_is_an_untruth() -> None:
    for second in (19, 33):
        assert "told_of_nothing" in broken(record(*messages(3, "drawing->voting", second, "made-up")))


def test_an_event_of_the_backup_that_is_not_sent_is_lost() -> None:
    rows = record()
    heard = (rows["kind"] == "delivery") & (rows["event"] == "event-1").fillna(value=False)
    assert broken(rows[~heard.to_numpy(dtype=bool)]) == {"lost_events"}


def test_a_move_of_afterwards_that_comes_twice_or_early_is_found() -> None:
    assert "double" in broken(record(*move(3, "drawing->voting", 35, event="event-3-again")))
    assert broken(record(*move(4, "voting->completed", 36, due_s=37))) == {"early"}


def test_the_recovery_point_is_the_age_of_the_newest_commit_that_survived() -> None:
    found = judge(DataLoss(), record())
    assert found.verdict == "pass"
    assert found.measured == pytest.approx(LOST_S - 20.01, abs=0.01)
    assert found.examples[0]["event"] == "event-2"


def test_too_old_a_backup_fails() -> None:
    found = evidence(record())
    found.policy = load_policy(changes={"recovery.data_loss": "4s", "recovery.recovery_time": "5s"})
    assert [one.judge(found, FAULT).verdict for one in (DataLoss(), RecoveryTime())] == ["fail", "fail"]


def test_a_backup_with_nothing_in_it_fails() -> None:
    rows = record()
    assert judge(DataLoss(), rows[(rows["name"] != "survived_loss").to_numpy()]).verdict == "fail"


def test_the_recovery_time_ends_with_the_first_move() -> None:
    found = judge(RecoveryTime(), record())
    assert found.verdict == "pass"
    assert found.measured == pytest.approx(5.01, abs=0.01)
    assert judge(RecoveryTime(), record(again=False)).verdict == "fail"


def test_a_player_who_is_left_with_what_was_lost_is_named() -> None:
    assert judge(PlayersAgree(), record()).verdict == "pass"
    left = judge(PlayersAgree(), record(again=False))
    assert (left.verdict, left.measured) == ("fail", 2)


def test_without_a_loss_nothing_is_told_of_one() -> None:
    for expectation in (RecoveryTime(), DataLoss()):
        assert judge(expectation, record(told=False)).verdict == "inconclusive"


def test_a_backup_that_cant_be_restored_fails_the_drill(tmp_path: Path) -> None:
    def play(experiment: Experiment) -> None:
        raise RestoreError("the backup can't be restored: no pg_control", ["the backup is restored"])

    run = create_run(tmp_path, "drill", expects_load=False, expects_scenarios=True)
    exercises = {"recovery": Exercise("Lost.", play)}
    report = practise(run, load_policy(), DrawingGame, exercises, "stormwatch drill recovery")
    assert report.verdict == "fail"
    assert report.scenarios[0].message == "the backup can't be restored: no pg_control"


def test_a_drill_on_a_system_without_a_file_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(drill.command, ["recovery", "--system", str(tmp_path / "none.py")])
    assert done.exit_code == 2


@pytest.mark.slow
def test_a_real_database_is_lost_and_comes_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.cli", "drill", "recovery", "--local", "--json"]
    command += ["--games=6", "--players=1", f"--reports={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    report = Report.model_validate_json(done.stdout)
    (lost,) = report.faults
    found = {row.name: row for row in lost.expectations}
    looked = {name: row.verdict for name, row in found.items() if name.startswith("integrity")}
    assert set(looked.values()) == {"pass"}, looked
    for expected in (RecoveryTime(), DataLoss(), PlayersAgree(), EveryoneHears()):
        assert found[expected.name].verdict == "pass", found[expected.name]
    assert "lost in the backup's gap: " in found[DataLoss().name].explanation
