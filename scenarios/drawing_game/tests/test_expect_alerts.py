"""Expectations of alerts pass on a service that keeps them, and catch one that breaks them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.judge.findings import Expectation
from harness.tests.synthetic_judging import SHAPE, at, judge, plus
from scenarios.drawing_game.alerting import AlertRule
from scenarios.drawing_game.alerts import SERVICE, UNREADABLE
from scenarios.drawing_game.expect_alerts import (
    AlertOnce,
    AlertRaised,
    AlertResolved,
    AlertsSilent,
    AlertsSilentBefore,
)

RULE, OTHER = "PubNub API Failures", "High Error Rate"
CHANNELS = ("slack", "pagerduty")
ONCE = AlertOnce(RULE, CHANNELS)
RAISED = AlertRaised(RULE, CHANNELS, within_s=6)
RESOLVED = AlertResolved(RULE, CHANNELS, within_s=8)


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def notice(channel: str, second: float, raised: bool | None, rule: str = RULE) -> dict[str, Any]:
    times = {"start_ns": at(second), "end_ns": at(second)}
    ok = None if raised is None else not raised
    return {"kind": "alert", "name": rule, "actor": channel, **times, "ok": ok}


def looks(raised_s: float = 23, resolved_s: float = 34, rule: str = RULE) -> list[dict[str, Any]]:
    """What /alerts says each half second: raised from one second of the run to another."""
    seconds = [number / 2 for number in range(2 * SHAPE.seconds)]
    return [notice(SERVICE, second, raised_s <= second < resolved_s, rule) for second in seconds]


def told(*, raised_s: float = 22.5, resolved_s: float = 34.0) -> list[dict[str, Any]]:
    return [notice(c, s, r) for c in CHANNELS for s, r in ((raised_s, True), (resolved_s, False))]


def quiet(rule: str) -> list[dict[str, Any]]:
    return looks(99, 99, rule)


@pytest.fixture
def rows(good: pd.DataFrame) -> pd.DataFrame:
    """A run whose alert is raised at 22.5 s and resolved at 34 s, as is told on every channel."""
    return plus(good, *looks(), *quiet(OTHER), *told())


def without(rows: pd.DataFrame, channel: str, *, raised: bool) -> pd.DataFrame:
    ok = rows["ok"].fillna(value=False).astype(bool)
    return rows[~((rows["kind"] == "alert") & (rows["actor"] == channel) & (ok != raised))]


@pytest.mark.parametrize(
    "expectation", [RAISED, RESOLVED, ONCE, AlertsSilentBefore(2), AlertsSilent((OTHER,))]
)
def test_an_alert_that_is_told_as_it_should_passes(rows: pd.DataFrame, expectation: Expectation) -> None:
    assert judge(expectation, rows).verdict == "pass"


def test_what_is_measured_is_the_last_channels_time(rows: pd.DataFrame) -> None:
    assert judge(RAISED, rows).measured == pytest.approx(3.0)
    assert judge(RESOLVED, rows).measured == pytest.approx(4.0)


@pytest.mark.parametrize("channel", [*CHANNELS, SERVICE])
def test_an_alert_that_is_not_raised_everywhere_is_caught(rows: pd.DataFrame, channel: str) -> None:
    finding = judge(RAISED, without(rows, channel, raised=True))
    assert (finding.verdict, finding.measured) == ("fail", None)
    assert f"{channel} after never" in finding.explanation


def test_an_alert_that_is_raised_too_late_is_caught(good: pd.DataFrame) -> None:
    assert judge(RAISED, plus(good, *looks(), *told(raised_s=27))).verdict == "fail"


@pytest.mark.parametrize("channel", [*CHANNELS, SERVICE])
def test_an_alert_that_stays_raised_is_caught(rows: pd.DataFrame, channel: str) -> None:
    stays = without(rows, channel, raised=False)
    finding = judge(RESOLVED, stays)
    assert (finding.verdict, finding.measured) == ("fail", None)


def test_an_alert_that_is_resolved_too_late_is_caught(good: pd.DataFrame) -> None:
    assert judge(RESOLVED, plus(good, *looks(), *told(resolved_s=39))).verdict == "fail"


def test_an_alert_that_was_never_raised_proves_nothing_of_its_resolution(rows: pd.DataFrame) -> None:
    assert judge(RESOLVED, without(rows, "slack", raised=True)).verdict == "inconclusive"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([("slack", 24, True)], id="raised twice"),
        pytest.param([("slack", 36, False)], id="resolved twice"),
        pytest.param([("slack", 36, True), ("slack", 38, False)], id="flapping"),
    ],
)
def test_an_alert_that_is_told_more_than_once_is_caught(rows: pd.DataFrame, more: list[Any]) -> None:
    finding = judge(ONCE, plus(rows, *(notice(*one) for one in more)))
    assert (finding.verdict, finding.measured) == ("fail", 1)


def test_an_alert_that_is_resolved_before_it_is_raised_is_caught(good: pd.DataFrame) -> None:
    assert judge(ONCE, plus(good, *told(raised_s=35, resolved_s=22))).verdict == "fail"


def test_an_earlier_experiments_notices_are_not_this_ones(rows: pd.DataFrame) -> None:
    earlier = [notice("slack", 5, True), notice("slack", 9, False)]
    assert judge(ONCE, plus(rows, *earlier)).verdict == "pass"


@pytest.mark.parametrize("channel", ["slack", SERVICE])
def test_an_alert_in_steady_state_is_caught(rows: pd.DataFrame, channel: str) -> None:
    assert judge(AlertsSilentBefore(2), plus(rows, notice(channel, 19.1, True))).verdict == "fail"


def test_steady_state_that_nobody_watched_proves_nothing(good: pd.DataFrame) -> None:
    late = [row for row in looks() if row["end_ns"] > at(19.5)]
    assert judge(AlertsSilentBefore(2), plus(good, *late)).verdict == "inconclusive"


@pytest.mark.parametrize("channel", ["email", SERVICE])
def test_another_alert_is_caught(rows: pd.DataFrame, channel: str) -> None:
    assert judge(AlertsSilent((OTHER,)), plus(rows, notice(channel, 25.1, True, OTHER))).verdict == "fail"


def test_a_notice_that_nobody_understands_is_caught(rows: pd.DataFrame) -> None:
    assert judge(AlertsSilent((OTHER,)), plus(rows, notice("slack", 25, None, UNREADABLE))).verdict == "fail"


def test_an_alert_that_the_service_does_not_know_proves_nothing(rows: pd.DataFrame) -> None:
    assert judge(AlertsSilent((OTHER, "Fire")), rows).verdict == "inconclusive"


def test_a_rule_expects_its_own_window_and_channels() -> None:
    rule = AlertRule(RULE, 6.0, CHANNELS)
    assert RAISED in rule.told()
    assert ONCE in rule.told()
