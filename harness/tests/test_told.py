"""What players are told is compared with the truth: one untruth is a fault of the service, and named."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import Shape, history_of, run_of, synthetic_rows
from harness.documents.report import Report
from harness.documents.rows import CheckRow, IntegrityRow
from harness.history.row import canonical
from harness.judge import evidence_of
from harness.observe.player import HeardItem
from harness.report.build import report_on
from harness.sla.policy import load_policy
from scenarios.systems.drawing_game import DrawingGame

SHAPE = Shape(games_at_once=5, players=2, seconds=20, http_per_s=2)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def report_of(rows: pd.DataFrame, **about: Any) -> Report:
    return report_on(evidence_of(history_of(rows), run_of(SHAPE, **about), load_policy()), "run")


def row(report: Report, name: str) -> IntegrityRow:
    return next(one for one in report.integrity if one.name == name)


def check(report: Report, name: str) -> CheckRow:
    return next(one for one in report.measurement.checks if one.name == name)


def heard(rows: pd.DataFrame) -> pd.Index:
    """Rows of the first player's messages of moves, which have what they said."""
    return rows.index[(rows["kind"] == "delivery") & rows["said"].notna()]


def saying(rows: pd.DataFrame, which: int, **fields: Any) -> pd.DataFrame:
    """One message of many tells other fields."""
    rows, at = rows.copy(), heard(rows)[which]
    rows.loc[at, "said"] = canonical(json.loads(rows.loc[at, "said"]) | fields)
    return rows


def test_what_is_told_as_it_is_passes(rows: pd.DataFrame) -> None:
    report = report_of(rows)
    for name in ("told_wrongly", "told_of_nothing"):
        assert row(report, name).verdict == "pass"
        assert row(report, name).looked_at >= 20


def test_one_wrong_field_in_one_message_fails_with_what_was_told_beside_what_is(rows: pd.DataFrame) -> None:
    report = report_of(saying(rows, 7, previousPhase="voting"))
    found = row(report, "told_wrongly")
    assert (found.verdict, found.violations, report.verdict) == ("fail", 1, "fail")
    (example,) = found.examples
    assert example["detail"].startswith('previousPhase: told "voting", is "')
    assert {"game", "event", "actor"} <= example.keys()


def test_a_message_with_the_right_id_and_what_another_one_tells_is_told_wrongly(rows: pd.DataFrame) -> None:
    another = rows.loc[heard(rows)[0], "said"]
    changed = rows.copy()
    at = next(at for at in heard(rows) if rows.loc[at, "said"] != another)
    changed.loc[at, "said"] = another
    found = row(report_of(changed), "told_wrongly")
    assert (found.verdict, found.violations, found.examples[0]["event"]) == ("fail", 1, rows.loc[at, "event"])


def test_a_message_with_the_right_id_about_another_item_tells_of_nothing(rows: pd.DataFrame) -> None:
    event = rows.loc[heard(rows)[5], "event"]
    astray = rows[(rows["kind"] == "delivery") & (rows["event"] == event)].head(1)
    astray = astray.assign(end_ns=astray["end_ns"] + 1, ok=False, error="wrong item")
    found = row(report_of(pd.concat([rows, astray], ignore_index=True)), "told_of_nothing")
    assert (found.verdict, found.violations, found.examples[0]["event"]) == ("fail", 1, event)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_numbers_that_json_does_not_have_are_told_wrongly_and_spoil_no_report(
    number: float, rows: pd.DataFrame
) -> None:
    report = report_of(saying(rows, 3, newPhase=number))
    assert row(report, "told_wrongly").verdict == "fail"
    assert Report.model_validate_json(report.model_dump_json()).verdict == "fail"


def test_what_a_message_leaves_out_is_told_wrongly_and_what_it_adds_is_not(rows: pd.DataFrame) -> None:
    assert row(report_of(saying(rows, 3, colour="red")), "told_wrongly").verdict == "pass"
    rows = rows.copy()
    rows.loc[heard(rows)[3], "said"] = canonical({"newPhase": "briefing"})
    (example,) = row(report_of(rows), "told_wrongly").examples
    assert "previousPhase: told nothing" in example["detail"]


def test_a_witness_that_does_not_say_what_must_be_told_makes_it_not_applicable(rows: pd.DataFrame) -> None:
    silent = rows.assign(said=rows["said"].where(rows["kind"] != "transition"))
    found = row(report_of(silent), "told_wrongly")
    assert (found.verdict, "told" in (found.absent or "")) == ("not applicable", True)


def test_without_the_truth_nobody_can_tell(rows: pd.DataFrame) -> None:
    blind = rows[~rows["kind"].isin(["transition", "trigger", "publish"])]
    gone = [{"witness": "database", "reason": "the database could not be read"}]
    report = report_of(blind, missing=gone)
    assert {row(report, name).verdict for name in ("told_wrongly", "told_of_nothing")} == {"inconclusive"}


def again_under_another_id(rows: pd.DataFrame) -> pd.DataFrame:
    """One event of all is published a second time, under a new id: every player hears it."""
    event = rows.loc[heard(rows)[5], "event"]
    second = rows[(rows["kind"] == "delivery") & (rows["event"] == event)].assign(event="made-up")
    second["end_ns"] += 40_000_000
    return pd.concat([rows, second], ignore_index=True)


def test_an_event_that_is_published_again_under_another_id_is_the_services_fault(rows: pd.DataFrame) -> None:
    report = report_of(again_under_another_id(rows))
    found = row(report, "told_of_nothing")
    assert (found.verdict, found.violations) == ("fail", 1)
    assert found.examples[0]["event"] == "made-up"
    assert check(report, "matched_rows").verdict == "pass"


def unreadable(rows: pd.DataFrame) -> pd.DataFrame:
    """One message of all is no object: its player can't tell what it says."""
    rows, at = rows.copy(), heard(rows)[5]
    rows.loc[at, ["name", "event", "said", "target", "ok"]] = ["unreadable", None, None, None, False]
    rows.loc[at, "error"] = 'message is not an object, as in "[1]"'
    return rows


def test_a_message_that_cannot_be_read_is_the_services_fault(rows: pd.DataFrame) -> None:
    report = report_of(unreadable(rows))
    found = row(report, "told_of_nothing")
    assert (found.verdict, found.violations) == ("fail", 1)
    assert "message is not an object" in str(found.examples[0]["detail"])
    assert check(report, "matched_rows").verdict == "pass"


def test_where_others_may_publish_a_message_that_cannot_be_read_is_counted_by_nobody_else(
    rows: pd.DataFrame,
) -> None:
    elsewhere = {"service_url": "https://staging.example", "origin": "environment"}
    report = report_of(unreadable(rows), target=elsewhere)
    assert row(report, "told_of_nothing").violations == 0
    assert "1 messages could not be read" in check(report, "matched_rows").explanation


def test_where_others_may_publish_it_is_a_doubt(rows: pd.DataFrame) -> None:
    report = report_of(
        again_under_another_id(rows),
        target={"service_url": "https://staging.example", "origin": "environment"},
    )
    found = row(report, "told_of_nothing")
    assert (found.verdict, found.violations) == ("inconclusive", 0)
    assert "others may have published" in found.doubts[0]


def test_a_witness_that_looks_now_and_then_may_have_missed_a_move(rows: pd.DataFrame) -> None:
    polled = {"name": "quiz", "lifecycle": DrawingGame.lifecycle.entry(), "witness": {"kind": "poll"}}
    found = row(report_of(again_under_another_id(rows), system=polled), "told_of_nothing")
    assert (found.verdict, found.violations) == ("inconclusive", 0)
    assert "now and then" in found.doubts[0]


def test_while_a_run_goes_on_what_the_witness_has_not_read_yet_is_no_untruth(rows: pd.DataFrame) -> None:
    last = rows.loc[heard(rows), "end_ns"].max()
    unread = rows[~((rows["kind"] == "transition") & (rows["end_ns"] > last - 2_000_000_000))]
    unread = unread[~unread["kind"].isin(["publish", "trigger"])]
    assert row(report_of(unread), "told_of_nothing").verdict == "pass"
    assert row(report_of(unread, finished_at="2026-11-27T10:00:00Z"), "told_of_nothing").verdict == "fail"


def test_the_same_message_twice_is_allowed(rows: pd.DataFrame) -> None:
    twice = rows.loc[heard(rows)[:4]]
    twice = twice.assign(end_ns=twice["end_ns"] + 9_000_000, said=None)
    report = report_of(pd.concat([rows, twice], ignore_index=True))
    assert row(report, "told_of_nothing").verdict == "pass"
    assert row(report, "told_wrongly").verdict == "pass"


def test_while_moves_may_be_missing_a_message_proves_nothing(rows: pd.DataFrame) -> None:
    late = [{"witness": "database", "reason": "the database could not be read at the end"}]
    found = row(report_of(again_under_another_id(rows), missing=late), "told_of_nothing")
    assert (found.verdict, found.violations) == ("inconclusive", 0)


def test_what_is_said_again_is_written_once() -> None:
    item = HeardItem("game", lambda **_: None, lambda: None, set())
    one, other = canonical({"newPhase": "voting"}), canonical({"newPhase": "drawing"})
    said = [
        item.first_said(event, text) for event, text in [("e", one), ("e", one), ("e", other), (None, one)]
    ]
    assert said == [one, None, other, None]


def test_fields_are_the_same_text_in_whatever_order() -> None:
    assert (
        canonical({"b": 1, "a": None}) == canonical(json.loads('{"a": null, "b": 1}')) == '{"a":null,"b":1}'
    )
