"""The expectation of PubNub's memory passes on players who catch up, and catches those who miss something."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.experiment import CatchesUp
from harness.tests.synthetic_judging import SHAPE, at, judge, plus
from scenarios.drawing_game.operator import FLOOD

GAME, VOTING = "flooded", "voting begins"
FLOODED = range(1, 151)


@pytest.fixture(scope="module")
def nothing() -> pd.DataFrame:
    """A record in which no game was played."""
    rows = synthetic_rows(SHAPE)
    return rows[rows["kind"] == "resource"]


def accepted(number: int) -> float:
    """Return the second at which PubNub took a message of the flood."""
    return 22 + number / 100


def flood(numbers: Iterable[int] = FLOODED) -> list[dict[str, Any]]:
    return [
        {
            "kind": "publish", "name": FLOOD, "actor": "operator", "game": GAME, "event": f"message {number}",
            "start_ns": at(accepted(number)), "end_ns": at(accepted(number) + 0.005), "ok": True,
            "value": float(number),
        }
        for number in numbers
    ]  # fmt: skip


def heard(name: str, event: str | None, player: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {
        "kind": "delivery", "name": name, "actor": player, "game": GAME, "event": event,
        "start_ns": at(start_s), "end_ns": at(end_s), "ok": True,
    }  # fmt: skip


def listening(player: str, from_s: float = 10, to_s: float = 40) -> list[dict[str, Any]]:
    return [
        heard("subscribe", None, player, from_s - 0.1, from_s),
        heard("unsubscribe", None, player, to_s, to_s),
    ]


def catching_up(numbers: Iterable[int], player: str = "player-1", back_s: float = 31) -> list[dict[str, Any]]:
    """Return what a player hears in one go when it is back: of the flood, and its game's event after it."""
    come = [
        heard("test", f"message {number}", player, accepted(number), back_s + place / 10_000)
        for place, number in enumerate(numbers)
    ]
    return [*come, heard("phase_changed", VOTING, player, 25, back_s + 0.02)]


def test_players_who_hear_what_pubnub_keeps_pass(nothing: pd.DataFrame) -> None:
    # The game's own event is the newest of the hundred.
    for_two = [
        row
        for player in ("player-1", "player-2")
        for row in (*listening(player), *catching_up(range(52, 151), player))
    ]
    finding = judge(CatchesUp(), plus(nothing, *flood(), *for_two))
    assert (finding.verdict, finding.measured) == ("pass", 0)
    assert finding.explanation == "150 messages, 2 players, 102 deliveries that PubNub forgot"


def test_what_is_handed_over_twice_passes(nothing: pd.DataFrame) -> None:
    again = catching_up(range(52, 151), back_s=31.5)
    found = plus(nothing, *flood(), *listening("player-1"), *catching_up(range(52, 151)), *again)
    assert judge(CatchesUp(), found).verdict == "pass"


@pytest.mark.parametrize("missing", [52, 100, 150])
def test_a_player_who_misses_one_of_the_newest_is_caught(nothing: pd.DataFrame, missing: int) -> None:
    come = catching_up(number for number in range(52, 151) if number != missing)
    finding = judge(CatchesUp(), plus(nothing, *flood(), *listening("player-1"), *come))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    (example,) = finding.examples
    assert (example["event"], example["actor"], example["game"]) == (f"message {missing}", "player-1", GAME)


def test_a_player_who_never_comes_back_is_caught(nothing: pd.DataFrame) -> None:
    others = [*listening("player-2"), *catching_up(range(52, 151), "player-2")]
    finding = judge(CatchesUp(), plus(nothing, *flood(), *listening("player-1"), *others))
    assert (finding.verdict, finding.measured) == ("fail", 99)


def test_messages_out_of_order_are_caught(nothing: pd.DataFrame) -> None:
    numbers = [*range(52, 100), 101, 100, *range(102, 151)]
    finding = judge(CatchesUp(), plus(nothing, *flood(), *listening("player-1"), *catching_up(numbers)))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["error"] == "out of order"


def test_a_game_event_after_newer_messages_is_caught(nothing: pd.DataFrame) -> None:
    come = catching_up(range(52, 151))
    late = come[-1] | {"start_ns": at(accepted(60) + 0.005)}
    finding = judge(CatchesUp(), plus(nothing, *flood(), *listening("player-1"), *come[:-1], late))
    assert [example["event"] for example in finding.examples] == [VOTING]


def test_who_is_back_in_mid_flood_hears_the_rest_too(nothing: pd.DataFrame) -> None:
    back_s = accepted(120)
    kept = catching_up(range(21, 121), back_s=back_s)[:-1]
    live = [
        heard("test", f"message {number}", "player-1", accepted(number), accepted(number) + 0.05)
        for number in range(121, 151)
    ]
    found = plus(nothing, *flood(), *listening("player-1"), *kept, *live)
    assert judge(CatchesUp(), found).verdict == "pass"
    assert judge(CatchesUp(), plus(nothing, *flood(), *listening("player-1"), *kept, *live[1:])).measured == 1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([*listening("player-1"), *catching_up([])], "nobody listened to a channel that was flooded"),
        ([*flood(), *listening("player-1", to_s=23), *catching_up(())], "nobody listened"),
        ([*flood(), *listening("player-1", from_s=24), *catching_up(range(52, 151))], "nobody listened"),
        ([*flood(), *listening("player-1"), *catching_up(FLOODED)], "memory was long enough"),
        (
            [*flood(range(1, 91)), *listening("player-1"), *catching_up(range(1, 91))],
            "memory was long enough",
        ),
    ],
    ids=["no flood", "left", "came later", "heard all", "a short flood"],
)
def test_what_puts_nothing_to_the_test_proves_nothing(
    nothing: pd.DataFrame, rows: list[dict[str, Any]], why: str
) -> None:
    finding = judge(CatchesUp(), plus(nothing, *rows))
    assert finding.verdict == "inconclusive"
    assert why in finding.explanation
