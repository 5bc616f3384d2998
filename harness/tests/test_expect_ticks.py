"""Concurrent ticks, games due together, dying processes: expectations that some keep and others break."""

from pathlib import Path

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, fault_row, write_run
from harness.experiment import Finding
from harness.experiment.expect_ticks import (
    DueTogetherServed,
    InFlightAnswered,
    MovesAgain,
    OthersSkip,
    SentAgainUnderSameId,
    TimersStand,
)
from harness.history import read_history
from harness.judge import Window, evidence_of
from harness.judge.findings import Expectation, judge_all
from harness.sla.policy import load_policy

FAULT = Window("tick:slow postgres", START + 20 * NS, START + 30 * NS)
SHAPE = Shape(games_at_once=12, players=2, seconds=40, http_per_s=20)
DUE = START + 25 * NS


@pytest.fixture
def judge(tmp_path: Path):
    def judge(expectation: Expectation, rows: pd.DataFrame, fault: Window = FAULT) -> Finding:
        run = write_run(tmp_path, rows, SHAPE)
        evidence = evidence_of(read_history(run.history), run.read(), load_policy())
        return judge_all(evidence, fault, [expectation])[0]

    return judge


def ticks(rows: pd.DataFrame) -> pd.Series:
    times = rows["start_ns"].astype("Int64")
    inside = (times >= FAULT.start_ns) & (times < FAULT.end_ns)
    return (rows["kind"] == "monitor") & inside.fillna(value=False).astype(bool)


def test_what_has_no_number_can_not_be_known_to_be_sent_again(tmp_path: Path, rows: pd.DataFrame) -> None:
    for seq, absent in ((rows["seq"], False), (None, True)):
        run = write_run(tmp_path / str(absent), rows.assign(seq=seq), SHAPE)
        evidence = evidence_of(read_history(run.history), run.read(), load_policy())
        assert SentAgainUnderSameId().absent(evidence, FAULT) == absent


def skipping(rows: pd.DataFrame, after_s: float) -> pd.DataFrame:
    """Every other tick while it lasts finds another at work, and says so after a while."""
    chosen = rows[ticks(rows)].index[::2]
    rows.loc[chosen, "name"] = "skip"
    rows.loc[chosen, "end_ns"] = rows.loc[chosen, "start_ns"] + int(after_s * NS)
    return rows


def test_quick_skips_pass(judge, rows) -> None:
    finding = judge(OthersSkip(within_s=1), skipping(rows, 0.25))
    assert (finding.verdict, finding.measured) == ("pass", 0.25)
    assert finding.explanation == "5 of 10 ticks skipped"


def test_a_tick_that_waits_instead_of_skipping_is_caught(judge, rows) -> None:
    finding = judge(OthersSkip(within_s=1), skipping(rows, 1.4))
    assert (finding.verdict, finding.measured) == ("fail", 1.4)
    assert finding.examples[0]["name"] == "skip"


def test_a_tick_that_fails_over_another_is_caught(judge, rows) -> None:
    rows = skipping(rows, 0.25)
    rows.loc[rows[ticks(rows)].index[1], ["ok", "error"]] = [False, "http 500"]
    finding = judge(OthersSkip(within_s=1), rows)
    assert finding.verdict == "fail"
    assert finding.examples[0]["error"] == "http 500"


def test_ticks_that_never_met_prove_nothing(judge, rows) -> None:
    assert judge(OthersSkip(), rows).verdict == "inconclusive"


def stopped_for(rows: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Nobody moves a game for so long after the fault's begin."""
    again_ns = FAULT.start_ns + int(seconds * NS)
    times = rows["end_ns"].astype("Int64")
    held = (rows["kind"] == "transition") & (times >= FAULT.start_ns) & (times < again_ns)
    rows.loc[held.fillna(value=False), "end_ns"] = again_ns
    return rows


def test_an_expectation_is_called_in_the_words_of_the_system(tmp_path: Path, rows: pd.DataFrame) -> None:
    run = write_run(tmp_path, rows, SHAPE)
    for words, called in (({"item": "lot", "items": "lots"}, "lots"), ({}, "items")):
        about = run.read().model_copy(update={"system": {"words": words}})
        evidence = evidence_of(read_history(run.history), about, load_policy())
        found = judge_all(evidence, FAULT, [MovesAgain(within_s=5), DueTogetherServed(games=9)])
        assert found[0].name == f"timers move {called} again within 5 s of its begin"
        assert found[1].name.startswith(f"9 {called} due at once move once each")


def test_timers_that_are_taken_up_again_pass(judge, rows) -> None:
    finding = judge(MovesAgain(within_s=5), stopped_for(rows, 4.0))
    assert (finding.verdict, finding.measured) == ("pass", pytest.approx(4, abs=0.01))


@pytest.mark.parametrize("seconds", [6.0, 15.0], ids=["late", "never"])
def test_timers_that_stand_still_are_caught(judge, rows, seconds: float) -> None:
    finding = judge(MovesAgain(within_s=5), stopped_for(rows, seconds))
    assert finding.verdict == "fail"
    assert finding.examples[0]["game"].startswith("game-")


def test_moves_by_hand_are_no_timer(judge, rows) -> None:
    rows = stopped_for(rows, 15.0)
    by_hand = rows[(rows["kind"] == "transition") & rows["intended_ns"].isna()].head(1)
    by_hand = by_hand.assign(start_ns=DUE, end_ns=DUE, event="by-hand")
    assert judge(MovesAgain(within_s=6), pd.concat([rows, by_hand])).verdict == "fail"


def test_nothing_to_move_proves_nothing(judge, rows) -> None:
    gone = rows["kind"] == "transition"
    assert judge(MovesAgain(within_s=5), rows[~gone]).verdict == "inconclusive"


def due_together(rows: pd.DataFrame, *, moved_s: float = 0.4, published_s: float = 3.0) -> pd.DataFrame:
    """Eight games of the run fall due at once; the given times after that they move and are published."""
    of = rows["kind"] == "transition"
    games = rows[of & (rows["name"] == "voting->completed")]["game"].unique()[:8]
    moves = of & rows["game"].isin(games) & (rows["name"] == "voting->completed")
    rows.loc[moves, "intended_ns"] = DUE
    rows.loc[moves, ["start_ns", "end_ns"]] = DUE + int(moved_s * NS)
    events = rows[moves]["event"]
    published = (rows["kind"] == "publish") & rows["event"].isin(events)
    rows.loc[published, "end_ns"] = DUE + int(published_s * NS)
    return rows


def test_a_herd_that_is_served_passes(judge, rows) -> None:
    finding = judge(DueTogetherServed(games=8, within_s=5), due_together(rows))
    assert (finding.verdict, finding.measured) == ("pass", 3.0)
    assert "the last moved after 0.40 s" in finding.explanation


def test_a_herd_that_fell_due_while_it_was_still_being_made_is_found(judge, rows) -> None:
    begun_late = Window(FAULT.name, DUE + 2 * NS, FAULT.end_ns)
    assert judge(DueTogetherServed(games=8, within_s=5), due_together(rows), begun_late).measured == 3.0


@pytest.mark.parametrize("spoiled", [{"moved_s": 6.0}, {"published_s": 5.5}], ids=["moved", "published"])
def test_a_herd_that_is_served_too_late_is_caught(judge, rows, spoiled) -> None:
    assert judge(DueTogetherServed(games=8, within_s=5), due_together(rows, **spoiled)).verdict == "fail"


def test_a_game_of_the_herd_that_is_left_behind_is_caught(judge, rows) -> None:
    rows = due_together(rows)
    one = rows[(rows["kind"] == "transition") & (rows["intended_ns"] == DUE)].index[0]
    rows.loc[one, ["name", "ok", "error", "event", "start_ns"]] = ["overdue", False, "voting", None, None]
    finding = judge(DueTogetherServed(games=8, within_s=5), rows)
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["game"] == rows.loc[one, "game"]


def test_a_game_of_the_herd_that_moves_twice_is_caught(judge, rows) -> None:
    rows = due_together(rows)
    again = (
        rows[(rows["kind"] == "transition") & (rows["intended_ns"] == DUE)].head(1).assign(event="another")
    )
    finding = judge(DueTogetherServed(games=8, within_s=5), pd.concat([rows, again]))
    assert (finding.verdict, finding.measured) == ("fail", 2)


def test_an_event_of_the_herd_that_is_never_sent_is_caught(judge, rows) -> None:
    rows = due_together(rows)
    event = rows[(rows["kind"] == "transition") & (rows["intended_ns"] == DUE)]["event"].iloc[0]
    rows.loc[(rows["kind"] == "publish") & (rows["event"] == event), ["ok", "end_ns"]] = [None, None]
    finding = judge(DueTogetherServed(games=8, within_s=5), rows)
    assert (finding.verdict, finding.measured) == ("fail", None)
    assert finding.examples[0]["event"] == event


@pytest.mark.parametrize(("moved_s", "verdict"), [(0.4, "pass"), (6.0, "fail")])
def test_where_there_is_no_outbox_a_herd_is_judged_by_its_moves(judge, rows, moved_s, verdict) -> None:
    rows = due_together(rows, moved_s=moved_s)
    finding = judge(DueTogetherServed(games=8, within_s=5), rows[rows["kind"] != "publish"])
    assert (finding.verdict, finding.measured) == (verdict, moved_s)


def test_too_small_a_herd_proves_nothing(judge, rows) -> None:
    finding = judge(DueTogetherServed(games=9, within_s=5), due_together(rows))
    assert finding.verdict == "inconclusive"
    assert "at most 8 games" in finding.explanation


def sent_again(rows: pd.DataFrame, event: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One event of the fault's time is accepted a second time and heard again by everyone."""
    times = rows["start_ns"].astype("Int64")
    heard = (rows["kind"] == "delivery") & (rows["name"] == "phase_changed") & (times > FAULT.start_ns)
    first = rows[heard]["event"].iloc[0]
    again = rows[heard & (rows["event"] == first)].copy()
    again[["start_ns", "end_ns"]] += NS
    if event is not None:
        again["event"] = event
    return pd.concat([rows, again]), again


def test_the_same_id_again_passes(judge, rows) -> None:
    finding = judge(SentAgainUnderSameId(), sent_again(rows)[0])
    assert finding.verdict == "pass"
    assert finding.explanation == "1 events were sent again"


def test_another_id_for_the_same_event_is_caught(judge, rows) -> None:
    rows, again = sent_again(rows, "a-new-id")
    finding = judge(SentAgainUnderSameId(), rows)
    assert finding.verdict == "fail"
    assert "a-new-id" in {example["event"] for example in finding.examples}
    assert finding.examples[0]["game"] == again["game"].iloc[0]


def test_a_message_that_merely_came_twice_was_not_sent_again(judge, rows) -> None:
    _, again = sent_again(rows)
    again["start_ns"] -= NS  # accepted once
    assert judge(SentAgainUnderSameId(), pd.concat([rows, again])).verdict == "inconclusive"


def with_restart(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The replica is told to end while a request is under way; returns that request's row."""
    request = rows[(rows["kind"] == "http") & (rows["start_ns"] > DUE)].index[0]
    begin_ns = int(rows.loc[request, "start_ns"]) + 1000
    fault = rows.loc[[request]].assign(
        **fault_row("process:terminate service-1", start_ns=begin_ns),
        end_ns=None,
        ok=None,
    )
    return pd.concat([rows, fault], ignore_index=True), request


def test_a_request_that_is_finished_passes(judge, rows) -> None:
    finding = judge(InFlightAnswered("process:terminate service-1"), with_restart(rows)[0])
    assert finding.verdict == "pass"


def test_a_request_that_is_cut_off_is_caught(judge, rows) -> None:
    rows, request = with_restart(rows)
    rows.loc[request, ["ok", "error"]] = [False, "connection reset"]
    finding = judge(InFlightAnswered("process:terminate service-1"), rows)
    assert finding.verdict == "fail"
    assert finding.examples[0]["error"] == "connection reset"


def test_a_restart_that_never_was_proves_nothing(judge, rows) -> None:
    assert judge(InFlightAnswered("process:terminate service-1"), rows).verdict == "inconclusive"


# --- timers that stand -------------------------------------------------------------------------------


def moves(rows: pd.DataFrame, from_s: float, to_s: float) -> pd.Series:
    times = rows["start_ns"].astype("Int64")
    inside = times.between(START + from_s * NS, START + to_s * NS, inclusive="left")
    return (rows["kind"] == "transition") & inside.fillna(value=False).astype(bool)


def stopped(rows: pd.DataFrame) -> pd.DataFrame:
    """Have what timers moved in the fault move after it."""
    timed = moves(rows, 20, 30) & rows["intended_ns"].notna()
    rows.loc[timed, ["start_ns", "end_ns"]] += 10 * NS
    return rows


def test_timers_that_stand_pass(judge, rows: pd.DataFrame) -> None:
    finding = judge(TimersStand(), stopped(rows))
    assert finding.verdict == "pass"
    assert "games fell due" in finding.explanation


def test_a_timer_that_moves_a_game_is_caught(judge, rows: pd.DataFrame) -> None:
    rows = stopped(rows)
    timed = rows[moves(rows, 30, 40) & rows["intended_ns"].notna()].index[0]
    rows.loc[timed, ["start_ns", "end_ns"]] = START + 25 * NS
    finding = judge(TimersStand(), rows)
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["game"].startswith("game-")


def test_timers_that_had_nothing_to_do_prove_nothing(judge, rows: pd.DataFrame) -> None:
    assert judge(TimersStand(), rows[rows["kind"] != "transition"]).verdict == "inconclusive"
