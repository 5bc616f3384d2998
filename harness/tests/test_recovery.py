"""Faults declared while the load goes on: how soon they are told of, and recovered from in time or not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, fault_row, history_of, run_of, synthetic_rows
from harness.documents.rows import Fault
from harness.history import Doubt, Witness
from harness.history.names import FaultName
from harness.judge import FaultWindow, evidence_of
from harness.judge.recovery import recovery_of
from harness.report.build import report_on
from harness.sla.policy import load_policy
from harness.tests import test_verdicts
from harness.tests.synthetic_judging import SHAPE, at, evidence, plus
from harness.tests.synthetic_report import document_of

#: Recovered from within 15 s, says the policy.
OUTAGE = "network:down service-pubnub"
BACKLOG = "the backlog is drained within 15 s of its end"


@pytest.fixture
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def fault(start_s: float, end_s: float | None, name: str = OUTAGE) -> list[dict[str, Any]]:
    """Return the rows of a fault as the harness writes them: one at its begin, one at its end."""
    begun = fault_row(name, f"f-{start_s:g}", ok=True, start_ns=at(start_s))
    return [begun] if end_s is None else [begun, begun | {"end_ns": at(end_s)}]


def broken(rows: pd.DataFrame, start_s: float, until_s: float) -> pd.DataFrame:
    """Return ``rows`` of a service that was ill for a time: /health said so, events were held up."""
    ill = rows.copy()

    def then(kind: str, column: str) -> pd.Series:
        times = ill[column].astype("Int64")
        end = times < at(until_s) if math.isfinite(until_s) else times.notna()
        return ((ill["kind"] == kind) & (times >= at(start_s)) & end).fillna(value=False).astype(bool)

    ill.loc[then("health", "start_ns"), "ok"] = False
    heard = then("delivery", "end_ns") & (ill["name"] == "phase_changed")
    if not math.isfinite(until_s):
        return ill[~heard]
    ill.loc[heard, "end_ns"] = at(until_s)
    return ill


def recovery(rows: pd.DataFrame, number: int = 0) -> Fault:
    record = evidence(rows)
    return recovery_of(record, record.faults[number])


def verdicts(found: Fault) -> set[str]:
    return {finding.verdict for finding in found.expectations}


# --- in time, late, never ------------------------------------------------------------------------------


def test_what_is_well_again_in_time_passes_and_says_how_soon(rows: pd.DataFrame) -> None:
    found = recovery(plus(broken(rows, 20, 33), *fault(20, 30)))
    assert verdicts(found) == {"pass"}
    assert len(found.expectations) == 3
    # The probe of second 20 comes half a millisecond after the fault began.
    assert found.detected_after_s == pytest.approx(0, abs=0.05)
    assert found.recovered_after_s == pytest.approx(3, abs=0.05)


def test_it_is_told_of_when_health_first_says_so(rows: pd.DataFrame) -> None:
    assert recovery(plus(broken(rows, 24, 33), *fault(20, 30))).detected_after_s == pytest.approx(4, abs=0.05)


def test_what_nobody_noticed_was_not_told_of(rows: pd.DataFrame) -> None:
    found = recovery(plus(rows, *fault(20, 30)))
    assert (verdicts(found), found.detected_after_s) == ({"pass"}, None)


def test_what_never_recovers_fails(rows: pd.DataFrame) -> None:
    found = recovery(plus(broken(rows, 20, math.inf), *fault(20, 30)))
    assert verdicts(found) == {"fail"}
    assert {finding.measured for finding in found.expectations} == {None}
    assert found.recovered_after_s is None


def test_what_recovers_too_late_fails_and_says_how_late(rows: pd.DataFrame) -> None:
    found = recovery(plus(broken(rows, 20, 50), *fault(20, 30)))
    late = {finding.name: finding for finding in found.expectations}
    assert late["health is healthy again within 15 s of its end"].verdict == "fail"
    assert late[BACKLOG].verdict == "fail"
    assert late[BACKLOG].examples
    assert found.recovered_after_s == pytest.approx(20, abs=0.05)


def test_a_tick_that_found_another_running_is_no_sign_of_life(rows: pd.DataFrame) -> None:
    stuck = rows.copy()
    stuck.loc[(stuck["kind"] == "monitor") & (stuck["start_ns"] >= at(20)), "name"] = "skip"
    found = recovery(plus(stuck, *fault(20, 30)))
    assert found.expectations[0].verdict == "fail"


def test_a_backlog_is_what_fell_due_by_the_databases_clock(rows: pd.DataFrame) -> None:
    # That clock is 7 s ahead; nothing of what was committed from second 25 to 30 was ever heard.
    gone = plus(rows, *fault(20, 30))
    moved = gone[(gone["kind"] == "transition") & (gone["start_ns"] >= at(25)) & (gone["start_ns"] < at(30))]
    gone = gone[~((gone["kind"] == "delivery") & gone["event"].isin(moved["event"]))]
    for column in ("intended_ns", "start_ns", "end_ns"):
        gone.loc[gone["kind"].isin(["transition", "trigger", "publish"]), column] += 7 * NS
    gone.loc[(gone["name"] == "clock_offset_ms") & (gone["actor"] == "database"), "value"] = 7000.0
    (backlog,) = (finding for finding in recovery(gone).expectations if finding.name == BACKLOG)
    assert backlog.verdict == "fail"
    assert "deliveries never came" in backlog.explanation


@pytest.mark.parametrize(("quiet_s", "verdict"), [(18, "pass"), (40, "fail")])
def test_an_event_has_as_long_as_it_takes_for_a_timer_to_fall_due(
    quiet_s: float, verdict: str, rows: pd.DataFrame
) -> None:
    """Timers run for 20 s: the first event after the fault comes so late, by no fault of the service."""
    times = rows[["intended_ns", "start_ns", "end_ns"]].astype("Int64").max(axis=1)
    of_games = rows["kind"].isin(["transition", "trigger", "publish", "delivery"])
    quiet = of_games & (times >= at(19)) & (times < at(30 + quiet_s))
    record = evidence(plus(rows[~quiet.astype(bool)], *fault(20, 30)), lengths={"drawing": 20.0})
    serves = recovery_of(record, record.faults[0]).expectations[0]
    assert serves.verdict == verdict, serves


def test_without_ticks_of_ours_an_event_is_enough(rows: pd.DataFrame) -> None:
    rows = plus(rows[rows["kind"] != "monitor"], *fault(20, 30))
    record = evidence(rows)
    absent = [Doubt(Witness.CRON, "it ticks by itself").entry()]
    assert recovery_of(record, record.faults[0]).expectations[0].verdict == "fail"
    record = record.unseen(run=record.run.model_copy(update={"absent": absent}))
    assert recovery_of(record, record.faults[0]).expectations[0].verdict == "pass"


# --- several at once, and the end of the record ----------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "counted_from"),
    [
        ((15, 35), 35),  # around it
        ((25, 35), 35),  # into its recovery
        ((40, 42), 42),  # before its recovery had to be over
        ((15, 25), 30),  # over before it was
        ((46, 48), 30),  # when it had to be over
    ],
)
def test_the_time_counts_from_the_end_of_the_last_of_overlapping_faults(
    other: tuple[float, float], counted_from: float, rows: pd.DataFrame
) -> None:
    well_s = counted_from + 2
    ill = plus(broken(rows, 20, well_s), *fault(20, 30), *fault(*other, name="pubnub:status publish"))
    found = recovery(ill, number=1 if other[0] < 20 else 0)
    assert verdicts(found) == {"pass"}
    assert found.recovered_after_s == pytest.approx(2, abs=0.05)
    said = {"counted from the end of pubnub:status publish" in one.explanation for one in found.expectations}
    assert said == {counted_from != 30}


def test_a_fault_that_is_still_on_at_the_end_is_inconclusive(rows: pd.DataFrame) -> None:
    found = recovery(plus(rows, *fault(20, None)))
    assert verdicts(found) == {"inconclusive"}
    assert "it was still on when the record ended" in found.expectations[0].explanation


def test_a_fault_under_another_that_is_still_on_is_inconclusive_and_names_it(rows: pd.DataFrame) -> None:
    found = recovery(plus(rows, *fault(20, 30), *fault(25, None, name="process:stop service")))
    assert verdicts(found) == {"inconclusive"}
    assert "process:stop service was still on" in found.expectations[0].explanation


def up_to(rows: pd.DataFrame, second: float) -> pd.DataFrame:
    """Return what a record that breaks off then holds."""
    return rows[~((rows["start_ns"] > at(second)) | (rows["end_ns"] > at(second))).fillna(value=False)]


def test_what_did_not_come_before_the_record_ended_may_have_come_later(rows: pd.DataFrame) -> None:
    found = recovery(plus(up_to(broken(rows, 20, math.inf), 40), *fault(20, 30)))
    assert verdicts(found) == {"inconclusive"}
    assert {one.explanation for one in found.expectations} == {"the record ends before its time is over"}


def test_what_came_before_the_record_ended_counts(rows: pd.DataFrame) -> None:
    found = recovery(plus(up_to(broken(rows, 20, 33), 40), *fault(20, 30)))
    health = found.expectations[1]
    assert (health.verdict, health.measured) == ("pass", pytest.approx(3, abs=0.05))


def test_nothing_is_said_of_a_backlog_that_nobody_watched(rows: pd.DataFrame) -> None:
    ill = plus(broken(rows, 20, 33), *fault(20, 30))
    found = recovery(ill[~ill["kind"].isin(["transition", "trigger", "publish"])])
    assert (verdicts(found), len(found.expectations)) == ({"pass"}, 2)
    assert found.recovered_after_s == pytest.approx(3, abs=0.05)


def test_the_limit_is_that_of_the_kind_of_fault(rows: pd.DataFrame) -> None:
    record = evidence(plus(rows, *fault(20, 30)))
    for name, limit_s in ((OUTAGE, 15), ("network:down players-pubnub", 25), ("database:lock games", 20)):
        found = recovery_of(record, dataclasses.replace(record.faults[0], fault=FaultName.parse(name)))
        assert {finding.threshold for finding in found.expectations} == {limit_s}


def test_faults_are_as_the_record_has_them(rows: pd.DataFrame) -> None:
    (found,) = evidence(plus(rows, *fault(20, 30))).faults
    assert found == FaultWindow("f-20", FaultName.parse(OUTAGE), at(20), at(30))


# --- the run's verdict -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("well_s", "end_s", "verdict"),
    [(62, 60, "pass"), (68, 60, "fail"), (62, None, "inconclusive")],
)
def test_the_verdict_of_the_run_follows(well_s: float, end_s: float | None, verdict: str) -> None:
    # All of it within the time around a fault that no objective judges: the fault alone decides.
    shape = dataclasses.replace(test_verdicts.SHAPE, seconds=180)
    rows = broken(synthetic_rows(shape), 55, well_s)
    policy = load_policy(changes={"recovery.recover": "5s"})
    record = evidence_of(history_of(plus(rows, *fault(55, end_s, "clock:skew host"))), run_of(shape), policy)
    report = document_of(report_on(record, "run"))
    (row,) = report["faults"]
    assert {one["verdict"] for one in row["expectations"]} >= {verdict}
    assert report["verdict"] == verdict
    assert {row["name"]: row["verdict"] for row in report["integrity"] if row["verdict"] != "pass"} == {}


def test_where_the_system_has_no_health_and_no_ticks_of_ours_players_tell(rows: pd.DataFrame) -> None:
    absent = [Doubt(witness, "it has none").entry() for witness in (Witness.HEALTH, Witness.CRON)]
    without = rows[~rows["kind"].isin(["health", "monitor"])]
    record = dataclasses.replace(
        evidence(plus(broken(without, 20, 33), *fault(20, 30))), run=run_of(SHAPE, absent=absent)
    )
    found = recovery_of(record, record.faults[0])
    assert [finding.name for finding in found.expectations] == [
        "an event succeeds within 15 s of its end",
        BACKLOG,
    ]
    assert verdicts(found) == {"pass"}
    assert found.recovered_after_s == pytest.approx(3, abs=0.05)
