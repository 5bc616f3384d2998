"""What is heard is matched with what was made: without ids or numbers, in several ways, by players' acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, about_run, history_of, run_of
from harness.history.names import AMBIGUOUS
from harness.judge import METRICS, Evidence, evidence_of
from harness.judge.integrity import double, lost_events, out_of_order
from harness.judge.record import matched_rows
from harness.judge.rows import objective_row
from harness.sla.policy import load_policy
from harness.system import Lifecycle, Timed

SHAPE = Shape(games_at_once=6, players=2, seconds=40, http_per_s=2)
POLICY = load_policy()
MOVES = ("broadcast_latency", "event_delivery")

#: A game may be held and drawn on.
HELD = Lifecycle(
    "waiting",
    ("waiting->briefing", "briefing->drawing", "drawing->voting", "voting->drawing", "voting->completed"),
    {"drawing": Timed("4s")},
    frozenset({"completed"}),
)


@pytest.fixture
def nameless(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a system without ids, numbers and outbox, as they are recorded."""
    rows = rows[rows["kind"] != "publish"].copy()
    moves = rows["kind"] == "transition"
    state = rows["target"].where(~moves, rows["name"].str.partition("->")[2])
    tells = state.notna()
    rows.loc[tells, "event"] = rows["game"] + "=" + state
    rows.loc[tells, "seq"] = pd.NA
    return rows


def evidence(rows: pd.DataFrame, **system: Any) -> Evidence:
    # On a deployment: what is told there may be others'.
    target = {"service_url": "https://staging.example", "origin": "environment"}
    run = run_of(SHAPE, system=about_run(SHAPE)["system"] | system, target=target)
    return evidence_of(history_of(rows), run, POLICY)


def deliveries(rows: pd.DataFrame) -> pd.Series:
    return (rows["kind"] == "delivery") & rows["target"].notna()


def test_without_ids_and_numbers_everything_is_matched(nameless: pd.DataFrame) -> None:
    found = evidence(nameless)
    assert lost_events(found).violations == out_of_order(found).violations == 0
    assert out_of_order(found).looked_at > 100
    assert METRICS["event_delivery"](found).values.all()
    assert matched_rows(found).verdict == "pass"


def test_without_ids_an_unheard_move_is_lost_and_what_never_happened_is_told_wrongly(
    nameless: pd.DataFrame,
) -> None:
    heard = deliveries(nameless)
    event = nameless.loc[heard, "event"].iloc[0]
    assert lost_events(evidence(nameless[~(heard & (nameless["event"] == event))])).violations == 1
    made_up = nameless.copy()
    made_up.loc[(made_up["kind"] == "transition") & (made_up["event"] == event), "event"] = "another"
    assert matched_rows(evidence(made_up)).verdict == "inconclusive"


def test_without_numbers_moves_are_in_the_lifecycles_order(nameless: pd.DataFrame) -> None:
    heard = nameless[
        deliveries(nameless) & (nameless["game"] == "game-3") & (nameless["actor"] == "player-1")
    ]
    drawing, voting = (heard[heard["target"] == state].index[0] for state in ("drawing", "voting"))
    nameless.loc[[drawing, voting], "end_ns"] = nameless.loc[[voting, drawing], "end_ns"].to_numpy()
    found = out_of_order(evidence(nameless))
    assert (found.violations, found.examples[0]["detail"]) == (1, "drawing came after a later state")
    # Where each may come after the other, no order was broken.
    assert out_of_order(evidence(nameless, lifecycle=HELD.entry())).violations == 0


def test_a_state_that_may_be_entered_again_is_no_double_move(rows: pd.DataFrame) -> None:
    again = rows[(rows["kind"] == "transition") & (rows["name"] == "briefing->drawing")].head(1)
    again = again.assign(name="voting->drawing", seq=9, start_ns=again["start_ns"] + 9 * NS)
    rows = pd.concat([rows, again])
    assert double(evidence(rows)).violations == 1
    assert double(evidence(rows, lifecycle=HELD.entry())).violations == 0


def test_where_events_can_not_be_told_apart_the_rows_say_so(nameless: pd.DataFrame) -> None:
    to_drawing = nameless["event"].str.endswith("=drawing").fillna(value=False)
    nameless.loc[to_drawing, "event"] = None
    nameless.loc[to_drawing & (nameless["kind"] == "transition"), "error"] = AMBIGUOUS
    found = evidence(nameless, lifecycle=HELD.entry())
    assert lost_events(found).violations == 0
    doubts = [*lost_events(found).doubts, *(METRICS[name](found).doubts[-1] for name in MOVES)]
    assert all(AMBIGUOUS in doubt for doubt in doubts), doubts
    assert matched_rows(found).verdict == "pass"


def test_only_moves_that_are_announced_must_be_heard(rows: pd.DataFrame) -> None:
    rows = rows[(rows["kind"] != "publish") & ~(deliveries(rows) & (rows["target"] == "briefing"))]
    assert lost_events(evidence(rows)).violations > 5
    moves = about_run(SHAPE)["system"]["lifecycle"]["moves"]
    announced = [name for name in moves if name != "waiting->briefing"]
    found = evidence(rows, announced=announced)
    assert lost_events(found).violations == 0
    assert METRICS["event_delivery"](found).values.all()


def test_a_message_about_another_game_is_not_received(rows: pd.DataFrame) -> None:
    heard = deliveries(rows)
    event = rows.loc[heard, "event"].iloc[0]
    astray = rows[heard & (rows["event"] == event)].assign(game="game-5", ok=False, error="wrong item")
    rows = pd.concat([rows[~(heard & (rows["event"] == event))], astray])
    found = evidence(rows)
    assert lost_events(found).violations == 1
    assert "2 messages told of another game" in matched_rows(found).explanation


def listening(rows: pd.DataFrame, way_of: Callable[[str], str]) -> pd.DataFrame:
    rows = rows.copy()
    asked = (rows["kind"] == "delivery") & (rows["name"] == "subscribe")
    rows.loc[asked, "place"] = rows.loc[asked, "actor"].map(way_of)
    return rows


def test_what_is_lost_in_one_way_is_not_heard_in_another(rows: pd.DataFrame) -> None:
    rows = listening(rows, {"player-0": "PubNub", "player-1": "WebSocket"}.__getitem__)
    assert lost_events(evidence(rows)).violations == 0
    heard = deliveries(rows)
    event = rows.loc[heard, "event"].iloc[0]
    found = lost_events(evidence(rows[~(heard & (rows["event"] == event) & (rows["actor"] == "player-0"))]))
    assert found.violations == 1
    assert found.examples[0]["detail"] == "none of its subscribers over PubNub got it"


@pytest.mark.parametrize(("way", "verdict"), [("PubNub", "pass"), ("WebSocket", "not applicable")])
def test_where_nobody_listens_on_pubnub_its_delivery_is_not_applicable(
    way: str, verdict: str, rows: pd.DataFrame
) -> None:
    rows = listening(rows, lambda _: way)
    if way == "WebSocket":
        rows.loc[deliveries(rows), "start_ns"] = pd.NA
    row, _ = objective_row("pubnub_delivery", POLICY.objectives["pubnub_delivery"], evidence(rows), [])
    assert row.verdict == verdict
    assert ("players listen over WebSocket" in (row.absent or "")) == (verdict == "not applicable")


# --- acts ---------------------------------------------------------------------------------------------


def bids(rows: pd.DataFrame, *, ok: bool = True, heard_by: int = SHAPE.players) -> pd.DataFrame:
    """Have someone bid in each of the first games' drawing phase, heard 0.25 s after it was asked for."""
    drawing = rows[(rows["kind"] == "transition") & (rows["name"] == "briefing->drawing")]
    drawing = drawing[drawing["start_ns"] > START + (SHAPE.warm_up + 1) * NS].head(4)
    asked_ns = drawing["start_ns"] + NS
    bid = drawing.assign(
        kind="http", name="POST /bids", actor="player-0", event=drawing["game"] + "#1", seq=pd.NA,
        intended_ns=pd.NA, start_ns=asked_ns, end_ns=asked_ns + NS // 10, ok=ok, error=None, value=201.0,
    )  # fmt: skip
    heard = [
        bid.assign(
            kind="delivery", name="bid", actor=f"player-{n}", start_ns=pd.NA, end_ns=asked_ns + NS // 4
        )
        for n in range(heard_by)
    ]
    return pd.concat([rows, bid, *heard], ignore_index=True)


def test_an_act_has_a_latency_of_its_own_from_the_call_to_each_subscriber(rows: pd.DataFrame) -> None:
    found = evidence(bids(rows))
    samples = METRICS["act_latency"](found)
    np.testing.assert_allclose(samples.values, 0.25)
    assert len(samples.values) == 4 * SHAPE.players
    assert METRICS["act_delivery"](found).values.all()
    # A bid is no move: what moves are judged by stays what it was.
    for name in MOVES:
        assert len(METRICS[name](found).values) == len(METRICS[name](evidence(rows)).values)
    assert matched_rows(found).verdict == "pass"


def test_an_act_that_a_subscriber_never_heard_of_is_named(rows: pd.DataFrame) -> None:
    found = evidence(bids(rows, heard_by=1))
    assert np.isinf(METRICS["act_latency"](found).values).sum() == 4
    delivery = METRICS["act_delivery"](found)
    assert list(delivery.values).count(False) == 4
    assert delivery.worst[0]["actor"] == "player-1"


def test_a_call_that_failed_made_nothing_that_must_be_heard(rows: pd.DataFrame) -> None:
    assert len(METRICS["act_latency"](evidence(bids(rows, ok=False))).values) == 0


def test_an_act_that_was_tried_again_counts_from_its_first_call(rows: pd.DataFrame) -> None:
    rows = bids(rows)
    bid = rows[rows["name"] == "POST /bids"]
    lost = bid.assign(ok=False, error="timeout", start_ns=bid["start_ns"] - NS)
    values = METRICS["act_latency"](evidence(pd.concat([rows, lost]))).values
    np.testing.assert_allclose(values, 1.25)
