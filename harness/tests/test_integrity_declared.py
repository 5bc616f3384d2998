"""What a declared rollback or an operator brings about is no violation, and only that."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, fault_row, history_of, run_of
from harness.faults import kinds
from harness.history.names import Publish
from harness.judge import Evidence, evidence_of
from harness.judge.integrity import illegal, lost_events, out_of_order
from harness.sla.policy import load_policy
from harness.system import find_system

SHAPE = Shape(games_at_once=12, players=2, seconds=50, http_per_s=2)
BEGIN, END = START + 20 * NS, START + 30 * NS
DROPPED = "database:trigger-dropped postgres"


def evidence(rows: pd.DataFrame) -> Evidence:
    return evidence_of(history_of(rows), run_of(SHAPE), load_policy())


def with_rows(rows: pd.DataFrame, *more: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(list(more), columns=rows.columns).astype(rows.dtypes.to_dict())
    return pd.concat([rows, frame], ignore_index=True)


def declared(rows: pd.DataFrame, name: str = DROPPED, end_ns: int | None = END) -> pd.DataFrame:
    """Add a fault from BEGIN to END."""
    begun = fault_row(name, start_ns=BEGIN)
    ended = [] if end_ns is None else [{**begun, "end_ns": end_ns, "ok": True}]
    return with_rows(rows, begun, *ended)


def without_event(rows: pd.DataFrame, start_ns: int, end_ns: int) -> pd.DataFrame:
    """Have the games that moved in a span make no event."""
    rows = rows.copy()
    moved = (rows["kind"] == "transition") & rows["start_ns"].between(start_ns, end_ns)
    events = set(rows.loc[moved, "event"])
    rows.loc[moved, "event"] = None
    silent = rows["kind"].isin(["publish", "delivery", "trigger"]) & rows["event"].isin(events)
    return rows[~silent]


# --- moves without an event --------------------------------------------------------------------------


def test_moves_without_an_event_are_lost_events(rows: pd.DataFrame) -> None:
    found = lost_events(evidence(without_event(rows, BEGIN, END)))
    assert found.violations > 5
    assert "made no event" in found.examples[0]["detail"]


@pytest.mark.parametrize("name", [DROPPED, "service:emergency-rollback service"])
def test_while_the_trigger_is_declared_dropped_they_are_none(rows: pd.DataFrame, name: str) -> None:
    rows = declared(without_event(rows, BEGIN, END), name)
    assert lost_events(evidence(rows)).violations == 0


@pytest.mark.parametrize("name", ["network:down service-pubnub", "database:trigger-droppedx postgres"])
def test_another_fault_is_no_excuse(rows: pd.DataFrame, name: str) -> None:
    rows = declared(without_event(rows, BEGIN, END), name)
    assert lost_events(evidence(rows)).violations > 5


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(18.0, 19.9), (30.1, 32.0)], ids=["before it was dropped", "after it was put back"]
)
def test_outside_of_its_window_they_are_lost(rows: pd.DataFrame, start_s: float, end_s: float) -> None:
    inside = without_event(rows, BEGIN, END)
    outside = without_event(inside, START + int(start_s * NS), START + int(end_s * NS))
    assert lost_events(evidence(declared(inside))).violations == 0
    assert lost_events(evidence(declared(outside))).violations > 0


def test_a_trigger_that_was_never_put_back_excuses_to_the_end(rows: pd.DataFrame) -> None:
    rows = without_event(rows, BEGIN, START + 99 * NS)
    assert lost_events(evidence(declared(rows, end_ns=None))).violations == 0
    assert lost_events(evidence(declared(rows))).violations > 0


def test_the_gap_that_they_leave_is_neither_illegal_nor_out_of_order(rows: pd.DataFrame) -> None:
    found = evidence(declared(without_event(rows, BEGIN, END)))
    assert illegal(found).violations == 0
    assert illegal(found).doubts == []
    assert out_of_order(found).violations == 0


def test_a_move_that_skips_a_phase_is_illegal_also_in_the_window(rows: pd.DataFrame) -> None:
    rows = declared(without_event(rows, BEGIN, END))
    moved = (rows["kind"] == "transition") & rows["start_ns"].between(BEGIN, END)
    rows.loc[rows[moved & (rows["name"] == "briefing->drawing")].index[0], "name"] = "briefing->voting"
    assert illegal(evidence(rows)).violations > 0


@pytest.mark.parametrize(
    ("told", "excused"),
    [({}, True), ({"silenced_by": [DROPPED.split(maxsplit=1)[0]]}, True), ({"silenced_by": []}, False)],
)
def test_which_faults_excuse_is_told_by_the_system(
    rows: pd.DataFrame, told: dict[str, Any], excused: bool
) -> None:
    run = run_of(SHAPE)
    system = {name: value for name, value in (run.system or {}).items() if name != "silenced_by"} | told
    rows = declared(without_event(rows, BEGIN, END))
    found = evidence_of(history_of(rows), run.model_copy(update={"system": system}), load_policy())
    assert (lost_events(found).violations == 0) == excused


def test_the_faults_that_excuse_are_those_that_there_are() -> None:
    system = find_system()
    told = system.entry(may_watch=False)["silenced_by"]
    assert set(told) == {name for name, kind in kinds(system).items() if kind.silences} != set()


# --- dead letters that were replayed -----------------------------------------------------------------


def late_event(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, int]:
    """Have an event come after the next one of its game; return it, and when it came."""
    first = rows[(rows["kind"] == "transition") & (rows["seq"] == 2)].iloc[0]
    event, game = first["event"], first["game"]
    heard = (rows["kind"] == "delivery") & (rows["game"] == game)
    late_ns = int(rows.loc[heard & (rows["seq"] == 3), "end_ns"].max()) + NS
    rows.loc[heard & (rows["event"] == event), "end_ns"] = late_ns
    return rows, event, late_ns


def replay(rows: pd.DataFrame, event: str, at_ns: int) -> pd.DataFrame:
    row = {
        "kind": "publish",
        "name": Publish.REPLAYED,
        "actor": "operator",
        "event": event,
        "start_ns": at_ns,
        "ok": True,
    }
    return with_rows(rows, row)


def test_an_event_that_comes_late_is_out_of_order(rows: pd.DataFrame) -> None:
    rows, _, _ = late_event(rows)
    assert out_of_order(evidence(rows)).violations == 2


def test_a_replayed_dead_letter_is_not(rows: pd.DataFrame) -> None:
    rows, event, late_ns = late_event(rows)
    found = evidence(replay(rows, event, late_ns - NS // 2))
    assert out_of_order(found).violations == 0
    assert lost_events(found).violations == 0


def test_what_came_before_the_replay_was_not_due_to_it(rows: pd.DataFrame) -> None:
    rows, event, late_ns = late_event(rows)
    assert out_of_order(evidence(replay(rows, event, late_ns + NS))).violations == 2


def test_another_events_replay_is_no_excuse(rows: pd.DataFrame) -> None:
    rows, _, late_ns = late_event(rows)
    other = rows.loc[(rows["kind"] == "transition") & (rows["seq"] == 4), "event"].iloc[0]
    assert out_of_order(evidence(replay(rows, other, late_ns - NS))).violations == 2


def test_a_replayed_dead_letter_that_nobody_hears_is_lost(rows: pd.DataFrame) -> None:
    rows, event, late_ns = late_event(rows)
    rows = rows[~((rows["kind"] == "delivery") & (rows["event"] == event)).fillna(value=False)]
    assert lost_events(evidence(replay(rows, event, late_ns))).violations == 1


def test_what_is_told_of_single_attempts_is_no_outbox_entry(rows: pd.DataFrame) -> None:
    event = rows.loc[rows["kind"] == "publish", "event"].iloc[0]
    attempt = {
        "kind": "publish",
        "name": "attempt",
        "actor": "pubnub",
        "event": event,
        "start_ns": BEGIN,
        "ok": False,
    }
    before, after = evidence(rows), evidence(with_rows(rows, attempt))
    assert len(after.publishes) == len(before.publishes)
    assert lost_events(after).violations == 0
