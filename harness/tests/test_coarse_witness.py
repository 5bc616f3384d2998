"""A witness that looks now and then proves nothing finer, and what none tells is not judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, about_run
from harness.documents.rows import Finding
from harness.experiment.expectations import TimersOnTime
from harness.history import Doubt, Witness
from harness.judge import Evidence, Window
from harness.judge.findings import compare
from harness.sla.policy import Policy, load_policy
from harness.tests.synthetic_judging import judge, plus
from harness.tests.test_verdicts import SHAPE, named, verdict_of

SYSTEM = about_run(SHAPE)["system"]
POLLED = SYSTEM | {"witness": {"kind": "poll", "resolution_s": 0.5}}


def moves(rows: pd.DataFrame) -> Any:
    return (rows["kind"] == "transition") & (rows["name"] != "overdue")


def seen_by_looks(rows: pd.DataFrame, every_s: float) -> pd.DataFrame:
    """Have moves told by looks: each happened at some time between two, and its commit is not known."""
    rows.loc[moves(rows), "value"] = every_s / 2
    rows.loc[moves(rows), "end_ns"] = pd.NA
    return rows


def promised(threshold: str) -> Policy:
    return load_policy(changes={"broadcast_latency.threshold": threshold})


def verdict(rows: pd.DataFrame, policy: Policy | None = None, **about: Any) -> dict[str, Any]:
    return verdict_of(rows, policy or load_policy(), system=POLLED, **about)


def test_looking_each_half_second_can_not_pass_a_promise_of_200_ms(rows: pd.DataFrame) -> None:
    assert named(verdict_of(rows.copy(), promised("200ms")), "broadcast_latency")["verdict"] == "pass"
    row = named(verdict(seen_by_looks(rows, 0.5), promised("200ms")), "broadcast_latency")
    assert row["verdict"] == "inconclusive"
    assert row["resolution"] == 0.25
    assert "the witness of moves knows their times to 250 ms only" in row["reason"]
    assert row["samples_needed"] is None


def test_nor_fail_it(rows: pd.DataFrame) -> None:
    heard = rows["kind"] == "delivery"
    rows.loc[heard & rows["end_ns"].notna(), "end_ns"] += int(0.3 * NS)
    assert named(verdict_of(rows.copy(), promised("200ms")), "broadcast_latency")["verdict"] == "fail"
    row = named(verdict(seen_by_looks(rows, 0.5), promised("200ms")), "broadcast_latency")
    assert row["verdict"] == "inconclusive"


def test_a_promise_that_is_coarse_enough_is_judged(rows: pd.DataFrame) -> None:
    assert named(verdict(seen_by_looks(rows, 0.5)), "broadcast_latency")["verdict"] == "pass"


def test_timers_so_near_their_limit_that_looks_can_not_tell_are_left_open(rows: pd.DataFrame) -> None:
    # All move when they are due: whether a little before, nobody saw.
    due = moves(rows) & rows["intended_ns"].notna()
    rows.loc[due, "start_ns"] = rows.loc[due, "intended_ns"]
    report = verdict(seen_by_looks(rows, 0.5))
    accuracy = named(report, "timer_accuracy")
    assert accuracy["verdict"] == "inconclusive"
    assert accuracy["undecided"] == accuracy["samples"]
    assert "may as well be the other way round" in accuracy["reason"]
    early = named(report, "early")
    assert (early["verdict"], early["violations"]) == ("inconclusive", 0)
    assert "may have moved early: the witness knows it to 0.25 s only" in early["doubts"][0]


def test_timers_that_are_far_from_both_limits_are_judged_whatever_the_resolution(rows: pd.DataFrame) -> None:
    due = moves(rows) & rows["intended_ns"].notna()
    rows.loc[due, "start_ns"] = rows.loc[due, "intended_ns"] + NS // 2
    report = verdict(seen_by_looks(rows, 0.2))
    assert named(report, "timer_accuracy")["undecided"] == 0
    assert named(report, "early")["verdict"] == "pass"


def test_what_is_early_by_more_than_it_looks_fails(rows: pd.DataFrame) -> None:
    rows = seen_by_looks(rows, 0.5)
    first = rows.index[moves(rows) & rows["intended_ns"].notna()][0]
    rows.loc[first, "start_ns"] = rows.loc[first, "intended_ns"] - NS
    found = named(verdict(rows), "early")
    assert (found["verdict"], found["violations"]) == ("fail", 1)


def test_moves_between_two_looks_are_not_illegal_and_not_proved_legal(rows: pd.DataFrame) -> None:
    first = rows.index[moves(rows) & (rows["name"] == "briefing->drawing")][0]
    game = rows.loc[first, "game"]
    rows = rows[~(moves(rows) & (rows["game"] == game) & (rows["name"] == "drawing->voting"))]
    rows.loc[first, "name"] = "briefing->voting"
    found = named(verdict(rows.copy()), "illegal")
    assert (found["verdict"], found["violations"]) == ("inconclusive", 0)
    assert "1 times, moves fell between two looks" in found["doubts"][0]
    # The system's own log can't have missed one, and nothing leads back.
    assert named(verdict_of(rows.copy(), load_policy()), "illegal")["verdict"] == "fail"
    rows.loc[first, "name"] = "briefing->waiting"
    assert named(verdict(rows), "illegal")["verdict"] == "fail"


def test_without_due_times_nothing_is_said_of_timers(rows: pd.DataFrame) -> None:
    rows.loc[moves(rows), "intended_ns"] = pd.NA
    report = verdict_of(rows, load_policy())
    for name in ("timer_accuracy", "early", "lost_transitions"):
        row = named(report, name)
        assert row["verdict"] == "inconclusive", name
        assert any("does not tell when timers fall due" in doubt for doubt in row["doubts"])
    assert named(report, "broadcast_latency")["verdict"] == "pass"


def test_a_log_without_trigger_times_has_no_trigger_to_judge(rows: pd.DataFrame) -> None:
    absent = [Doubt(Witness.TRIGGERS, "nothing tells how long triggers take").entry()]
    report = verdict_of(rows[rows["kind"] != "trigger"], load_policy(), absent=absent)
    row = named(report, "trigger_execution")
    assert (row["verdict"], row["reason"]) == (
        "not applicable",
        "Not applicable: nothing tells how long triggers take.",
    )
    assert report["verdict"] == "pass"


@pytest.mark.parametrize("kept", [True, False])
def test_who_moved_after_all_is_not_overdue_also_where_commits_have_no_times(
    rows: pd.DataFrame, kept: bool
) -> None:
    first = rows[moves(rows) & rows["intended_ns"].notna()].iloc[0]
    look = {
        "kind": "transition",
        "name": "overdue",
        "actor": "database",
        "game": first["game"],
        "intended_ns": START,
        "end_ns": START + 20 * NS,
        "ok": False,
        "error": first["name"].partition("->")[0],
    }
    rows = seen_by_looks(plus(rows, look), 0.5)
    if not kept:
        rows = rows[~(moves(rows) & (rows["game"] == first["game"]))]
    found = named(verdict(rows), "lost_transitions")
    assert found["violations"] == (0 if kept else 1)


def test_of_an_api_witness_the_processes_of_players_tell(rows: pd.DataFrame) -> None:
    missing = [Doubt(Witness.SUBSCRIBERS, "observer-1 did not end and was killed").entry()]
    api = SYSTEM | {"witness": {"kind": "api", "resolution_s": 0.5}}
    of_log = verdict_of(rows.copy(), load_policy(), missing=missing)
    of_api = verdict_of(rows, load_policy(), missing=missing, system=api)
    assert named(of_log, "timer_accuracy")["verdict"] == "pass"
    assert named(of_api, "timer_accuracy")["verdict"] == "inconclusive"


def test_reports_speak_of_the_systems_items(rows: pd.DataFrame) -> None:
    words = {"item": "lot", "items": "lots", "player": "bidder", "players": "bidders"}
    report = verdict_of(rows, load_policy(), system=SYSTEM | {"words": words})
    text = str(report["objectives"]) + str(report["integrity"]) + str(report["stages"])
    assert "Lots whose timer moved them" in text
    assert "Requests of bidders and hosts" in text
    assert not np.any([f" {word}" in text for word in ("games", "Games", "players")])


# --- expectations of faults ----------------------------------------------------------------------------


def test_whether_timers_were_on_time_during_a_fault_is_left_open_where_looks_can_not_tell(
    rows: pd.DataFrame,
) -> None:
    due = moves(rows) & rows["intended_ns"].notna()
    rows.loc[due, "start_ns"] = rows.loc[due, "intended_ns"] + NS // 10
    on_time = TimersOnTime(late_s=0.5)
    assert judge(on_time, rows).verdict == "pass"
    found = judge(on_time, seen_by_looks(rows.copy(), 0.5))
    assert (found.verdict, "looks at them can't tell whether" in found.explanation) == ("inconclusive", True)
    rows.loc[due, "start_ns"] += 2 * NS
    assert judge(on_time, seen_by_looks(rows, 0.5)).verdict == "fail"


@dataclass(frozen=True)
class Lasted:
    """How long something that moves tell of took."""

    seconds: float
    name: str = "it lasted less than 10 s"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        assert len(evidence.transitions)
        return compare(self.name, self.seconds, 10.0, "s", "", [])


@pytest.mark.parametrize(
    ("seconds", "log", "looks"),
    [
        (9.6, "pass", "pass"),
        (9.9, "pass", "inconclusive"),
        (10.2, "fail", "inconclusive"),
        (10.4, "fail", "fail"),
    ],
)
def test_a_time_as_near_its_limit_as_looks_can_tell_is_left_open(
    rows: pd.DataFrame, seconds: float, log: str, looks: str
) -> None:
    assert judge(Lasted(seconds), rows).verdict == log
    assert judge(Lasted(seconds), seen_by_looks(rows, 0.5)).verdict == looks
