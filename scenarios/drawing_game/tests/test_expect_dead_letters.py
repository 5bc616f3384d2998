"""Expectations of dead letters pass on a service that keeps them, and catch one that breaks them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.history.names import Publish
from harness.tests.synthetic_judging import SHAPE, at, during, judge, plus
from scenarios.drawing_game.expect_dead_letters import DeadLetters, ReplayHeard
from scenarios.drawing_game.operator import DEAD_LETTER


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


@pytest.fixture
def rows(good: pd.DataFrame) -> pd.DataFrame:
    return good.copy()


def published(
    name: str, event: str | None, second: float, ok: bool, error: str | None = None
) -> dict[str, Any]:
    return {
        "kind": "publish", "name": name, "actor": "operator", "event": event, "start_ns": at(second),
        "ok": ok, "error": error,
    }  # fmt: skip


def dead(event: str, reason: str = "http 403") -> dict[str, Any]:
    return published(DEAD_LETTER, event, 25, False, reason)


def replayed(event: str, second: float = 31) -> dict[str, Any]:
    return published(Publish.REPLAYED, event, second, True)


# --- dead letters ------------------------------------------------------------------------------------


def test_dead_letters_with_their_reason_that_are_replayed_pass(rows: pd.DataFrame) -> None:
    found = plus(rows, dead("a"), dead("b"), replayed("a"), replayed("b"))
    assert judge(DeadLetters("http 403"), found).verdict == "pass"


def test_a_service_without_dead_letters_is_caught(rows: pd.DataFrame) -> None:
    assert judge(DeadLetters("http 403"), rows).verdict == "fail"


def test_another_reason_is_caught(rows: pd.DataFrame) -> None:
    found = plus(rows, dead("a", "timeout"), dead("b"), replayed("a"), replayed("b"))
    assert judge(DeadLetters("http 403"), found).measured == 1


def test_a_dead_letter_that_is_not_replayed_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(DeadLetters("http 403"), plus(rows, dead("a"), dead("b"), replayed("a")))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["event"] == "b"


# --- replays -----------------------------------------------------------------------------------------


def replay_of(rows: pd.DataFrame, heard_s: float) -> tuple[pd.DataFrame, str]:
    """Have an event of the fault's time be replayed at second 31, and heard at another."""
    event = rows[during(rows, "transition", 24, 26)]["event"].iloc[0]
    heard = ((rows["kind"] == "delivery") & (rows["event"] == event)).fillna(value=False)
    rows.loc[heard, "end_ns"] = at(heard_s)
    return plus(rows, replayed(event)), event


def test_a_replay_that_everyone_hears_passes(rows: pd.DataFrame) -> None:
    finding = judge(ReplayHeard(10), replay_of(rows, 33)[0])
    assert finding.verdict == "pass"
    assert finding.measured == pytest.approx(2)
    assert finding.explanation == "1 events, 2 deliveries"


def test_a_replay_that_takes_too_long_is_caught(rows: pd.DataFrame) -> None:
    assert judge(ReplayHeard(10), replay_of(rows, 45)[0]).verdict == "fail"


def test_a_replay_that_one_player_never_hears_is_caught(rows: pd.DataFrame) -> None:
    rows, event = replay_of(rows, 33)
    missed = (rows["kind"] == "delivery") & (rows["event"] == event) & (rows["actor"] == "player-1")
    finding = judge(ReplayHeard(10), rows[~missed.fillna(value=False)])
    assert (finding.verdict, finding.measured) == ("fail", None)
    assert finding.examples[0]["actor"] == "player-1"


def test_a_replay_of_nothing_proves_nothing(rows: pd.DataFrame) -> None:
    assert judge(ReplayHeard(10), rows).verdict == "inconclusive"
