"""What the harness runs out of is recorded, said first, and blamed on nobody else."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.history import read_history
from harness.observe.shortages import LogOfShortages
from harness.sla.policy import load_policy
from harness.target.errors import name_of
from harness.tests.synthetic_judging import plus
from harness.tests.test_verdicts import MIDDLE, SHAPE, an_unheard_event, named, of, verdict_of

#: As the parts wrote it with too small a limit.
TOXIPROXY = (
    '{"level":"warn","error":"accept tcp 127.0.0.1:4711: accept4: too many open files","message":"Error"}\n'
    '{"level":"error","error":"dial tcp 127.0.0.1:1: socket: too many open files","message":"Unable"}\n'
    '{"level":"error","error":"dial tcp 127.0.0.1:1: connect: cannot assign requested address"}\n'
)


@pytest.fixture(scope="module")
def good_rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def lacking(actor: str) -> dict[str, object]:
    row = {"kind": "resource", "name": "shortage", "actor": actor, "start_ns": MIDDLE, "ok": False}
    return row | {"error": "out of open files", "value": 3517.0}


def refused_calls(rows: pd.DataFrame) -> pd.DataFrame:
    """Every other call of the load failed for want of descriptors of its own."""
    rows = rows.copy()
    calls = rows.index[of(rows, "http")][::2]
    rows.loc[calls, ["ok", "error"]] = [False, "out of open files"]
    return rows


def lost_at_the_proxy(rows: pd.DataFrame) -> pd.DataFrame:
    return plus(an_unheard_event(rows.copy()), lacking("toxiproxy"))


def lost_at_the_observer(rows: pd.DataFrame) -> pd.DataFrame:
    return plus(an_unheard_event(rows.copy()), lacking("observer-1"))


@pytest.mark.parametrize(
    ("spoil", "touched"),
    [
        (lost_at_the_proxy, {"lost_events", "error_rate", "availability", "event_delivery"}),
        (lost_at_the_observer, {"lost_events", "event_delivery"}),
    ],
)
def test_what_a_process_of_ours_lost_for_want_of_descriptors_nobody_else_lost(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], touched: set[str], good_rows: pd.DataFrame
) -> None:
    assert (
        named(verdict_of(an_unheard_event(good_rows.copy()), load_policy()), "lost_events")["verdict"]
        == "fail"
    )
    report = verdict_of(spoil(good_rows), load_policy())
    assert report["verdict"] == "inconclusive"
    assert {name: named(report, name)["verdict"] for name in touched} == dict.fromkeys(
        touched, "inconclusive"
    )
    first = report["measurement"]["checks"][0]
    assert (first["name"], first["verdict"], first["measured"]) == ("shortages", "inconclusive", 3517)
    assert "out of open files (3517 times)" in first["explanation"]


def test_calls_that_failed_for_want_of_our_descriptors_are_no_errors_of_the_service(
    good_rows: pd.DataFrame,
) -> None:
    report = verdict_of(refused_calls(good_rows), load_policy())
    assert named(report, "error_rate")["verdict"] == "inconclusive"
    assert report["verdict"] == "inconclusive"


def test_a_run_with_enough_of_everything_says_so(good_rows: pd.DataFrame) -> None:
    assert named(verdict_of(good_rows, load_policy()), "shortages")["verdict"] == "pass"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (errno.EMFILE, "out of open files"),
        (errno.ENFILE, "out of open files"),
        (errno.EADDRNOTAVAIL, "out of local ports"),
        (errno.ENOBUFS, "out of memory"),
        (errno.ENOMEM, "out of memory"),
    ],
)
def test_what_we_lack_is_told_apart_from_what_others_refuse(number: int, name: str) -> None:
    assert name_of(OSError(number, "x")) == name


def told(log: LogOfShortages) -> list[tuple[str, str | None, float | None]]:
    return [(row.actor, row.error, row.value) for row in log.rows()]


def test_a_parts_log_is_read_from_where_the_run_began(tmp_path: Path) -> None:
    path = tmp_path / "toxiproxy.log"
    path.write_text(TOXIPROXY, encoding="utf-8")
    log = LogOfShortages("toxiproxy", path)
    assert told(log) == []
    with path.open("a", encoding="utf-8") as file:
        file.write(TOXIPROXY + "half a line: too many open fi")
    assert told(log) == [("toxiproxy", "out of open files", 2), ("toxiproxy", "out of local ports", 1)]
    with path.open("a", encoding="utf-8") as file:
        file.write("les\n")
    assert told(log) == [("toxiproxy", "out of open files", 1)]


def test_a_part_without_a_log_says_nothing(tmp_path: Path) -> None:
    assert told(LogOfShortages("toxiproxy", tmp_path / "none.log")) == []


STARVED = """
import os, resource, sys
from pathlib import Path
from harness.history import HistoryWriter
from harness.observe.readings import OwnReadings
with HistoryWriter(Path(sys.argv[1]), "observer-1", "run") as history:
    readings = OwnReadings("observer-1", history)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    readings.record()
    for one in taken:
        os.close(one)
    readings.record()
"""


def test_a_process_that_is_at_its_limit_says_so_itself(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", STARVED, str(tmp_path)], check=True)
    rows = [row for row in read_history(tmp_path).table.to_pylist() if row["name"] == "shortage"]
    assert [(row["actor"], row["error"], row["value"]) for row in rows] == [
        ("observer-1", "out of open files", 1)
    ]
