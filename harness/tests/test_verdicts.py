"""Each objective, integrity row and measurement check: a run in which it holds, one in which it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, fault_row, history_of, run_of, synthetic_rows
from harness.documents.scenario import Scenario
from harness.history import Doubt, Witness
from harness.judge import METRICS, Samples, evidence_of
from harness.report.build import report_on
from harness.sla.policy import Policy, load_policy
from harness.tests.synthetic_report import document_of

pytestmark = pytest.mark.slow

SHAPE = Shape(games_at_once=200, seconds=120, http_per_s=60)
MIDDLE = START + 60 * NS

Spoiler = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


def verdict_of(rows: pd.DataFrame, policy: Policy, **about: Any) -> dict[str, Any]:
    scenarios = [Scenario.model_validate(one) for one in about.pop("scenarios", [])]
    cut_off = about.pop("cut_off", None)
    history = history_of(rows, cut_off=cut_off)
    return document_of(report_on(evidence_of(history, run_of(SHAPE, **about), policy, scenarios), "run"))


def named(report: dict[str, Any], name: str) -> dict[str, Any]:
    rows = [*report["objectives"], *report["integrity"], *report["measurement"]["checks"]]
    return next(row for row in rows if row["name"] == name)


def of(rows: pd.DataFrame, kind: str, name: str | None = None) -> pd.Series:
    return (rows["kind"] == kind) & (True if name is None else rows["name"] == name)


def steady(rows: pd.DataFrame) -> pd.Series:
    at = rows["start_ns"].fillna(0)
    return (at >= START + SHAPE.warm_up * NS) & (at < START + (SHAPE.warm_up + SHAPE.seconds) * NS)


def some(rows: pd.DataFrame, chosen: pd.Series, share: float, seed: int = 1) -> pd.Series:
    return chosen & (np.random.default_rng(seed).random(len(rows)) < share)


def test_a_good_run_passes_in_every_row(good_rows: pd.DataFrame, policy: Policy) -> None:
    report = verdict_of(good_rows, policy)
    rows = [*report["objectives"], *report["integrity"], *report["measurement"]["checks"]]
    assert {row["name"]: row["verdict"] for row in rows if row["verdict"] != "pass"} == {}
    assert report["verdict"] == "pass"


# --- objectives that are not met -----------------------------------------------------------------------


def slow_ticks(rows: pd.DataFrame) -> pd.DataFrame:
    slow = some(rows, of(rows, "monitor", "tick"), 0.2)
    rows.loc[slow, "end_ns"] += 6 * NS
    return rows


def one_endless_tick(rows: pd.DataFrame) -> pd.DataFrame:
    ticks = rows.index[of(rows, "monitor", "tick") & steady(rows)]
    rows.loc[ticks[40], "end_ns"] += 31 * NS
    return rows


def late_events(rows: pd.DataFrame) -> pd.DataFrame:
    late = some(rows, of(rows, "delivery", "phase_changed"), 0.1)
    rows.loc[late, "end_ns"] += 3 * NS
    return rows


def unheard_by_one_in_ten(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~some(rows, of(rows, "delivery", "phase_changed"), 0.1)]


def slow_triggers(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[some(rows, of(rows, "trigger"), 0.1), "value"] = 900.0
    return rows


def failing_requests(rows: pd.DataFrame) -> pd.DataFrame:
    failed = some(rows, of(rows, "http"), 0.03)
    rows.loc[failed, "ok"] = False
    rows.loc[failed, "error"] = "http 503"
    rows.loc[failed, "value"] = 503.0
    return rows


def wrong_answers(rows: pd.DataFrame) -> pd.DataFrame:
    wrong = some(rows, of(rows, "http"), 0.03)
    rows.loc[wrong, "ok"] = False
    rows.loc[wrong, "error"] = "bad answer"
    return rows


def late_timers(rows: pd.DataFrame) -> pd.DataFrame:
    late = some(rows, of(rows, "transition"), 0.02)
    for column in ("start_ns", "end_ns"):
        rows.loc[late, column] += 3 * NS
    return rows


@pytest.mark.parametrize(
    ("objective", "spoil"),
    [
        ("monitor_execution", slow_ticks),
        ("monitor_execution", one_endless_tick),
        ("broadcast_latency", late_events),
        ("broadcast_latency", unheard_by_one_in_ten),
        ("trigger_execution", slow_triggers),
        ("pubnub_delivery", late_events),
        ("error_rate", failing_requests),
        ("error_rate", wrong_answers),
        ("availability", failing_requests),
        ("timer_accuracy", late_timers),
        ("event_delivery", unheard_by_one_in_ten),
    ],
)
def test_an_objective_that_is_not_met_fails(
    objective: str, spoil: Spoiler, good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(spoil(good_rows.copy()), policy)
    assert named(report, objective)["verdict"] == "fail"
    assert report["verdict"] == "fail"


def test_wrong_answers_are_errors_but_leave_the_service_available(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(wrong_answers(good_rows.copy()), policy)
    assert named(report, "availability")["verdict"] == "pass"


def test_a_tick_over_the_ceiling_is_said_to_be_so(good_rows: pd.DataFrame, policy: Policy) -> None:
    row = named(verdict_of(one_endless_tick(good_rows.copy()), policy), "monitor_execution")
    assert row["ceiling"]["violations"] == 1
    assert "over 30.0 s" in row["reason"]


def test_scenarios_are_a_census(good_rows: pd.DataFrame, policy: Policy) -> None:
    passed = [{"id": f"scenario-{n}", "outcome": "passed", "seconds": 1.0} for n in range(6)]
    row = named(verdict_of(good_rows, policy, scenarios=passed), "scenarios_passed")
    assert (row["verdict"], row["measured"], row["interval"], row["confidence"]) == (
        "pass",
        100,
        [100, 100],
        None,
    )

    failed = [*passed, {"id": "outage", "outcome": "failed", "seconds": 2.0, "message": "no recovery"}]
    report = verdict_of(good_rows, policy, scenarios=failed)
    assert named(report, "scenarios_passed")["verdict"] == "fail"
    assert report["verdict"] == "fail"

    # An error is the scenario's own: a wrong keyword in it is no broken promise.
    for outcome in ("inconclusive", "error"):
        unsure = [*passed, {"id": "outage", "outcome": outcome, "seconds": 2.0}]
        report = verdict_of(good_rows, policy, scenarios=unsure)
        row = named(report, "scenarios_passed")
        assert (row["verdict"], row["reason"]) == ("inconclusive", "1 of 7 could not tell."), outcome


def test_no_share_of_passed_scenarios_makes_up_for_a_game_that_moved_twice(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    twice = {
        "name": "integrity: moved twice: none", "verdict": "fail", "measured": 1, "threshold": 0.0,
        "examples": [{"game": "game-7"}], "integrity": True,
    }  # fmt: skip
    late = twice | {"name": "the backlog is drained", "integrity": False}
    passed = [{"id": f"scenario-{n}", "outcome": "passed", "seconds": 1.0} for n in range(99)]
    for finding, verdict in ((late, "pass"), (twice, "fail")):
        faults = [{"name": "process:kill service-1", "place": "process", "expectations": [finding]}]
        failed = {"id": "killed", "outcome": "failed", "seconds": 1.0, "faults": faults}
        report = verdict_of(good_rows, policy, scenarios=[*passed, failed])
        assert named(report, "scenarios_passed")["verdict"] == "pass"
        assert report["verdict"] == verdict


def test_a_load_run_alone_has_no_scenarios_to_pass(good_rows: pd.DataFrame, policy: Policy) -> None:
    report = verdict_of(good_rows, policy)
    assert "scenarios_passed" not in {row["name"] for row in report["objectives"]}
    expecting = verdict_of(good_rows, policy, expects_scenarios=True)
    assert named(expecting, "scenarios_passed")["verdict"] == "inconclusive"


def test_failure_scenarios_alone_are_judged_by_themselves(good_rows: pd.DataFrame, policy: Policy) -> None:
    passed = [{"id": "pubnub-outage", "outcome": "passed", "seconds": 1.0}]
    report = verdict_of(
        good_rows.head(0), policy, scenarios=passed, windows=[], expects_load=False, expects_scenarios=True
    )
    assert report["verdict"] == "pass"
    assert [row["name"] for row in report["objectives"]] == ["scenarios_passed"]
    none = verdict_of(good_rows.head(0), policy, windows=[], expects_load=False, expects_scenarios=True)
    assert none["verdict"] == "inconclusive"


# --- integrity that is broken --------------------------------------------------------------------------


def an_overdue_game(rows: pd.DataFrame) -> pd.DataFrame:
    row = {
        "kind": "transition", "name": "overdue", "actor": "database", "game": "game-3", "ok": False,
        "intended_ns": MIDDLE, "end_ns": MIDDLE + 60 * NS, "error": "voting",
    }  # fmt: skip
    return pd.concat([rows, pd.DataFrame([row])], ignore_index=True).astype(rows.dtypes)


def test_a_game_that_was_due_a_moment_before_the_end_is_late_and_not_lost(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    rows = an_overdue_game(good_rows.copy())
    overdue = rows["name"] == "overdue"
    rows.loc[overdue, "end_ns"] = MIDDLE + 5 * NS
    report = verdict_of(rows, policy)
    assert named(report, "lost_transitions")["violations"] == 0
    late, before = (named(one, "timer_accuracy") for one in (report, verdict_of(good_rows.copy(), policy)))
    assert late["measured"] < before["measured"]


def an_unheard_event(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~(of(rows, "delivery") & (rows["event"] == "game-5-event-2").fillna(value=False))]


def a_silent_change(rows: pd.DataFrame) -> pd.DataFrame:
    changes = rows.index[of(rows, "transition")]
    rows.loc[changes[7], "event"] = None
    return rows


def an_early_move(rows: pd.DataFrame) -> pd.DataFrame:
    timed = rows.index[of(rows, "transition", "briefing->drawing")]
    rows.loc[timed[9], "start_ns"] = rows.loc[timed[9], "intended_ns"] - 2_000_000
    return rows


def a_double_move(rows: pd.DataFrame) -> pd.DataFrame:
    again = rows[of(rows, "transition", "drawing->voting")].head(1).copy()
    again["seq"] += 10
    again["event"] = "another"
    for column in ("start_ns", "end_ns"):
        again[column] += NS
    return pd.concat([rows, again], ignore_index=True)


def an_illegal_move(rows: pd.DataFrame) -> pd.DataFrame:
    moved = rows.index[of(rows, "transition", "voting->completed")]
    rows.loc[moved[0], "name"] = "voting->waiting"
    return rows


def a_move_from_nowhere(rows: pd.DataFrame) -> pd.DataFrame:
    moved = rows.index[of(rows, "transition", "voting->completed")]
    rows.loc[moved[0], "name"] = "drawing->cancelled"
    return rows


def two_swapped_events(rows: pd.DataFrame) -> pd.DataFrame:
    mine = rows[
        of(rows, "delivery", "phase_changed") & (rows["game"] == "game-8") & (rows["actor"] == "player-1")
    ]
    second, third = (mine.index[mine["seq"] == number][0] for number in (2, 3))
    rows.loc[second, "end_ns"] = rows.loc[third, "end_ns"] + 1_000_000
    return rows


@pytest.mark.parametrize(
    ("row", "spoil"),
    [
        ("lost_transitions", an_overdue_game),
        ("lost_events", an_unheard_event),
        ("lost_events", a_silent_change),
        ("early", an_early_move),
        ("double", a_double_move),
        ("illegal", an_illegal_move),
        ("illegal", a_move_from_nowhere),
        ("out_of_order", two_swapped_events),
    ],
)
def test_one_violation_fails_the_run_and_is_named(
    row: str, spoil: Spoiler, good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(spoil(good_rows.copy()), policy)
    found = named(report, row)
    assert (found["verdict"], found["violations"]) == ("fail", 1)
    assert found["examples"][0]["game"].startswith("game-")
    assert report["verdict"] == "fail"


def test_a_change_that_was_not_recorded_is_a_doubt_and_no_illegal_move(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    unread = good_rows.index[of(good_rows, "transition", "briefing->drawing")][0]
    row = named(verdict_of(good_rows.drop(unread), policy), "illegal")
    assert (row["verdict"], row["doubts"]) == ("inconclusive", ["1 changes are missing in the record"])


def test_an_event_that_a_reconnecting_sdk_hands_over_twice_is_neither_double_nor_out_of_order(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    repeated = good_rows[of(good_rows, "delivery", "phase_changed") & (good_rows["seq"] == 1)].copy()
    repeated["end_ns"] += 20 * NS
    report = verdict_of(pd.concat([good_rows, repeated], ignore_index=True), policy)
    assert named(report, "out_of_order")["violations"] == 0
    assert named(report, "pubnub_delivery")["verdict"] == "pass"


def test_what_came_after_the_observers_last_sign_of_life_is_not_lost(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    # The observer was killed in the middle: nobody knows what it would have heard.
    killed = of(good_rows, "delivery") & (good_rows["end_ns"] > MIDDLE)
    rows = good_rows[~killed & ~(good_rows["start_ns"] > MIDDLE).fillna(value=False)]
    report = verdict_of(rows, policy, cut_off="the writer did not close the file")
    assert named(report, "lost_events")["violations"] == 0
    assert report["verdict"] == "inconclusive"


# --- windows and faults --------------------------------------------------------------------------------


def test_a_declared_fault_is_not_judged_as_steady_state(good_rows: pd.DataFrame, policy: Policy) -> None:
    rows = good_rows.copy()
    during = of(rows, "http") & (rows["start_ns"] >= MIDDLE) & (rows["start_ns"] < MIDDLE + 10 * NS)
    rows.loc[during, "ok"] = False
    rows.loc[during, "error"] = "http 503"
    assert named(verdict_of(rows, policy), "error_rate")["verdict"] == "fail"

    fault = fault_row("network:down service-postgres", ok=True)
    begin, end = fault | {"start_ns": MIDDLE}, fault | {"start_ns": MIDDLE, "end_ns": MIDDLE + 10 * NS}
    declared = pd.concat([rows, pd.DataFrame([begin, end])], ignore_index=True).astype(rows.dtypes)
    report = verdict_of(declared, policy)
    assert named(report, "error_rate")["verdict"] == "pass"
    assert [fault["place"] for fault in report["faults"]] == ["network"]


def test_warm_up_and_drain_are_not_judged(good_rows: pd.DataFrame, policy: Policy) -> None:
    rows = good_rows.copy()
    before = of(rows, "http") & (rows["start_ns"] < START + SHAPE.warm_up * NS)
    rows.loc[before, ["ok", "error"]] = [False, "timeout"]
    assert before.any()
    assert verdict_of(rows, policy)["verdict"] == "pass"


# --- measurements that can't be trusted ----------------------------------------------------------------


def a_busy_generator(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[of(rows, "resource", "cpu_percent") & (rows["actor"] == "load"), "value"] = 99.0
    return rows


def a_lagging_observer(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[of(rows, "resource", "loop_lag_ms") & (rows["actor"] == "observer-1"), "value"] = 1500.0
    return rows


def a_late_cron(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[of(rows, "monitor"), "start_ns"] += NS // 2
    rows.loc[of(rows, "monitor"), "end_ns"] += NS // 2
    return rows


def an_unknown_clock(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~(of(rows, "resource") & (rows["actor"] == "database"))]


def an_uncertain_clock(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[of(rows, "resource", "clock_error_bound_ms") & (rows["actor"] == "pubnub"), "value"] = 80.0
    return rows


def a_jumping_clock(rows: pd.DataFrame) -> pd.DataFrame:
    later = rows["start_ns"] > MIDDLE
    rows.loc[of(rows, "resource", "wall_minus_monotonic_ms") & later, "value"] += 2000.0
    return rows


def a_clock_set_back(rows: pd.DataFrame) -> pd.DataFrame:
    back = of(rows, "http") & (rows["start_ns"] > MIDDLE) & (rows["start_ns"] < MIDDLE + NS // 10)
    rows.loc[back, "end_ns"] -= 3600 * NS
    return rows


def rows_of_an_unknown_kind(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[some(rows, of(rows, "http"), 0.2), "kind"] = "weather"
    return rows


def rows_that_stand_there_twice(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows.head(5000)], ignore_index=True)


def events_of_nobody(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~some(rows, of(rows, "transition") | of(rows, "publish"), 0.5)]


def nothing_made(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[~(of(rows, "transition") | of(rows, "publish"))]


#: Where others may publish on the same keys: on a stack of ours it is no doubt but an untruth.
DEPLOYED: dict[str, Any] = {"target": {"service_url": "https://staging.example", "origin": "environment"}}


def messages_without_an_id(rows: pd.DataFrame) -> pd.DataFrame:
    rows.loc[some(rows, of(rows, "delivery", "phase_changed"), 0.01), "event"] = None
    return rows


def unreadable_messages(rows: pd.DataFrame) -> pd.DataFrame:
    ours = of(rows, "delivery", "phase_changed")
    rows.loc[ours, ["name", "ok", "error"]] = ["unreadable", False, "no eventId"]
    rows.loc[ours, ["event", "seq"]] = [None, pd.NA]
    rows.loc[rows.index[ours][0], "error"] = 'no eventId, as in {"type": "phase_changed"}'
    return rows


def without_reading(name: str) -> Spoiler:
    return lambda rows: rows[~of(rows, "resource", name)]


@pytest.mark.parametrize(
    ("check", "spoil", "about"),
    [
        ("harness_cpu", a_busy_generator, {}),
        ("harness_cpu", without_reading("cpu_percent"), {}),
        ("harness_lag", without_reading("loop_lag_ms"), {}),
        ("own_clock", without_reading("wall_minus_monotonic_ms"), {}),
        ("matched_rows", nothing_made, DEPLOYED),
        ("matched_rows", messages_without_an_id, {}),
        ("matched_rows", unreadable_messages, {}),
        ("harness_lag", a_lagging_observer, {}),
        ("tick_lateness", a_late_cron, {}),
        ("database_clock", an_unknown_clock, {}),
        ("pubnub_clock", an_uncertain_clock, {}),
        ("own_clock", a_jumping_clock, {}),
        ("sane_times", a_clock_set_back, {}),
        ("known_rows", rows_of_an_unknown_kind, {}),
        ("known_rows", rows_that_stand_there_twice, {}),
        ("matched_rows", events_of_nobody, DEPLOYED),
        ("complete_run", pd.DataFrame.copy, {"interrupted": True}),
        ("steady_state", pd.DataFrame.copy, {"windows": []}),
        ("witnesses", pd.DataFrame.copy, {"missing": [Doubt(Witness.DATABASE, "not read").entry()]}),
        ("whole_files", pd.DataFrame.copy, {"cut_off": "the writer did not close the file"}),
    ],
)
def test_a_measurement_in_doubt_is_never_a_pass(
    check: str, spoil: Spoiler, about: dict[str, Any], good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(spoil(good_rows.copy()), policy, **about)
    assert named(report, check)["verdict"] == "inconclusive"
    assert report["verdict"] != "pass"


def test_messages_that_can_not_be_read_are_a_doubt_about_deliveries_and_no_fail(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(unreadable_messages(good_rows.copy()), policy)
    check = named(report, "matched_rows")
    count = int(of(good_rows, "delivery", "phase_changed").sum())
    assert (check["verdict"], check["measured"]) == ("inconclusive", 100)
    assert f"{count} messages could not be read: no eventId, as in {{" in check["explanation"]
    assert check["explanation"].count("no eventId") == 1
    doubtful = {"event_delivery", "broadcast_latency", "pubnub_delivery", "lost_events", "out_of_order"}
    doubtful |= {"told_wrongly", "told_of_nothing", "timer_back"}
    judged = [*report["objectives"], *report["integrity"]]
    assert {row["name"] for row in judged if row["verdict"] != "pass"} == doubtful
    assert report["verdict"] == "inconclusive"


def test_what_nobody_watched_is_said_once(good_rows: pd.DataFrame, policy: Policy) -> None:
    # A target without DATABASE_URL: that the deliveries match nothing is no second doubt.
    unread = [Doubt(Witness.DATABASE, "no DATABASE_URL: the outbox was not read").entry()]
    report = verdict_of(nothing_made(good_rows.copy()), policy, missing=unread)
    assert named(report, "matched_rows")["verdict"] == "pass"
    assert named(report, "witnesses")["verdict"] == "inconclusive"
    assert named(report, "pubnub_delivery")["verdict"] == "pass"


def test_a_record_without_a_steady_state_has_no_readings_to_miss(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    report = verdict_of(without_reading("loop_lag_ms")(good_rows), policy, windows=[])
    doubtful = {row["name"] for row in report["measurement"]["checks"] if row["verdict"] != "pass"}
    assert doubtful == {"steady_state", "tick_lateness"}


def test_a_busy_generator_silences_a_failed_latency_but_not_broken_integrity(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    late = late_events(a_busy_generator(good_rows.copy()))
    report = verdict_of(late, policy)
    assert named(report, "broadcast_latency")["verdict"] == "inconclusive"
    assert report["verdict"] == "inconclusive"

    broken = verdict_of(an_early_move(a_busy_generator(good_rows.copy())), policy)
    assert broken["verdict"] == "fail"


def test_the_offset_of_another_clock_is_taken_out(good_rows: pd.DataFrame, policy: Policy) -> None:
    rows = good_rows.copy()
    ahead = 5 * NS
    of_timers = rows["kind"] == "timer"
    of_database = rows["kind"].isin(["transition", "trigger", "publish"])
    for column in ("intended_ns", "start_ns", "end_ns"):
        rows.loc[of_database | (of_timers & (rows["actor"] == "database")), column] += ahead
    rows.loc[of_timers & (rows["actor"] != "database"), "intended_ns"] += ahead
    of_clock = of(rows, "resource", "clock_offset_ms") & (rows["actor"] == "database")
    rows.loc[of_clock, "value"] = ahead / 1e6
    report = verdict_of(rows, policy)
    assert report["verdict"] == "pass"
    good = named(verdict_of(good_rows, policy), "broadcast_latency")["measured"]
    assert named(report, "broadcast_latency")["measured"] == pytest.approx(good, abs=1e-3)


def test_negative_and_missing_latencies_are_named_and_not_judged(
    good_rows: pd.DataFrame, policy: Policy
) -> None:
    rows = good_rows.copy()
    triggers = rows.index[of(rows, "trigger") & steady(rows)]
    rows.loc[triggers[0], "value"] = np.nan
    rows.loc[triggers[1], "value"] = -40.0
    row = named(verdict_of(rows, policy), "trigger_execution")
    assert row["verdict"] == "inconclusive"
    assert any("not numbers" in doubt for doubt in row["doubts"])
    assert any("negative" in doubt for doubt in row["doubts"])


def test_a_check_that_crashes_says_so_and_leaves_the_others_alone(
    good_rows: pd.DataFrame, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: object) -> Samples:
        raise KeyError("gone")

    monkeypatch.setitem(METRICS, "errors", crash)
    report = verdict_of(good_rows, policy)
    row = named(report, "error_rate")
    assert row["verdict"] == "inconclusive"
    assert "the check crashed: KeyError: 'gone'" in row["reason"]
    assert named(report, "availability")["verdict"] == "pass"
    assert report["verdict"] == "inconclusive"


def test_an_empty_history_is_inconclusive_in_every_row(good_rows: pd.DataFrame, policy: Policy) -> None:
    report = verdict_of(good_rows.head(0), policy)
    judged = [*report["objectives"], *report["integrity"]]
    assert {row["verdict"] for row in judged} == {"inconclusive"}
    assert not any("crashed" in doubt for row in judged for doubt in row["doubts"])


def test_too_few_samples_say_how_many_more_would_do(policy: Policy) -> None:
    shape = Shape(games_at_once=40, seconds=60, http_per_s=60)
    evidence = evidence_of(history_of(synthetic_rows(shape)), run_of(shape), policy)
    report = document_of(report_on(evidence, "run"))
    row = named(report, "timer_accuracy")
    assert row["verdict"] == "inconclusive"
    assert row["samples_needed"] > row["samples"]
    assert "more like these would" in row["reason"]
