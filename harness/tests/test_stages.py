"""Where the time of a broadcast goes, and the run over time, on records whose every duration is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.documents.shown import Timeline
from harness.judge import Evidence, evidence_of
from harness.judge.stages import stages
from harness.judge.timeline import timeline
from harness.sla.policy import load_policy

SHAPE = Shape(games_at_once=20, players=2, seconds=50, http_per_s=2)
MS = 1_000_000

#: What each stage takes in these records, in ms, and its share of a budget of 2 s.
TOOK = {
    "wait_for_tick": (300, None),
    "move": (40, None),
    "outbox": (100, 0.05),
    "publish": (20, 0.01),
    "delivery": (250, 0.125),
}


def known_rows() -> pd.DataFrame:
    """Return rows of a run in which every stage takes as long as :data:`TOOK` says."""
    rows = synthetic_rows(SHAPE)

    def of(kind: str) -> pd.Series:
        return rows["kind"] == kind

    ticks = of("monitor")
    rows.loc[ticks, "start_ns"] = rows.loc[ticks, "intended_ns"]
    moves = of("transition")
    # To the tick that began before it, and from there as agreed.
    tick_ns = rows.loc[moves, "start_ns"] // NS * NS
    rows.loc[moves & rows["intended_ns"].notna(), "intended_ns"] = tick_ns - 300 * MS
    rows.loc[moves, "end_ns"] = tick_ns + 40 * MS
    committed_ns = rows[moves].set_index("event")["end_ns"]
    rows.loc[of("publish"), "start_ns"] = rows.loc[of("publish"), "event"].map(committed_ns) + 100 * MS
    heard = of("delivery") & (rows["name"] == "phase_changed")
    rows.loc[heard, "start_ns"] = rows.loc[heard, "event"].map(committed_ns) + 120 * MS
    rows.loc[heard, "end_ns"] = rows.loc[heard, "start_ns"] + 250 * MS
    return rows


def evidence(rows: pd.DataFrame, **about: Any) -> Evidence:
    return evidence_of(history_of(rows), run_of(SHAPE, **about), load_policy())


@pytest.fixture(scope="module")
def known() -> Evidence:
    return evidence(known_rows())


def test_each_stage_is_as_long_as_it_was_and_has_its_share_of_the_budget(known: Evidence) -> None:
    for row in stages(known):
        milliseconds, share = TOOK[row.name]
        assert row.samples > 50, row.name
        for figure in ("mean", "p50", "p95", "p99"):
            assert getattr(row, figure) == pytest.approx(milliseconds / 1000), row.name
        assert row.budget_share == (None if share is None else pytest.approx(share)), row.name


def test_the_budget_is_what_the_policy_promises() -> None:
    policy = load_policy(changes={"broadcast_latency.threshold": "500ms"})
    found = stages(evidence_of(history_of(known_rows()), run_of(SHAPE), policy))
    assert {row.name: row.budget_share for row in found}["delivery"] == pytest.approx(0.5)


def test_a_stage_that_nobody_watched_has_no_figures(known: Evidence) -> None:
    rows = known_rows()
    found = {row.name: row for row in stages(evidence(rows[rows["kind"] != "publish"]))}
    outbox = found["outbox"]
    assert (outbox.samples, outbox.p95, outbox.budget_share) == (0, None, None)
    assert found["delivery"].p95 == pytest.approx(0.25)


# --- the timeline --------------------------------------------------------------------------------------


def series(found: Timeline, title: str) -> Sequence[float | None]:
    return next(one.values for one in found.series if one.title == title)


def test_a_part_of_the_record_is_drawn_second_by_second(known: Evidence) -> None:
    whole = timeline(known)
    part = timeline(known, (START + 20 * NS, START + 30 * NS))
    assert (part.start_ms, part.bin_s, part.bins) == ((START + 20 * NS) // MS, 1, 10)
    assert [window.name for window in part.windows] == ["steady"]
    for title in ("broadcast p95", "requests", "connections in use"):
        assert series(part, title) == series(whole, title)[20:30]


def test_nothing_is_drawn_of_an_empty_span(known: Evidence) -> None:
    found = timeline(known, (START, START))
    assert (found.bins, found.series) == (0, ())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_reading_that_is_no_number_leaves_a_gap(value: float) -> None:
    rows = synthetic_rows(SHAPE)
    depth = (rows["name"] == "outbox_depth") & (rows["start_ns"] == START + 20 * NS)
    rows.loc[depth, "value"] = value
    drawn = series(timeline(evidence(rows)), "events waiting")
    assert drawn[20] is None
    assert all(np.isfinite(value) for number, value in enumerate(drawn[:50]) if number != 20)
