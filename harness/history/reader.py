"""Reads the history files of a run, whole or as they grow, up to the last whole batch of each."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa

from harness.history.schema import (
    META_RUN,
    META_VERSION,
    META_WRITER,
    SCHEMA,
    SCHEMA_VERSION,
    schema_of,
    upgraded,
)

#: What a closed stream ends with. Each of its messages begins with the first half.
_MARKER: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_OPEN: Final = "the writer did not close the file"


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
    """All rows of a run, in the order of their files, and where they came from."""

    table: pa.Table
    files: list[HistoryFile] = field(default_factory=list)


def read_history(folder: Path, *, of_run: str | None = None) -> History:
    """Read every history file of ``folder``.

    Parameters
    ----------
    of_run : id of the run that the rows must be of; None: of any one.

    Raises
    ------
    HistoryError
        The folder is missing, or as :meth:`HistoryReader.look`, or the rows are another run's.
    """
    if not folder.is_dir():
        raise HistoryError(f"{folder}: no such history folder; name a run folder made by stormwatch")
    history = HistoryReader(folder, mapped=True).look()
    other = next((file.run_id for file in history.files if file.run_id not in {"", of_run}), None)
    if of_run is not None and other is not None:
        raise HistoryError(
            f"{folder}: rows of run {other}, but run.json beside it is that of run {of_run}; "
            "put each run's files into its own folder"
        )
    return history


class HistoryReader:
    """All history files of a folder, and what was read of them so far.

    Parameters
    ----------
    folder : a run's ``history``; may not be there yet.
    pattern : which files.
    mapped : map each file at its first look instead of copying it, for a single look: what is read then
        lasts as long as the file does.
    """

    def __init__(self, folder: Path, pattern: str = "*.arrow", *, mapped: bool = False) -> None:
        self._folder = folder
        self._pattern = pattern
        self._mapped = mapped
        self._files: dict[Path, _File] = {}

    def look(self) -> History:
        """Read what was written since the last look and return all rows so far.

        A batch that is only partly there is left for the next look; :attr:`HistoryFile.cut_off` says so.

        Raises
        ------
        HistoryError
            A file is not a history, is damaged or of a newer schema, or two runs are mixed.
        """
        for path in sorted(self._folder.glob(self._pattern)):
            self._files.setdefault(path, _File(path, mapped=self._mapped)).look()
        files = [self._files[path] for path in sorted(self._files)]
        runs = {file.run_id for file in files if file.run_id}
        if len(runs) > 1:
            raise HistoryError(
                f"{self._folder}: rows of {len(runs)} runs are mixed ({', '.join(sorted(runs))}); "
                "keep each run's files in a folder of its own"
            )
        tables = [table for file in files for table in file.tables]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return History(table.unify_dictionaries(), [file.found() for file in files])


class _File:
    """One file: how far it was read, and its rows in tables, larger ones first.

    Two tables of like size are made one, so that there are few of them and a row is moved seldom: a
    table a batch would make everything that looks at them slower each second.
    """

    def __init__(self, path: Path, *, mapped: bool) -> None:
        self.run_id = ""
        self.tables: list[pa.Table] = []
        self._path = path
        self._mapped = mapped
        # The name ends with the writer's process id.
        self._writer = path.stem.rpartition("-")[0] or path.stem
        self._read_to = 0
        self._cut_off: str | None = "the file is empty"
        self._feed = _Feed()
        self._stream: Any = None
        self._version = SCHEMA_VERSION

    def look(self) -> None:
        """Read the whole batches that were appended."""
        if self._cut_off is None:
            return
        fresh = self._appended()
        whole, batches = self._whole_batches(fresh)
        self._feed.append(fresh[:whole])
        self._read_to += whole
        try:
            if self._stream is None and whole:
                self._open()
            # Asked for no more than there are: a stream that has come to an end once can't go on.
            self._add([self._next_batch() for _ in range(batches)])
        except pa.ArrowInvalid as error:
            raise HistoryError(f"{self._path}: damaged: {_first_line(error)}") from error
        if self._read_to or fresh:
            # A stream cut between two batches reads without an error, but lacks the marker.
            rest = fresh[whole : whole + len(_MARKER)].tobytes()
            self._cut_off = None if rest == _MARKER else _OPEN

    def found(self) -> HistoryFile:
        """Return what was found so far."""
        rows = sum(table.num_rows for table in self.tables)
        return HistoryFile(self._path, self._writer, self.run_id, rows, self._cut_off)

    def _appended(self) -> memoryview:
        """Return what was not read yet."""
        if self._mapped and self._read_to == 0 and self._path.stat().st_size:
            with pa.memory_map(str(self._path)) as file:
                return memoryview(file.read_buffer())
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._read_to)
            return memoryview(file.read())

    def _whole_batches(self, data: memoryview) -> tuple[int, int]:
        """Return the length of ``data`` up to the end of its last whole batch, and how many there are."""
        end = batches = 0
        for kind, position in self._messages(data):
            # Dictionaries belong to the batch that they stand before: they are read with it.
            if kind == "record batch":
                end, batches = position, batches + 1
            elif kind == "schema":
                end = position
        return end, batches

    def _messages(self, data: memoryview) -> Iterator[tuple[str, int]]:
        if data[:4].tobytes() != _MARKER[: min(4, len(data))]:
            raise HistoryError(f"{self._path}: not a history file (no Arrow stream at byte {self._read_to})")
        source = pa.BufferReader(data)
        while True:
            try:
                message = pa.ipc.read_message(source)
            except (EOFError, pa.ArrowInvalid, OSError):
                return  # its end, or the rest is still to come
            if message.type != "schema" and _is_compressed(message, self._path):
                raise HistoryError(f"{self._path}: it is compressed, which no history of ours is")
            yield message.type, source.tell()

    def _open(self) -> None:
        self._stream = pa.ipc.open_stream(pa.PythonFile(self._feed, mode="r"))
        schema, metadata = self._stream.schema, self._stream.schema.metadata or {}
        version = metadata.get(META_VERSION)
        if version is None:
            raise HistoryError(f"{self._path}: an Arrow file, but not a history (no {META_VERSION.decode()})")
        if not version.isdigit() or not 1 <= int(version) <= SCHEMA_VERSION:
            raise HistoryError(
                f"{self._path}: history schema {version.decode()!r} is newer than {SCHEMA_VERSION}, or none; "
                "update stormwatch"
            )
        self._version = int(version)
        if not schema.remove_metadata().equals(schema_of(self._version)):
            raise HistoryError(
                f"{self._path}: its columns are not those of history schema {version.decode()}"
            )
        self.run_id = metadata.get(META_RUN, b"").decode()
        self._writer = metadata.get(META_WRITER, self._writer.encode()).decode()

    def _next_batch(self) -> pa.RecordBatch:
        batch = self._stream.read_next_batch()
        # Lengths and places beyond the batch would be a crash when they are looked up, or worse.
        batch.validate(full=True)
        return batch

    def _add(self, batches: list[pa.RecordBatch]) -> None:
        if not batches:
            return
        table = pa.Table.from_batches(batches).replace_schema_metadata(None)
        self.tables.append(upgraded(table, self._version))
        while len(self.tables) > 1 and self.tables[-2].num_rows < 2 * self.tables[-1].num_rows:
            last = self.tables.pop()
            self.tables[-1] = _combined([self.tables[-1], last])


class _Feed(io.RawIOBase):
    """A file that grows at one end and is read at the other, without copying what comes whole."""

    def __init__(self) -> None:
        super().__init__()
        self._data = memoryview(b"")

    def append(self, data: memoryview) -> None:
        self._data = memoryview(bytes(self._data) + data) if self._data else data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = self._data if size < 0 else self._data[:size]
        self._data = self._data[len(taken) :]
        return cast("bytes", taken)


def _combined(tables: list[pa.Table]) -> pa.Table:
    return cast("pa.Table", pa.concat_tables(tables).unify_dictionaries().combine_chunks())


#: Fields of Arrow's FlatBuffers tables: of a Message, of a DictionaryBatch, of a RecordBatch.
_HEADER, _DATA, _COMPRESSION = 2, 1, 3


def _is_compressed(message: pa.Message, path: Path) -> bool:
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
        raise HistoryError(f"{path}: damaged: a message's metadata is cut short") from None


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a field of the table at ``table`` stands; 0: it has none."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + place)[0] if place < size else 0
    return table + offset if offset else 0


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
