"""Reads the history files of a run, up to the last whole batch of each."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.history.schema import META_RUN, META_VERSION, META_WRITER, SCHEMA, SCHEMA_VERSION


class HistoryError(Exception):
    """A history can't be read or must not be judged; the message names the file and the way out."""


@dataclass(frozen=True)
class HistoryFile:
    """What was found in one file of a history."""

    path: Path
    writer: str
    run_id: str
    rows: int
    #: Why reading stopped before the end of the stream; None: read to its end.
    cut_off: str | None


@dataclass(frozen=True)
class History:
    """All rows of a run, in no particular order, and where they came from."""

    table: pa.Table
    files: list[HistoryFile] = field(default_factory=list)


def read_history(folder: Path, *, of_run: str | None = None) -> History:
    """Read every ``*.arrow`` file of ``folder``.

    A file cut off in the middle of a batch (its writer was killed) yields the batches before it and
    says so in :attr:`HistoryFile.cut_off`.

    Parameters
    ----------
    of_run : id of the run that the rows must be of; None: of any one.

    Raises
    ------
    HistoryError
        The folder is missing, a file is not a history, has a newer schema, two runs are mixed, or the rows
        are another run's.
    """
    if not folder.is_dir():
        raise HistoryError(f"{folder}: no such history folder; name a run folder made by stormwatch")
    tables: list[pa.Table] = []
    files: list[HistoryFile] = []
    for path in sorted(folder.glob("*.arrow")):
        table, file = _read_file(path)
        if table is not None:
            tables.append(table)
        files.append(file)
    runs = {file.run_id for file in files if file.run_id}
    if len(runs) > 1:
        raise HistoryError(
            f"{folder}: rows of {len(runs)} runs are mixed ({', '.join(sorted(runs))}); "
            "keep each run's files in a folder of its own"
        )
    if of_run is not None and runs - {of_run}:
        raise HistoryError(
            f"{folder}: rows of run {runs.pop()}, but run.json beside it is that of run {of_run}; "
            "put each run's files into its own folder"
        )
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    return History(table=table.unify_dictionaries(), files=files)


def _read_file(path: Path) -> tuple[pa.Table | None, HistoryFile]:
    batches: list[pa.RecordBatch] = []
    cut_off: str | None = None
    with pa.memory_map(str(path)) if path.stat().st_size else pa.BufferReader(b"") as source:
        try:
            _see_that_nothing_is_compressed(path, source)
            stream = pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, OSError) as error:
            if path.stat().st_size == 0:
                return None, HistoryFile(path, _writer(path), "", 0, "the file is empty")
            raise HistoryError(f"{path}: not a history file ({_first_line(error)})") from error
        metadata = stream.schema.metadata or {}
        _check_schema(path, stream.schema, metadata)
        while True:
            try:
                batch = stream.read_next_batch()
            except StopIteration:
                break
            except (pa.ArrowInvalid, OSError) as error:
                cut_off = _first_line(error)
                break
            batches.append(checked(path, batch))
        # A stream that its writer closed ends with a marker of eight bytes; one cut between two
        # batches reads without an error but lacks it.
        if cut_off is None and not _ends_with_marker(path):
            cut_off = "the writer did not close the file"
    table = pa.Table.from_batches(batches, schema=stream.schema).replace_schema_metadata(None)
    run_id = metadata.get(META_RUN, b"").decode()
    writer = metadata.get(META_WRITER, _writer(path).encode()).decode()
    return table, HistoryFile(path, writer, run_id, table.num_rows, cut_off)


def _writer(path: Path) -> str:
    """The writer's name in a file's name, which ends with its process id."""
    return path.stem.rpartition("-")[0] or path.stem


def _check_schema(path: Path, schema: pa.Schema, metadata: dict[bytes, bytes]) -> None:
    version = metadata.get(META_VERSION)
    if version is None:
        raise HistoryError(f"{path}: an Arrow file, but not a history (no {META_VERSION.decode()} in it)")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise HistoryError(
            f"{path}: history schema {version.decode()!r} is newer than {SCHEMA_VERSION}; update stormwatch"
        )
    if not schema.remove_metadata().equals(SCHEMA):
        raise HistoryError(f"{path}: its columns are not those of history schema {SCHEMA_VERSION}")


def checked(path: Path, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch`` if its lengths and places lie within it: looking up others would be a crash, or worse.

    Raises
    ------
    HistoryError
        They don't.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise HistoryError(f"{path}: damaged: {_first_line(error)}") from error
    return batch


def is_compressed(message: pa.Message) -> bool:
    """Return whether a batch of a stream is compressed: the writer compresses none, and one may be huge.

    Reads the message's FlatBuffer (``Message.fbs`` of Arrow): pyarrow tells it only by decompressing.
    """
    data = message.metadata.to_pybytes()
    try:
        header = _field(data, struct.unpack_from("<I", data)[0], _HEADER)
        if header and message.type == "dictionary":
            header = _field(data, header + struct.unpack_from("<I", data, header)[0], _DATA)
        return bool(header and _field(data, header + struct.unpack_from("<I", data, header)[0], _COMPRESSION))
    except struct.error:
        raise pa.ArrowInvalid("a message's metadata is damaged") from None


#: Fields of Arrow's FlatBuffers tables: of a Message, of a DictionaryBatch, of a RecordBatch.
_HEADER, _DATA, _COMPRESSION = 2, 1, 3


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a field of the table at ``table`` stands; 0: it has none."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + place)[0] if place < size else 0
    return table + offset if offset else 0


def _see_that_nothing_is_compressed(path: Path, source: Any) -> None:
    messages = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            message = messages.read_next_message()
        except (StopIteration, EOFError, pa.ArrowInvalid, OSError):
            break  # its end, or where it was cut off
        if message.type != "schema" and is_compressed(message):
            raise HistoryError(f"{path}: it is compressed, which no history of ours is; it is not read")
    source.seek(0)


def _ends_with_marker(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-8, 2)
        return file.read() == b"\xff\xff\xff\xff\x00\x00\x00\x00"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
