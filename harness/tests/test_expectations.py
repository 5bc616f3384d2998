"""Every expectation of an experiment passes on a service that keeps it, and catches one that breaks it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, write_run
from harness.experiment import (
    BacklogDrained,
    EveryoneHears,
    FailsClearly,
    Finding,
    HealthNames,
    HealthyAgain,
    HealthyThroughout,
    Intact,
    MonitorP95,
    NobodyFails,
    QuickAnswers,
    ReadingReaches,
    ReadingReturns,
    RefusesClearly,
    ServesAgain,
    Silence,
    TimersOnTime,
)
from harness.experiment.expectations import not_applicable
from harness.history import read_history
from harness.judge import Evidence, Window, evidence_of
from harness.judge.findings import Expectation, judge_all
from harness.sla.policy import load_policy
from harness.system import SqlWitness, System, find_system
from harness.target import Target

FAULT = Window("network:down service-pubnub", START + 20 * NS, START + 30 * NS)
SHAPE = Shape(games_at_once=12, players=2, seconds=50, http_per_s=20)


@pytest.fixture
def judge(tmp_path: Path):
    def judge(expectation: Expectation, rows: pd.DataFrame) -> Finding:
        return judge_all(evidence(tmp_path, rows), FAULT, [expectation])[0]

    return judge


def evidence(folder: Path, rows: pd.DataFrame) -> Evidence:
    run = write_run(folder, rows, SHAPE)
    return evidence_of(read_history(run.history), run.read(), load_policy())


def of(rows: pd.DataFrame, kind: str, column: str = "start_ns", start_s: float = 20, end_s: float = 30):
    """Mask of the rows of ``kind`` whose ``column`` lies in a span of the run."""
    times = rows[column].astype("Int64")
    inside = (times >= START + int(start_s * NS)) & (times < START + int(end_s * NS))
    return (rows["kind"] == kind) & inside.fillna(value=False).astype(bool)


def messages(rows: pd.DataFrame):
    return (rows["kind"] == "delivery") & (rows["name"] == "phase_changed")


# --- while it lasts ----------------------------------------------------------------------------------


def test_ticks_in_time_pass(judge, rows) -> None:
    finding = judge(MonitorP95(), rows)
    assert finding.verdict == "pass"
    assert 0.01 < finding.measured < 0.2


def test_slow_ticks_are_caught(judge, rows) -> None:
    rows.loc[of(rows, "monitor"), "end_ns"] += 6 * NS
    finding = judge(MonitorP95(), rows)
    assert finding.verdict == "fail"
    assert finding.measured > 6
    assert finding.examples[0]["name"] == "tick"


def test_a_tick_that_failed_quickly_is_not_a_quick_tick(judge, rows) -> None:
    rows.loc[of(rows, "monitor"), ["ok", "error"]] = [False, "http 503"]
    finding = judge(MonitorP95(), rows)
    assert (finding.verdict, finding.measured) == ("fail", None)


def test_no_ticks_prove_nothing(judge, rows) -> None:
    finding = judge(MonitorP95(), rows[~of(rows, "monitor", "intended_ns")])
    assert finding.verdict == "inconclusive"
    assert "not exercised" in finding.explanation


def test_timers_on_time_pass(judge, rows) -> None:
    assert judge(TimersOnTime(1.0), rows).verdict == "pass"


@pytest.mark.parametrize("shift_s", [5.0, -1.5], ids=["late", "early"])
def test_timers_off_are_caught(judge, rows, shift_s: float) -> None:
    rows.loc[of(rows, "transition", "intended_ns"), ["start_ns", "end_ns"]] += int(shift_s * NS)
    finding = judge(TimersOnTime(1.0), rows)
    assert finding.verdict == "fail"
    assert finding.examples[0]["game"].startswith("game-")


def past_due(moves):
    """Return what a look would find of games that have not made their ``moves``."""
    status = moves["name"].str.partition("->")[0]
    return moves.assign(name="overdue", ok=False, error=status, event=None, start_ns=None)


def test_a_game_that_never_moved_is_caught(judge, rows) -> None:
    stuck = rows[of(rows, "transition", "intended_ns", 20, 27)].head(1)
    never = rows.drop(stuck.index)
    assert judge(TimersOnTime(1.0), pd.concat([never, past_due(stuck)])).verdict == "fail"


def test_a_game_that_moved_after_it_was_found_past_due_is_not_stuck(judge, rows) -> None:
    moved = rows[of(rows, "transition", "intended_ns", 20, 27)].head(1)
    # The tick had begun when it was looked for, and was committed afterwards.
    rows.loc[moved.index, "end_ns"] = moved["start_ns"] + 5 * NS
    found = past_due(moved).assign(end_ns=moved["start_ns"] + 3 * NS)
    assert judge(TimersOnTime(1.0), pd.concat([rows, found])).verdict == "pass"


def test_answers_in_time_pass(judge, rows) -> None:
    assert judge(QuickAnswers(), rows).verdict == "pass"


def test_one_hanging_request_is_caught(judge, rows) -> None:
    hanging = rows[of(rows, "http")].index[0]
    rows.loc[hanging, "end_ns"] += 21 * NS
    finding = judge(QuickAnswers(), rows)
    assert (finding.verdict, finding.threshold) == ("fail", 20)
    assert finding.measured > 21


def test_a_request_without_an_answer_is_caught(judge, rows) -> None:
    rows.loc[rows[of(rows, "http")].index[0], ["end_ns", "ok"]] = [None, None]
    assert judge(QuickAnswers(), rows).verdict == "fail"


def test_clear_refusals_pass(judge, rows) -> None:
    rows.loc[rows[of(rows, "http")].index[:9], ["ok", "error"]] = [False, "http 503"]
    finding = judge(RefusesClearly(), rows)
    assert finding.verdict == "pass"
    assert finding.explanation == "9 × http 503"


def test_an_unclear_error_is_caught(judge, rows) -> None:
    rows.loc[rows[of(rows, "http")].index[:9], ["ok", "error"]] = [False, "http 503"]
    rows.loc[rows[of(rows, "http")].index[9], ["ok", "error"]] = [False, "http 500"]
    finding = judge(RefusesClearly(), rows)
    assert finding.verdict == "fail"
    assert finding.examples[0]["error"] == "http 500"


def test_refusals_that_never_came_prove_nothing(judge, rows) -> None:
    assert judge(RefusesClearly(), rows).verdict == "inconclusive"


def test_failures_that_are_none_or_clear_pass(judge, rows) -> None:
    assert judge(FailsClearly(), rows).verdict == "pass"
    rows.loc[rows.index[of(rows, "http")][:3], ["ok", "error"]] = [False, "http 503"]
    rows.loc[rows.index[of(rows, "monitor")][:1], ["ok", "error"]] = [False, "http 504"]
    finding = judge(FailsClearly(), rows)
    assert (finding.verdict, finding.measured) == ("pass", 0)
    assert finding.explanation.startswith("4 of ")


@pytest.mark.parametrize("error", ["http 500", "timeout", "connection reset", None])
def test_a_failure_that_tells_its_caller_nothing_is_caught(judge, rows, error: str | None) -> None:
    rows.loc[rows.index[of(rows, "http")][:2], ["ok", "error"]] = [False, error]
    finding = judge(FailsClearly(), rows)
    assert (finding.verdict, finding.measured) == ("fail", 2)
    assert f"2 × {error or 'outcome unknown'}" in finding.explanation


def test_a_service_that_is_taken_away_can_not_answer(judge, rows) -> None:
    rows.loc[rows.index[of(rows, "http")][:2], ["ok", "error"]] = [False, "connection reset"]
    assert judge(FailsClearly(unanswered=True), rows).verdict == "pass"
    rows.loc[rows.index[of(rows, "http")][:2], ["ok", "error"]] = [False, "http 500"]
    assert judge(FailsClearly(unanswered=True), rows).verdict == "fail"


def test_players_undisturbed_pass(judge, rows) -> None:
    assert judge(NobodyFails(), rows).verdict == "pass"


def test_a_disturbed_player_is_caught(judge, rows) -> None:
    rows.loc[rows[of(rows, "http")].index[0], ["ok", "error"]] = [False, "timeout"]
    assert judge(NobodyFails(), rows).verdict == "fail"


def test_an_outage_that_is_one_passes(judge, rows) -> None:
    silent = messages(rows) & of(rows, "delivery", "end_ns", 20, 31)
    rows.loc[silent, "end_ns"] = START + 32 * NS
    assert judge(Silence(), rows).verdict == "pass"


def test_an_outage_that_did_not_take_is_caught(judge, rows) -> None:
    finding = judge(Silence(), rows)
    assert finding.verdict == "fail"
    assert finding.measured > 0


def test_health_that_names_the_part_passes(judge, rows) -> None:
    rows.loc[of(rows, "health", start_s=22), ["ok", "error"]] = [False, "database,pubnub"]
    finding = judge(HealthNames("pubnub"), rows)
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("error", ["database", "http 503", "pubnub2"])
def test_health_that_names_another_part_is_caught(judge, rows, error: str) -> None:
    rows.loc[of(rows, "health"), ["ok", "error"]] = [False, error]
    assert judge(HealthNames("pubnub"), rows).verdict == "fail"


def test_health_that_notices_too_late_is_caught(judge, rows) -> None:
    rows.loc[of(rows, "health", start_s=27), ["ok", "error"]] = [False, "pubnub"]
    assert judge(HealthNames("pubnub", within_s=5), rows).verdict == "fail"


def test_health_without_a_doubt_passes(judge, rows) -> None:
    assert judge(HealthyThroughout(), rows).verdict == "pass"


def test_one_unhealthy_probe_is_caught(judge, rows) -> None:
    rows.loc[rows[of(rows, "health")].index[3], ["ok", "error"]] = [False, "pubnub"]
    assert judge(HealthyThroughout(), rows).verdict == "fail"


# --- afterwards --------------------------------------------------------------------------------------


def test_health_that_comes_back_passes(judge, rows) -> None:
    rows.loc[of(rows, "health", end_s=34), ["ok", "error"]] = [False, "pubnub"]
    finding = judge(HealthyAgain(10), rows)
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(4, abs=0.1)


def test_health_that_stays_bad_is_caught(judge, rows) -> None:
    rows.loc[of(rows, "health", end_s=60), ["ok", "error"]] = [False, "pubnub"]
    finding = judge(HealthyAgain(10), rows)
    assert (finding.verdict, finding.measured) == ("fail", None)


def test_a_service_that_serves_again_passes(judge, rows) -> None:
    rows.loc[of(rows, "monitor", "intended_ns", 20, 33), ["ok", "error"]] = [False, "timeout"]
    finding = judge(ServesAgain(10), rows)
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("kind", ["monitor", "delivery"])
def test_a_service_that_stays_down_is_caught(judge, rows, kind: str) -> None:
    gone = of(rows, kind, "end_ns", 30, 999) & (rows["name"] != "subscribe")
    assert judge(ServesAgain(10), rows[~gone]).verdict == "fail"


def test_a_drained_backlog_passes(judge, rows) -> None:
    held_up = messages(rows) & of(rows, "delivery", "end_ns", 20, 30)
    rows.loc[held_up, "end_ns"] = START + 33 * NS
    finding = judge(BacklogDrained(10), rows)
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(3, abs=0.1)


def test_an_event_that_is_never_heard_is_caught(judge, rows) -> None:
    lost = rows[messages(rows) & of(rows, "delivery", "end_ns", 22, 28)].index[0]
    finding = judge(BacklogDrained(10), rows.drop(index=lost))
    assert (finding.verdict, finding.measured) == ("fail", None)
    assert "1 deliveries never came" in finding.explanation
    assert finding.examples[0]["event"] == rows.loc[lost, "event"]


def test_a_backlog_that_drains_too_slowly_is_caught(judge, rows) -> None:
    slow = rows[messages(rows) & of(rows, "delivery", "end_ns", 22, 28)].index[0]
    rows.loc[slow, "end_ns"] = START + 45 * NS
    assert judge(BacklogDrained(10), rows).verdict == "fail"


@pytest.mark.parametrize("check", ["early", "double", "illegal", "out_of_order", "lost_events"])
def test_an_intact_record_passes(judge, rows, check: str) -> None:
    assert judge(Intact(check), rows).verdict == "pass"


def test_a_double_move_is_caught(judge, rows) -> None:
    again = rows[of(rows, "transition")].head(1).assign(event="another", seq=99)
    finding = judge(Intact("double"), pd.concat([rows, again]))
    assert finding.verdict == "fail"
    assert finding.examples[0]["game"] == again["game"].iloc[0]


def test_events_that_everyone_hears_pass(judge, rows) -> None:
    finding = judge(EveryoneHears(), rows)
    assert (finding.verdict, finding.measured) == ("pass", 0)


def test_a_single_player_who_misses_a_single_event_is_caught(judge, rows) -> None:
    heard = rows[messages(rows)].sort_values("end_ns")
    missed = heard.iloc[len(heard) // 2]
    finding = judge(EveryoneHears(), rows.drop(index=missed.name))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    (example,) = finding.examples
    assert (example["event"], example["actor"]) == (missed["event"], missed["actor"])


def test_nothing_to_hear_proves_nothing(judge, rows) -> None:
    assert judge(EveryoneHears(), rows[rows["kind"] == "http"]).verdict == "inconclusive"


def test_a_reading_that_gets_as_high_as_it_must_passes(judge, rows) -> None:
    rows.loc[rows.index[of(rows, "resource") & (rows["name"] == "pool_in_use")][:1], "value"] = 20.0
    assert judge(ReadingReaches("pool_in_use", 20), rows).verdict == "pass"


def test_a_fault_that_did_not_take_is_caught(judge, rows) -> None:
    rows.loc[of(rows, "resource") & (rows["name"] == "pool_in_use"), "value"] = 19.0
    finding = judge(ReadingReaches("pool_in_use", 20), rows)
    assert (finding.verdict, finding.measured) == ("fail", 19)
    assert judge(ReadingReaches("no_such_reading", 1), rows).verdict == "inconclusive"


def test_a_reading_that_comes_back_passes(judge, rows) -> None:
    spike = of(rows, "resource") & (rows["name"] == "pool_in_use")
    rows.loc[spike, "value"] = 20.0
    assert judge(ReadingReturns("pool_in_use", "service-1", tolerance=0.5), rows).verdict == "pass"


def test_a_leak_is_caught(judge, rows) -> None:
    after = of(rows, "resource", start_s=20, end_s=99) & (rows["name"] == "pool_in_use")
    rows.loc[after, "value"] = 20.0
    finding = judge(ReadingReturns("pool_in_use", "service-1", tolerance=0.5), rows)
    assert finding.verdict == "fail"
    assert finding.measured == 20


def test_a_check_that_crashes_is_inconclusive_and_says_so(judge, rows) -> None:
    class Broken:
        name = "broken"

        def judge(self, evidence: Evidence, fault: Window) -> Finding:
            raise ZeroDivisionError("by nothing")

    finding = judge(Broken(), rows)
    assert finding.verdict == "inconclusive"
    assert "ZeroDivisionError: by nothing" in finding.explanation


class Silent(System):
    """It has no health, no metrics and no outbox."""

    name = "silent"
    witness = SqlWitness(moves="SELECT 1")

    def start(self, session: Any, item: Any) -> None: ...

    def channel(self, item: str, player: str) -> str:
        return item

    def read(self, message: Any) -> None: ...


@pytest.mark.parametrize(
    ("expectation", "silent", "reference"),
    [
        (HealthNames("pubnub"), False, True),
        (HealthNames("payments"), False, False),
        (ReadingReaches("breaker_state", 2), False, True),
        (ReadingReaches("queue_length", 2), False, False),
        (ReadingReaches("outbox_depth", 100, actor="database"), False, True),
        (ReadingReaches("rss_bytes", 1e9), True, True),
        (ReadingReturns("pool_in_use", "service-1"), False, True),
    ],
)
def test_what_a_system_does_not_have_is_not_expected_of_it(
    expectation: Any, silent: bool, reference: bool
) -> None:
    where = Target("http://127.0.0.1:9", "key", "cron", "sub")
    assert expectation.applies(Silent(where)) == silent
    assert expectation.applies(find_system()(where)) == reference


def test_what_comes_another_way_is_no_sign_that_pubnub_was_not_away(judge, rows) -> None:
    heard = of(rows, "delivery", "end_ns", 21, 30) & (rows["name"] == "phase_changed")
    assert judge(Silence(), rows).verdict == "fail"
    rows.loc[heard, "start_ns"] = None  # over a WebSocket: nobody says when it was accepted
    assert judge(Silence(), rows).verdict == "pass"


def test_what_no_message_tells_is_not_looked_at(tmp_path: Path, rows) -> None:
    told = evidence(tmp_path / "told", rows)
    untold = evidence(tmp_path / "untold", rows.assign(said=None))
    for record, check, strange in [
        (told, Intact("told_wrongly"), False),
        (untold, Intact("told_wrongly"), True),
        (untold, Intact("out_of_order"), False),
    ]:
        assert not_applicable(check, record, FAULT) == strange


def test_nothing_is_expected_of_requests_where_nobody_has_any_to_send(tmp_path: Path, rows) -> None:
    asked = evidence(tmp_path / "asked", rows)
    silent = evidence(tmp_path / "silent", rows[~rows["kind"].isin(["http", "monitor"])])
    for one in (QuickAnswers(), FailsClearly(), RefusesClearly(), NobodyFails()):
        assert (not_applicable(one, asked, FAULT), not_applicable(one, silent, FAULT)) == (False, True)
