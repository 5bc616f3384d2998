"""What a smoke test tells of one played item: each row passes, and fails when what it is about is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pandas as pd
import pytest

from fixtures.synthetic_run import Shape, history_of, run_of
from harness.documents.smoke import SmokeRow
from harness.history.witnesses import Doubt, Witness
from harness.judge import evidence_of
from harness.judge.smoke import BROADCAST, DELIVERY, PLAYED, REMOVED, TRIGGER, judge_item
from harness.sla.policy import load_policy
from harness.system import System
from harness.target import Target
from harness.tests.synthetic_judging import at, plus
from scenarios.systems.auction import Auction
from scenarios.systems.drawing_game import DrawingGame

SHAPE = Shape(games_at_once=1, players=2, warm_up=0, seconds=14, http_per_s=1)
TARGET = Target("http://127.0.0.1:8000", database_url="postgresql://127.0.0.1/game")
CLEANED = {"prefix": "sw0123abcd-", "removed": {"games": 1}}
Spoil = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def item(good: pd.DataFrame) -> pd.DataFrame:
    """The record of one game whose players listen on PubNub and hear an event that is sent by hand."""
    rows = good.copy()
    rows.loc[rows["name"] == "subscribe", "place"] = "PubNub"
    sent = {"kind": "http", "name": "POST /broadcast", "actor": "operator", "ok": True, "value": 200.0}
    heard = [
        {"kind": "delivery", "name": "test", "actor": f"player-{n}", "game": "game-0", "event": "by-hand",
         "start_ns": at(2.02), "end_ns": at(2.03), "ok": True}
        for n in range(2)
    ]  # fmt: skip
    return plus(rows, sent | {"start_ns": at(2), "end_ns": at(2.01)}, *heard)


def found(rows: pd.DataFrame, system: System | None = None, **about: Any) -> dict[str, SmokeRow]:
    evidence = evidence_of(history_of(rows), run_of(SHAPE, **{"cleaned": CLEANED, **about}), load_policy())
    return {row.name: row for row in judge_item(evidence, system or DrawingGame(TARGET))}


def test_an_item_that_is_played_and_heard_passes_each_row_with_its_time(item: pd.DataFrame) -> None:
    rows = found(item)
    assert {row.verdict for row in rows.values()} == {"pass"}, rows
    assert rows[BROADCAST].ms == pytest.approx(30)
    assert rows[BROADCAST].what == "POST /broadcast was served, 2 of 2 players heard it"
    assert rows[TRIGGER].what == "4 of 4 changes of state made an event"
    assert rows[PLAYED].what == "1 game, 10 messages heard"
    assert all(rows[name].ms for name in (TRIGGER, DELIVERY, PLAYED))


def _without(**equal: str) -> Spoil:
    """Take away the rows that have these values."""

    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        same = [(rows[name] == one).fillna(value=False).astype(bool) for name, one in equal.items()]
        return rows[~pd.concat(same, axis=1).all(axis=1)]

    return spoil


def _set(where: Callable[[pd.DataFrame], Any], **values: Any) -> Spoil:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            rows.loc[where(rows), name] = value
        return rows

    return spoil


def _both(first: Spoil, second: Spoil) -> Spoil:
    return lambda rows: second(first(rows))


_LAST: Final = _without(kind="delivery", event="game-0-event-4")
BROKEN: Final = {
    "a player misses the broadcast": (
        BROADCAST, _without(name="test", actor="player-1"), "1 of 2 players heard it",
    ),
    "the broadcast is refused": (
        BROADCAST,
        _set(lambda rows: rows["actor"] == "operator", ok=False, error="http 503"),
        "POST /broadcast: http 503",
    ),
    "a move has no event": (
        TRIGGER, _set(lambda rows: rows["name"] == "drawing->voting", event=None), "3 of 4 changes of state",
    ),
    "an event is not in the outbox": (TRIGGER, _without(kind="publish", event="game-0-event-2"), "3 of 4"),
    "what PubNub took is lost": (
        DELIVERY,
        _without(kind="delivery", event="game-0-event-3"),
        "8 messages came, 2 that PubNub took did not",
    ),
    "PubNub takes nothing": (
        DELIVERY,
        _both(
            lambda rows: rows[~rows["name"].isin(["test", "phase_changed"])],
            _set(lambda rows: rows["kind"] == "publish", end_ns=pd.NA),
        ),
        "0 messages came; 0 of 4 events were taken by PubNub",
    ),
    "it stops half-way": (PLAYED, _both(_LAST, _without(name="voting->completed")), "not come to its end"),
    "a message of it is lost": (
        PLAYED,
        _without(kind="delivery", event="game-0-event-4", actor="player-0"),
        "1 of 8 messages of its moves never came; 1 of 2 players heard of its end",
    ),
    "it can't be begun": (
        PLAYED,
        _both(
            lambda rows: rows[rows["kind"] == "http"],
            _set(lambda rows: rows["kind"] == "http", ok=False, value=500.0, error="http 500"),
        ),
        "no game began: POST /functions/v1/get-game-timer: http 500",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "spoil", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_fails(item: pd.DataFrame, row: str, spoil: Spoil, said: str) -> None:
    told = found(spoil(item))[row]
    assert (told.verdict, said in told.what) == ("fail", True), told


def test_what_is_left_behind_fails_and_what_is_not_known_of_it_is_inconclusive(item: pd.DataFrame) -> None:
    left = found(item, cleaned=CLEANED | {"left": "its database refused"})[REMOVED]
    assert (left.verdict, left.what) == ("fail", "1 games removed; its database refused")
    assert found(item, cleaned=None)[REMOVED].verdict == "inconclusive"


def test_what_the_target_or_the_system_lacks_is_not_applicable(item: pd.DataFrame) -> None:
    blind = found(item, DrawingGame(replace(TARGET, database_url=None)))
    assert {name for name, row in blind.items() if row.verdict == "not applicable"} == {TRIGGER}
    assert "DATABASE_URL" in blind[TRIGGER].what
    other = found(_set(lambda rows: rows["name"] == "subscribe", place="WebSocket")(item), Auction(TARGET))
    assert {name for name, row in other.items() if row.verdict == "not applicable"} == {
        BROADCAST, TRIGGER, DELIVERY,
    }  # fmt: skip


def test_nothing_is_judged_by_an_empty_record(good: pd.DataFrame) -> None:
    rows = found(good.iloc[:0])
    assert {row.verdict for row in rows.values() if row.name != REMOVED} == {"inconclusive"}, rows


def test_a_fail_that_a_lost_record_may_have_made_is_inconclusive(item: pd.DataFrame) -> None:
    doubt = Doubt(Witness.SUBSCRIBERS, "observer-1 was killed")
    told = found(_without(name="test", actor="player-1")(item), missing=[doubt.entry()])[BROADCAST]
    assert told.verdict == "inconclusive"
    assert told.what.endswith("1 of 2 players heard it; observer-1 was killed")
