"""What observers make of errors, health reports, metrics and clocks."""

import errno
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.history import HistoryWriter, read_history
from harness.history.row import unix_ns
from harness.observe.health import what_is_ill
from harness.observe.log_reader import _Seen
from harness.observe.metrics import readings_of
from harness.observe.readings import OwnReadings, ProcessReadings
from harness.system import find_system
from harness.system.optional import told_ill
from harness.target import Target
from harness.target.errors import name_of

GAME: Any = find_system()(Target("http://127.0.0.1:9", "key", "secret", "sub"))


class ServerDisconnectedError(Exception):
    """As aiohttp's, which is told by its name."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection reset"),
        (BrokenPipeError(errno.EPIPE, "x"), "connection reset"),
        (OSError(errno.EMFILE, "x"), "out of open files"),
        (socket.gaierror(-2, "Name or service not known"), "unknown host"),
        (ServerDisconnectedError(), "connection reset"),
        (KeyError("x"), "KeyError"),
    ],
)
def test_errors_have_short_names_that_can_be_counted(error: BaseException, name: str) -> None:
    assert name_of(error) == name


def test_the_cause_of_a_wrapped_error_is_what_counts() -> None:
    wrapped = RuntimeError("request failed")
    wrapped.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "x")
    assert name_of(wrapped) == "connection refused"


WELL = {"database": {"healthy": True}, "pubnub": {"healthy": True}}


@pytest.mark.parametrize(
    ("status", "body", "ill"),
    [
        (200, {"status": "healthy", "checks": WELL}, None),
        (503, {"status": "unhealthy", "checks": {**WELL, "pubnub": {"healthy": False}}}, "pubnub"),
        (503, {"status": "unhealthy", "checks": {"pubnub": {}, "database": {}}}, "database,pubnub"),
        # A part that is ill is ill, whatever the headline says.
        (200, {"status": "healthy", "checks": {"database": {"healthy": False}}}, "database"),
        (503, {"status": "healthy", "checks": WELL}, "unhealthy"),
        (200, {"status": "healthy"}, "bad answer"),
        (200, ["healthy"], "bad answer"),
        (502, None, "http 502"),
    ],
)
def test_health_is_told_by_its_parts(status: int, body: object, ill: str | None) -> None:
    assert what_is_ill(GAME, status, body) == ill


def test_a_system_that_can_not_read_its_own_health_ends_no_observer() -> None:
    class Broken(type(GAME)):  # type: ignore[misc]
        def ill(self, status: int, body: object) -> str | None:
            raise KeyError("database")

    assert what_is_ill(Broken(GAME.target), 200, {}) == "ill raised KeyError"


@pytest.mark.parametrize("told", ["", frozenset({"database"}), False])
def test_a_system_that_tells_its_health_by_something_else_than_a_text_is_told_so(told: object) -> None:
    class Odd(type(GAME)):  # type: ignore[misc]
        def ill(self, status: int, body: object) -> object:
            return told

    assert what_is_ill(Odd(GAME.target), 200, {}) == "ill raised TypeError"
    with pytest.raises(TypeError, match="return None where all is well, else the parts as a text"):
        told_ill(Odd(GAME.target), 200, {})


def test_metrics_become_readings_and_others_are_passed_over() -> None:
    text = (
        "# TYPE db_pool_in_use gauge\ndb_pool_in_use 3\n"
        "# TYPE outbox_age_seconds gauge\noutbox_age_seconds 1.5\n"
        "# TYPE something_else gauge\nsomething_else 9\n"
    )
    rows = list(readings_of(GAME.readings, "service-1", text, 7))
    assert [(row.name, row.actor, row.value, row.start_ns) for row in rows] == [
        ("pool_in_use", "service-1", 3.0, 7),
        ("outbox_age_s", "service-1", 1.5, 7),
    ]


def test_a_counter_is_read_and_its_labels_are_added_up() -> None:
    text = (
        "# TYPE event_broadcasting_failures_total counter\n"
        'event_broadcasting_failures_total{reason="timeout"} 3\n'
        'event_broadcasting_failures_total{reason="http 500"} 2\n'
        "# TYPE event_broadcasting_success_total counter\nevent_broadcasting_success_total 40\n"
    )
    rows = list(readings_of(GAME.readings, "service-1", text, 7))
    assert [(row.name, row.value) for row in rows] == [("publish_failures", 5.0), ("published", 40.0)]
    (row,) = readings_of(
        GAME.readings, "service-1", text.partition("event_broadcasting_failures_total{")[0], 7
    )
    assert (row.name, row.value) == ("publish_failures", 0.0)


def test_database_times_keep_their_microseconds() -> None:
    assert unix_ns(datetime(2026, 1, 31, 23, 59, 59, 999999, UTC)) == 1769903999999999000
    assert unix_ns(None) is None


def test_a_row_that_was_committed_late_is_still_found() -> None:
    seen, at = _Seen(), datetime(2026, 1, 31, tzinfo=UTC)
    assert seen.add(10, at)
    seen.forget()
    assert seen.low == 0, "a lower id may still turn up"
    assert seen.add(9, at)
    assert not seen.add(10, at)


def test_a_database_that_comes_back_from_a_backup_may_give_an_id_again() -> None:
    seen, before = _Seen(), datetime(2026, 1, 31, tzinfo=UTC)
    after = before + timedelta(seconds=1)
    assert all(seen.add(id, before) for id in (1, 2, 3))
    seen.look_at_all()
    assert [seen.add(*row) for row in ((1, before), (2, after))] == [False, True]
    assert seen.low == 0


def test_readings_of_a_process_that_is_gone_are_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    readings = ProcessReadings("child", child.pid)
    assert {row.name for row in readings.read()} == {"cpu_percent", "rss_bytes", "open_files"}
    child.communicate()
    assert readings.read() == []


def test_children_count_with_their_parent(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys;"
        "c = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE);"
        "print('up', flush=True); input(); c.communicate()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    alone, family = ProcessReadings("p", parent.pid), ProcessReadings("p", parent.pid, family=True)
    files = [{row.name: row.value for row in each.read()}["open_files"] for each in (alone, family)]
    parent.communicate("\n")
    assert files[1] > files[0]


def test_a_process_tells_how_late_its_loop_ran_at_worst(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "x", "run") as history:
        own = OwnReadings("observer-1", history)
        for lag_s in (0.01, 0.3, 0.02):
            own.lagged(lag_s)
        own.record()
        own.record()
    rows = read_history(tmp_path).table.to_pylist()
    lags = [row["value"] for row in rows if row["name"] == "loop_lag_ms"]
    assert lags == [300.0, 0.0]
    assert {row["actor"] for row in rows} == {"observer-1"}
