"""Expectations of unauthorised calls pass where all are refused, and catch one that is let in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.experiment import NoSecretTold, UnauthorisedCallsMadeNothing, UnauthorisedCallsRefused
from harness.history.names import UNAUTHORISED, Reading
from harness.tests.synthetic_judging import SHAPE, at, judge, plus


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def call(number: int, error: str | None = None) -> dict[str, Any]:
    return {
        "kind": "http", "name": "GET /rest/v1/games", "actor": f"{UNAUTHORISED}no secret",
        "ok": error is None, "error": error,
        "start_ns": at(21 + number / 100), "end_ns": at(21.001 + number / 100),
    }  # fmt: skip


def reading(name: str, value: float, actor: str = "fault", second: float = 31) -> dict[str, Any]:
    return {"kind": "resource", "name": name, "actor": actor, "start_ns": at(second), "value": value}


def test_calls_that_are_all_refused_pass(rows: pd.DataFrame) -> None:
    finding = judge(UnauthorisedCallsRefused(at_least=50), plus(rows, *map(call, range(60))))
    assert finding.verdict == "pass"
    assert finding.explanation == "60 calls, 1 kinds of them"


@pytest.mark.parametrize("error", ["http 200", "http 500", "timeout"])
def test_one_call_that_is_not_refused_is_caught(rows: pd.DataFrame, error: str) -> None:
    finding = judge(UnauthorisedCallsRefused(), plus(rows, *map(call, range(60)), call(99, error)))
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["error"] == error


def test_few_calls_prove_nothing_unless_one_gets_in(rows: pd.DataFrame) -> None:
    assert judge(UnauthorisedCallsRefused(at_least=50), plus(rows, call(1))).verdict == "inconclusive"
    assert judge(UnauthorisedCallsRefused(at_least=50), plus(rows, call(1, "http 200"))).verdict == "fail"


@pytest.mark.parametrize(("made", "verdict"), [(0, "pass"), (1, "fail")])
def test_what_a_call_made_is_caught(rows: pd.DataFrame, made: int, verdict: str) -> None:
    found = plus(rows, reading(Reading.MADE_UNAUTHORISED, made))
    assert judge(UnauthorisedCallsMadeNothing(), found).verdict == verdict


def test_what_nobody_looked_for_is_not_known(rows: pd.DataFrame) -> None:
    earlier = reading(Reading.MADE_UNAUTHORISED, 0, second=12)
    assert judge(UnauthorisedCallsMadeNothing(), plus(rows, earlier)).verdict == "inconclusive"


SEARCHED = ("logs/service-1.log", "logs/locust.log", "history/load-1.arrow", "report.html")


def test_files_without_secrets_pass(rows: pd.DataFrame) -> None:
    finding = judge(NoSecretTold(), plus(rows, *(reading(Reading.SECRETS, 0, name) for name in SEARCHED)))
    assert finding.verdict == "pass"
    assert finding.explanation == "4 files searched"


@pytest.mark.parametrize("file", SEARCHED)
def test_one_secret_in_one_file_is_caught(rows: pd.DataFrame, file: str) -> None:
    found = plus(rows, *(reading(Reading.SECRETS, name == file, name) for name in SEARCHED))
    finding = judge(NoSecretTold(), found)
    assert (finding.verdict, finding.measured) == ("fail", 1)
    assert finding.examples[0]["actor"] == file


@pytest.mark.parametrize("file", SEARCHED)
def test_a_file_that_was_not_searched_proves_nothing(rows: pd.DataFrame, file: str) -> None:
    found = plus(rows, *(reading(Reading.SECRETS, 0, name) for name in SEARCHED if name != file))
    assert judge(NoSecretTold(), found).verdict == "inconclusive"
