"""The history survives what kills its writer, and costs next to nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness.history import HistoryError, HistoryWriter, Row, read_history
from harness.history.names import Reading


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    writer = run_python(
        """
        import pathlib, sys, time
        from harness.history import HistoryError, HistoryWriter, Row
        history = HistoryWriter(pathlib.Path(sys.argv[1]), "load", "run-1", flush_interval_s=60)
        for number in range(1000):
            history.append(Row("http", "GET /", "player-1", start_ns=number))
        history.flush()
        history.append(Row("http", "GET /", "player-1", start_ns=-1))
        print("flushed", flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "flushed\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    history = read_history(tmp_path)
    assert history.table["start_ns"].to_pylist() == list(range(1000))
    assert history.files[0].cut_off == "the writer did not close the file"


def test_a_file_cut_at_any_byte_yields_its_whole_batches(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "load", "run-1", flush_interval_s=60) as history:
        for batch in range(3):
            history.append(Row("health", "health", "prober", start_ns=batch, ok=True))
            history.flush()
    whole = history.path.read_bytes()
    refused: list[int] = []
    for length in range(0, len(whole), 97):
        history.path.write_bytes(whole[:length])
        try:
            found = read_history(tmp_path)
        except HistoryError:
            # Only with the schema at its front is it known for a history at all.
            refused.append(length)
            continue
        rows = found.table["start_ns"].to_pylist()
        assert rows == list(range(len(rows)))
        assert found.files[0].cut_off
    assert max(refused) < 2000


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    history = HistoryWriter(tmp_path, "load", "run-1", flush_interval_s=60)
    # A limit on the file's size refuses writes as a full disk does, in the middle of one.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        for number in range(2000):
            history.append(Row("http", "GET /", f"player-{number}", start_ns=number))
        history.flush()
        assert history.error is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    history.append(Row("http", "GET /", "player-1", start_ns=2000))
    history.close()
    assert history.error is None
    assert read_history(tmp_path).table["start_ns"].to_pylist() == list(range(2001))


@pytest.mark.parametrize(
    "unfit",
    [
        Row("http", "GET /", "player-1", game="\ud800"),
        Row("http", "GET /", "player-1", start_ns=2**63),
        Row("http", "GET /", "player-1", value="much"),  # type: ignore[arg-type]  # of whoever forgot to look
    ],
)
def test_a_row_that_cannot_be_encoded_is_dropped_alone_and_told_of(tmp_path: Path, unfit: Row) -> None:
    with HistoryWriter(tmp_path, "load", "run-1", flush_interval_s=60) as history:
        history.append(Row("http", "GET /", "player-1", start_ns=1))
        history.append(unfit)
        history.append(Row("http", "GET /", "player-1", start_ns=2))
        history.flush()
        history.append(Row("http", "GET /", "player-1", start_ns=3))
    rows = read_history(tmp_path).table.to_pylist()
    assert [row["start_ns"] for row in rows if row["kind"] == "http"] == [1, 2, 3]
    (told,) = [row for row in rows if row["name"] == Reading.ROWS_DROPPED]
    assert (told["actor"], told["value"]) == ("load", 1)
    assert told["error"].endswith("in a row of 'http' 'GET /'")
