"""Expectations of publishes pass on a service that keeps them, and catch one that breaks them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.experiment.expect_publishes import LeftAlone, NoRetryStorm
from harness.history.names import Publish
from harness.tests.synthetic_judging import SHAPE, at, judge, plus

FEW = NoRetryStorm(per_event=2, per_second=5)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def attempt(event: str | None, second: float) -> dict[str, Any]:
    return {
        "kind": "publish", "name": Publish.ATTEMPT, "actor": "pubnub", "event": event, "start_ns": at(second),
        "ok": False, "error": "http 403",
    }  # fmt: skip


# --- asked to be left alone --------------------------------------------------------------------------

ALONE = LeftAlone(status=429, for_s=2)


def refused(second: float, status: int = 429) -> dict[str, Any]:
    return attempt(f"at {second}", second) | {"end_ns": at(second + 0.01), "value": status}


def test_a_service_that_waits_as_long_as_it_was_told_passes(rows: pd.DataFrame) -> None:
    # Two of them were under way together, and the last came 2 s after its refusal.
    finding = judge(ALONE, plus(rows, refused(21), refused(21.005), refused(23.02), refused(25.1, 200)))
    assert (finding.verdict, finding.measured) == ("pass", 0)
    assert finding.explanation == "4 attempts, 3 refused"


@pytest.mark.parametrize("second", [21.2, 22, 22.9])
def test_a_service_that_comes_back_too_early_is_caught(rows: pd.DataFrame, second: float) -> None:
    finding = judge(ALONE, plus(rows, refused(21), refused(second), refused(27)))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert [example["event"] for example in finding.examples] == [f"at {second}"]


def test_refusals_of_another_kind_ask_for_nothing(rows: pd.DataFrame) -> None:
    assert judge(ALONE, plus(rows, refused(21, 500), refused(21.5, 500))).verdict == "inconclusive"


# --- attempts ----------------------------------------------------------------------------------------


def test_few_attempts_pass(rows: pd.DataFrame) -> None:
    finding = judge(FEW, plus(rows, attempt("a", 21), attempt("a", 22), attempt("b", 23)))
    assert (finding.verdict, finding.measured) == ("pass", 2)
    assert "3 attempts of 2 events, at most 2 of one, 0.3 a second" in finding.explanation


def test_an_event_that_is_tried_again_and_again_is_caught(rows: pd.DataFrame) -> None:
    finding = judge(FEW, plus(rows, *(attempt("a", 21 + n) for n in range(3)), attempt("b", 23)))
    assert (finding.verdict, finding.measured) == ("fail", 3)
    assert {example["event"] for example in finding.examples} == {"a"}


def test_too_many_attempts_in_all_are_caught(rows: pd.DataFrame) -> None:
    finding = judge(FEW, plus(rows, *(attempt(f"event-{n}", 21 + n / 10) for n in range(60))))
    assert (finding.verdict, finding.measured) == ("fail", 6)


def test_attempts_before_and_after_do_not_count(rows: pd.DataFrame) -> None:
    others = [attempt("a", second) for second in (18, 19, 31, 32)]
    assert judge(FEW, plus(rows, attempt("a", 21), *others)).measured == 1


def test_attempts_of_unknown_events_prove_nothing(rows: pd.DataFrame) -> None:
    assert judge(FEW, plus(rows, attempt("a", 21), attempt(None, 22))).verdict == "inconclusive"
    assert judge(FEW, rows).verdict == "inconclusive"
