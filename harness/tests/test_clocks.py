"""A verdict holds whatever the clocks of those who stamp are, within what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from fixtures.synthetic_run import NS, START, run_of, synthetic_rows
from harness.history import SCHEMA, History, HistoryFile
from harness.judge import evidence_of
from harness.report.build import report_on
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import document_of
from harness.tests.test_verdicts import MIDDLE, SHAPE, late_events, named, of, two_swapped_events

pytestmark = pytest.mark.slow

Report = dict[str, Any]


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def of_worker_2(rows: pd.DataFrame) -> pd.Series:
    """Rows of half of the games, and what their players heard: stamped on another machine."""
    theirs = rows["kind"].isin(["delivery", "http"])
    odd = rows["game"].str.extract(r"(\d+)")[0].astype("Int64") % 2 == 1
    return theirs & (odd.fillna(value=False).astype(bool) | (rows["kind"] == "http"))


def ahead(rows: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """That machine's clock is ahead; what PubNub stamps is not."""
    rows = rows.copy()
    theirs = of_worker_2(rows)
    by_pubnub = of(rows, "delivery", "phase_changed")
    rows.loc[theirs, "end_ns"] += int(seconds * NS)
    rows.loc[theirs & ~by_pubnub, "start_ns"] += int(seconds * NS)
    return rows


def readings(actor: str, offset_ms: float, bound_ms: float, at_ns: int) -> pd.DataFrame:
    names = ["clock_offset_ms", "clock_error_bound_ms"]
    return pd.DataFrame(
        {"kind": "resource", "name": names, "actor": actor, "start_ns": at_ns, "value": [offset_ms, bound_ms]}
    )


def judged(rows: pd.DataFrame, *compared: pd.DataFrame, from_worker: tuple[pd.DataFrame, ...] = ()) -> Report:
    """Judge rows as the files of a master and of a worker on another machine."""
    theirs = of_worker_2(rows)
    parts = [("load-1", rows[~theirs]), ("observer-2", rows[theirs]), ("load-2", rows.head(0))]
    parts[0] = ("load-1", pd.concat([parts[0][1], *compared]))
    parts[1] = ("observer-2", pd.concat([parts[1][1], *from_worker, last_sign(rows)]))
    tables = [pa.Table.from_pandas(plain(part), schema=SCHEMA, preserve_index=False) for _, part in parts]
    files = [
        HistoryFile(Path(f"{name}.arrow"), name, "run", table.num_rows, None)
        for (name, _), table in zip(parts, tables, strict=True)
    ]
    history = History(pa.concat_tables(tables).unify_dictionaries(), files)
    return document_of(report_on(evidence_of(history, run_of(SHAPE), load_policy()), "run"))


def last_sign(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["kind"] == "resource") & (rows["name"] == "users")]


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.copy()
    for name in ("kind", "name", "actor"):
        rows[name] = rows[name].astype("category")
    return rows[list(SCHEMA.names)] if len(rows) else rows


@pytest.mark.parametrize("seconds", [3.0, -3.0])
def test_a_workers_clock_that_is_off_is_corrected(seconds: float, good_rows: pd.DataFrame) -> None:
    known = [readings(f"load-{n}", s * 1000, 1.0, START + NS) for n, s in ((1, 0.0), (2, seconds))]
    # The worker compared PubNub's clock with its own.
    pubnub = readings("pubnub", -seconds * 1000, 0.3, START + int((1 + seconds) * NS))
    report = judged(ahead(good_rows, seconds), *known, from_worker=(pubnub,))
    assert {row["name"]: row["verdict"] for row in report["objectives"] if row["verdict"] != "pass"} == {}
    assert named(report, "workers_clock")["measured"] == pytest.approx(0.001)
    assert named(report, "lost_events")["violations"] == 0
    for name, clocks in (("broadcast_latency", 0.0024), ("pubnub_delivery", 0.0023)):
        assert named(report, name)["clock_error"] == pytest.approx(clocks, abs=2e-4)
        assert named(report, name)["measured"] < 0.2


def test_a_workers_clock_that_nobody_compared_is_a_doubt_about_latencies(good_rows: pd.DataFrame) -> None:
    report = judged(ahead(good_rows, 3.0), readings("load-1", 0.0, 1.0, START + NS))
    check = named(report, "workers_clock")
    assert (check["verdict"], check["witnesses"]) == ("inconclusive", ["subscribers clock"])
    assert "load-2" in check["explanation"]
    for name in ("broadcast_latency", "pubnub_delivery"):
        assert named(report, name)["verdict"] == "inconclusive"
    assert named(report, "timer_accuracy")["verdict"] == "pass"


def test_a_fail_within_the_bound_of_a_workers_clock_is_none(good_rows: pd.DataFrame) -> None:
    rows = late_events(good_rows.copy())
    heard = of(rows, "delivery", "phase_changed")
    rows.loc[heard, "end_ns"] = rows.loc[heard, "start_ns"] + int(1.96 * NS)
    near = [readings(f"load-{n}", 0.0, 45.0, START + NS) for n in (1, 2)]
    assert named(judged(rows, *near), "broadcast_latency")["verdict"] == "inconclusive"
    sure = [readings(f"load-{n}", 0.0, 0.1, START + NS) for n in (1, 2)]
    assert named(judged(rows, *sure), "broadcast_latency")["verdict"] == "pass"


def test_an_event_from_the_moment_of_connecting_is_not_lost(good_rows: pd.DataFrame) -> None:
    # Connected 10 ms before the commit, by clocks that are known to 40 ms: nobody knows.
    rows = good_rows.copy()
    joined = of(rows, "delivery", "subscribe") & (rows["game"] == "game-5")
    event = rows["event"] == "game-5-event-2"
    commit = int(
        rows.loc[(of(rows, "transition") & event).fillna(value=False).astype(bool), "end_ns"].iloc[0]
    )
    rows.loc[joined, ["start_ns", "end_ns"]] = commit - NS // 100
    rows = rows[~(of(rows, "delivery", "phase_changed") & event).fillna(value=False).astype(bool)]
    sure = [readings(f"load-{n}", 0.0, 0.1, START + NS) for n in (1, 2)]
    assert named(judged(rows, *sure), "lost_events")["violations"] == 1
    blurred = [readings(f"load-{n}", 0.0, 40.0, START + NS) for n in (1, 2)]
    assert named(judged(rows, *blurred), "lost_events")["violations"] == 0


def test_an_order_told_by_a_clock_that_jumped_is_no_fail(good_rows: pd.DataFrame) -> None:
    rows = two_swapped_events(good_rows.copy())
    assert named(judged(rows), "out_of_order")["verdict"] == "fail"
    jumped = of(rows, "resource", "wall_minus_monotonic_ms") & (rows["start_ns"] > MIDDLE)
    rows.loc[jumped, "value"] += 2000.0
    row = named(judged(rows), "out_of_order")
    assert (row["verdict"], row["violations"]) == ("inconclusive", 0)
