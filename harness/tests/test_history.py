"""The history survives what kills its writer, and is read whole or as it grows."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_file
from harness.history import HistoryError, HistoryReader, HistoryWriter, Row, read_history
from harness.history.names import Reading
from harness.history.schema import META_RUN, META_VERSION, META_WRITER, schema_of


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    writer = run_python(
        """
        import pathlib, sys, time
        from harness.history import SCHEMA, HistoryError, HistoryWriter, Row
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


@pytest.mark.parametrize("step", [1, 97, 1000])
def test_a_file_cut_at_any_byte_yields_its_whole_batches_at_each_look(tmp_path: Path, step: int) -> None:
    with HistoryWriter(tmp_path / "whole", "load", "run-1", flush_interval_s=60) as writer:
        for batch in range(5):
            writer.append(Row("http", f"call-{batch}", "player-1", start_ns=batch))
            writer.flush()
    data, reader, cut = (
        writer.path.read_bytes(),
        HistoryReader(tmp_path / "cut"),
        tmp_path / "cut" / "a.arrow",
    )
    cut.parent.mkdir()
    for end in [*range(0, len(data), step), len(data)]:
        cut.write_bytes(data[:end])
        found = reader.look()
        rows = found.table["start_ns"].to_pylist()
        assert rows == list(range(len(rows)))
        assert (found.files[0].cut_off is None) == (end == len(data))
    assert found.table.to_pylist() == read_history(tmp_path / "whole").table.to_pylist()
    assert len(rows) == 5


def test_each_look_finds_what_was_written_since(tmp_path: Path) -> None:
    reader = HistoryReader(tmp_path)
    assert reader.look().table.num_rows == 0
    with HistoryWriter(tmp_path, "load", "a-run", flush_interval_s=3600) as writer:
        for batch in range(40):
            for number in range(batch % 4):
                writer.append(Row("http", f"call-{batch}", f"player-{number}", start_ns=batch))
            writer.flush()
            found = reader.look()
            assert found.table.num_rows == sum(number % 4 for number in range(batch + 1))
            # What was read is not read again.
            writer.path.write_bytes(bytes(writer.path.stat().st_size))
    found = reader.look()
    assert found.files[0].cut_off is None
    assert found.table["start_ns"].to_pylist() == [batch for batch in range(40) for _ in range(batch % 4)]


def test_a_history_of_the_first_schema_is_read_with_its_faults_in_columns(tmp_path: Path) -> None:
    schema = schema_of(1)
    old = schema.with_metadata({META_VERSION: "1", META_RUN: "run-1", META_WRITER: "load"})
    fault = {"kind": "fault", "name": "network:down service-pubnub", "actor": "fault", "event": "f-1"}
    call = {"kind": "http", "name": "GET /", "actor": "player-1"}
    with pa.ipc.new_stream(str(tmp_path / "load-1.arrow"), old) as stream:
        stream.write_table(pa.Table.from_pylist([call, fault, call], old))
    history = read_history(tmp_path)
    assert history.files[0].rows == 3
    found = [(row["place"], row["name"], row["target"]) for row in history.table.to_pylist()]
    assert sorted(found, key=str) == [("network", "down", "service-pubnub"), *[(None, "GET /", None)] * 2]


def test_a_history_of_the_second_schema_is_read(tmp_path: Path) -> None:
    old = schema_of(2).with_metadata({META_VERSION: "2", META_RUN: "run-1", META_WRITER: "load"})
    rows = [{"kind": "http", "name": "GET /", "actor": f"player-{n}"} for n in range(3)]
    with pa.ipc.new_stream(str(tmp_path / "load-1.arrow"), old) as stream:
        stream.write_table(pa.Table.from_pylist(rows, old))
    table = read_history(tmp_path).table
    assert (table["actor"].to_pylist(), table["said"].null_count) == (["player-0", "player-1", "player-2"], 3)


@pytest.mark.parametrize("content", [b"this is not an Arrow file at all", b"\xff\xff\xff\xffno more"])
def test_what_is_no_history_yields_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "load.arrow").write_bytes(content)
    if content[:1] == b"t":
        with pytest.raises(HistoryError, match=r"load\.arrow: not a history file"):
            read_history(tmp_path)
    else:
        assert read_history(tmp_path).files[0].cut_off


def test_a_newer_schema_and_mixed_runs_are_named(tmp_path: Path) -> None:
    rows: pd.DataFrame = synthetic_rows(Shape(games_at_once=2, seconds=12)).head(5)
    for name in ("newer", "mixed"):
        (tmp_path / name).mkdir()
    write_file(tmp_path / "newer" / "a.arrow", rows, "a-run", "a", version=99)
    with pytest.raises(HistoryError, match="newer than"):
        read_history(tmp_path / "newer")
    write_file(tmp_path / "mixed" / "a.arrow", rows, "a-run", "a")
    write_file(tmp_path / "mixed" / "b.arrow", rows, "b-run", "b")
    with pytest.raises(HistoryError, match="rows of 2 runs are mixed"):
        read_history(tmp_path / "mixed")


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
