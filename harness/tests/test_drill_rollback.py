"""Ways of rolling back: how long each takes, and what players notice of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import fault_row, synthetic_rows
from harness.cli import main
from harness.commands import drill
from harness.drills.rollback import (
    Noticed,
    PreviousVersion,
    ScheduleOff,
    Timed,
    ways_of,
)
from harness.experiment import ExpectationsFailed
from harness.faults import MissingPartError
from harness.judge import Window
from harness.process import ProcessSpec
from harness.sla.policy import load_policy
from harness.stack import Stack, StackError
from harness.tests.bare import Bare
from harness.tests.permitted import deployment
from harness.tests.synthetic_judging import SHAPE, at, evidence, judge, plus
from harness.tests.test_pool import target_of
from scenarios.systems.drawing_game import DrawingGame

#: Decided at second 20, in effect from 22 to 30, undone at 31.
EFFECT = Window("service:schedule-off service", at(22), at(30))

BOTH = (Timed(forward=False), Timed(forward=True))


def record(**ends: Any) -> pd.DataFrame:
    row = fault_row(EFFECT.name, ok=True, start_ns=at(20))
    return plus(synthetic_rows(SHAPE), row, row | {"end_ns": at(31)} | ends)


def test_both_ways_are_timed() -> None:
    back, again = (judge(one, record(), EFFECT) for one in BOTH)
    assert (back.verdict, back.measured) == ("pass", 2)
    assert (again.verdict, again.measured) == ("pass", 1)


def test_what_takes_longer_than_the_policy_allows_fails() -> None:
    found = evidence(record())
    found.policy = load_policy(changes={"recovery.rollback": "1s"})
    assert [one.judge(found, EFFECT).verdict for one in BOTH] == ["fail", "fail"]


def test_one_that_was_never_undone_can_not_be_timed() -> None:
    rows = record(end_ns=None)
    assert [judge(one, rows, EFFECT).verdict for one in (*BOTH, Noticed())] == ["inconclusive"] * 3


def test_what_players_notice_is_counted() -> None:
    rows = record()
    calm = judge(Noticed(), rows, EFFECT)
    assert "0 of" in calm.explanation
    inside = rows["start_ns"].between(at(21), at(30)).fillna(value=False).astype(bool)
    moves = (rows["kind"] == "transition") & inside
    silent = rows.assign(event=rows["event"].mask(moves))
    heard = (rows["kind"] == "delivery") & (rows["name"] == "phase_changed") & inside
    unheard = rows[~heard]
    late = rows.assign(end_ns=rows["end_ns"].mask(heard, rows["end_ns"] + 5 * 10**9))
    waited = rows.assign(intended_ns=rows["intended_ns"].mask(moves, rows["intended_ns"] - 4 * 10**9))
    told = [judge(Noticed(), changed, EFFECT).explanation.split(", ") for changed in (silent, unheard, late)]
    assert not told[0][0].startswith("0 of")
    assert not told[1][1].startswith("0 of")
    assert "deliveries late (by 3." in told[2][2]
    assert "timers late (by " in judge(Noticed(), waited, EFFECT).explanation


def test_each_way_of_a_system_has_its_name() -> None:
    assert list(ways_of(DrawingGame, [], games=1, players=1)) == [
        "schedule-off",
        "previous-version",
        "flag-off-ENABLE_TIMER_MONITORING",
        "flag-off-ENABLE_PUBNUB_BROADCASTING",
        "trigger-dropped",
        "emergency-rollback",
    ]


def test_an_unknown_way_is_wrong_usage() -> None:
    done = CliRunner().invoke(drill.command, ["rollback", "--only", "prayer"])
    assert done.exit_code == 2
    assert "no such way; there are schedule-off, previous-version" in done.output


def test_a_previous_version_that_is_no_command_is_wrong_usage() -> None:
    done = CliRunner().invoke(drill.command, ["rollback", "--previous", "./it's.sh"])
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == 'Error: --previous "./it\'s.sh": No closing quotation'


def test_its_command_is_recorded_without_what_stood_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = []

    def practise(*words: Any) -> None:
        told.append(words[-1])
        raise KeyboardInterrupt

    words = ["drill", "rollback", "--local", "--reports", str(tmp_path)]
    monkeypatch.setattr("harness.drills.practice.practise", practise)
    monkeypatch.setattr(sys, "argv", ["stormwatch", "-q", *words])
    assert CliRunner().invoke(main, ["-q", *words]).exit_code == 130
    assert told == [f"stormwatch drill rollback --local --reports {tmp_path}"]


@dataclass
class Part:
    spec: ProcessSpec


class StackOfParts(Stack):
    """A stack whose processes start if their command is `good`."""

    def __init__(self, folder: Path) -> None:
        self.parts = {"service-1": Part(ProcessSpec("service-1", ["good"], folder))}  # type: ignore[dict-item]  # all that is looked at
        self.started: list[list[str]] = []

    def restart(self, name: str) -> None:
        command = list(self.parts[name].spec.command)
        self.started.append(command)
        if command != ["good"]:
            raise StackError("service-1 ended at once")


def test_a_version_that_does_not_come_up_fails_and_the_one_of_before_is_back(tmp_path: Path) -> None:
    stack = StackOfParts(tmp_path)
    with (
        pytest.raises(ExpectationsFailed, match="previous version does not come up: service-1 ended"),
        PreviousVersion(command=("bad",)).applied(stack),
    ):
        raise AssertionError("it is not in effect")
    assert stack.started == [["bad"], ["good"]]


def test_without_a_command_the_same_version_is_redeployed(tmp_path: Path) -> None:
    stack = StackOfParts(tmp_path)
    with PreviousVersion().applied(stack):
        assert stack.started == [["good"]]
    assert stack.started == [["good"]] * 2


def test_a_schedule_that_is_not_ours_is_named() -> None:
    with pytest.raises(MissingPartError, match="the schedule is not ours"):
        ScheduleOff().applied(deployment(target_of(), Bare)).__enter__()


def test_no_tick_leaves_while_the_schedule_is_off(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import gevent
from locust.event import EventHook
from harness.load.cron import Cron
from harness.tests.permitted import permitted
from harness.tests.test_pool import target_of
from scenarios.systems.drawing_game import DrawingGame
target, off, rows = target_of(), Path(sys.argv[1]), []
off.touch()
cron = Cron(DrawingGame(target), permitted(target), 0.01, rows, EventHook(), off)
cron.start()
gevent.sleep(0.2)
off_rows = len(rows)
off.unlink()
with gevent.Timeout(20):
    while not rows:
        gevent.sleep(0.01)
cron.stop(0.0)
print(off_rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "off")],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == ["0"]
