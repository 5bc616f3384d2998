"""What can be seen of a system: what is absent is not applicable, what is there and unseen is told apart."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from fixtures.synthetic_run import about_run, history_of, run_of, synthetic_rows
from harness.history import Doubt, Witness
from harness.judge import evidence_of
from harness.judge.sight import sight
from harness.report.build import report_on
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.sla.policy import load_policy
from harness.system.members import MEMBERS
from harness.tests.synthetic_judging import SHAPE

ALL = [member.name for member in MEMBERS]


def seen(rows: pd.DataFrame, members: list[str], **about: Any) -> dict[str, tuple[str, str]]:
    system = about_run(SHAPE)["system"] | {"members": members}
    record = evidence_of(history_of(rows), run_of(SHAPE, system=system, **about), load_policy())
    return {row.part: (row.state, row.what) for row in sight(record)}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def test_what_was_driven_heard_and_witnessed_is_counted(rows: pd.DataFrame) -> None:
    found = seen(rows, ALL, cleaned={"prefix": "sw0123abcd-", "removed": {"games": 3}})
    assert list(found) == ["driven", "heard", "witnessed", *ALL]
    for part, what in {
        "driven": r"\d+ games, \d+ to the end; \d+ calls",
        "heard": r"\d+ phase_changed, \d+ subscriptions",
        "witnessed": r"\d+ moves, each within ± \S+ ms",
        "tick": r"\d+ ticks",
        "health": r"\d+ probes",
        "clean_up": "3 games removed",
    }.items():
        state, told = found[part]
        assert (state, bool(re.fullmatch(what, told))) == ("seen", True), told


def test_messages_that_never_came_and_calls_that_failed_are_named(rows: pd.DataFrame) -> None:
    broken = rows.copy()
    lost = broken.index[broken["name"] == "phase_changed"][:2]
    calls = broken.index[broken["kind"] == "http"][:3]
    broken.loc[calls, ["ok", "error"]] = [False, "http 500"]
    name = broken.loc[calls[0], "name"]
    found = seen(broken.drop(lost), [])
    assert re.search(
        r"; 2 of the \d+ that its moves should bring never came \(2 \w+->\w+\)$", found["heard"][1]
    )
    assert f"{name}: http 500" in found["driven"][1]


def test_what_came_of_players_acts_is_told(rows: pd.DataFrame) -> None:
    acted = rows.copy()
    heard = acted[acted["name"] == "phase_changed"].iloc[0]
    call = acted.index[(acted["kind"] == "http") & acted["ok"]][0]
    said = {"actor": "player-1", "game": heard["game"], "event": "bid-1"}
    at = {"start_ns": heard["end_ns"], "end_ns": heard["end_ns"], "intended_ns": pd.NA}
    acted.loc[call, [*said, *at]] = [*said.values(), *at.values()]
    assert re.search(r" calls of players; 0 of \d+ messages of them came", seen(acted, ["act"])["act"][1])


def test_what_the_system_does_not_have_is_not_applicable(rows: pd.DataFrame) -> None:
    found = seen(rows, [])
    assert {found[name][0] for name in ALL} == {"absent"}
    assert found["tick"][1] == "not applicable: it ticks by itself"


def test_what_is_there_and_could_not_be_seen_is_said_with_the_reason(rows: pd.DataFrame) -> None:
    without = rows[~rows["kind"].isin(["delivery", "transition", "monitor"])]
    missing = [Doubt(Witness.DATABASE, "no DATABASE_URL").entry()]
    absent = [Doubt(Witness.CRON, "nobody consented to ticks").entry()]
    left = {"prefix": "sw0123abcd-", "removed": {}, "left": "2 items are left: http 500"}
    found = seen(without, ALL, missing=missing, absent=absent, cleaned=left)
    assert found["heard"] == ("not seen", "nothing, 0 subscriptions")
    assert found["witnessed"] == ("not seen", "0 moves; no DATABASE_URL")
    assert found["tick"] == ("not seen", "nobody consented to ticks")
    assert found["clean_up"] == ("not seen", "nothing removed; 2 items are left: http 500")


def test_messages_that_can_not_be_read_are_counted_by_reason(rows: pd.DataFrame) -> None:
    broken = rows.copy()
    some = broken.index[broken["name"] == "phase_changed"][:2]
    broken.loc[some, ["name", "ok", "error"]] = ["unreadable", False, "no gameId"]
    assert "; 2 could not be read (2 no gameId); 2 of the " in seen(broken, [])["heard"][1]


def test_a_record_that_does_not_tell_has_no_table_and_a_page_shows_one(rows: pd.DataFrame) -> None:
    record = evidence_of(history_of(rows), run_of(SHAPE), load_policy())
    assert sight(record) == []
    system = about_run(SHAPE)["system"] | {"members": []}
    told = evidence_of(history_of(rows), run_of(SHAPE, system=system), load_policy())
    report = report_on(told, "a-run")
    for page in (render_html(report), render_markdown(report)):
        assert "What can be seen of the system" in page
        assert "not applicable: it ticks by itself" in page
