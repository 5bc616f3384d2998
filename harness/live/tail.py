"""Reads the history files of a run as they grow: at each look, only what is new."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa

from harness.history import SCHEMA, History, HistoryError, HistoryFile
from harness.history.reader import _check_schema, checked, is_compressed
from harness.history.schema import META_RUN, META_WRITER

#: What a closed stream ends with; each of its messages begins with the first half.
_MARKER: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class HistoryTail:
    """All history files of a folder, and what was read of them so far.

    Parameters
    ----------
    folder : a run's ``history``; may not be there yet.
    pattern : which files.
    """

    def __init__(self, folder: Path, pattern: str = "*.arrow") -> None:
        self._folder = folder
        self._pattern = pattern
        self._files: dict[Path, _FileTail] = {}

    def look(self) -> History:
        """Read what was written since the last look and return all rows so far.

        A batch that is only partly there is left for the next look. :attr:`HistoryFile.cut_off` is
        None for files that were closed.

        Raises
        ------
        HistoryError
            A file is not a history or of a newer schema, or two runs are mixed.
        """
        for path in sorted(self._folder.glob(self._pattern)):
            self._files.setdefault(path, _FileTail(path)).look()
        tails = [self._files[path] for path in sorted(self._files)]
        runs = {tail.run_id for tail in tails if tail.run_id}
        if len(runs) > 1:
            raise HistoryError(
                f"{self._folder}: rows of {len(runs)} runs are mixed ({', '.join(sorted(runs))})"
            )
        tables = [table for tail in tails for table in tail.tables]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return History(table.unify_dictionaries(), [tail.found() for tail in tails])


class _FileTail:
    """One file: how far it was read, and its rows in tables, larger ones first.

    Two tables of like size are made one, so that there are few of them and a row is moved seldom: a
    table a batch would make everything that looks at them slower each second.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = ""
        self.tables: list[pa.Table] = []
        self._writer = path.stem.rpartition("-")[0] or path.stem
        self._rows = 0
        self._read_to = 0
        self._closed = False
        self._feed = _Feed()
        self._stream: Any = None

    def look(self) -> None:
        """Read the whole batches that were appended."""
        if self._closed:
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            fresh = file.read()
        whole, batches = self._whole_messages(fresh)
        self._feed.append(fresh[:whole])
        self._read_to += whole
        if self._stream is None and whole:
            self._open()
        if batches:
            # Asked for no more than there are: a stream that has come to an end once can't go on.
            fresh_batches = [checked(self.path, self._stream.read_next_batch()) for _ in range(batches)]
            self._add(pa.Table.from_batches(fresh_batches))
        self._closed = fresh[whole : whole + len(_MARKER)] == _MARKER

    def found(self) -> HistoryFile:
        """Return what was found so far."""
        cut_off = None if self._closed else "the writer did not close the file"
        return HistoryFile(self.path, self._writer, self.run_id, self._rows, cut_off)

    def _whole_messages(self, data: bytes) -> tuple[int, int]:
        """Return the length of ``data`` up to the end of its last whole batch, and how many there are."""
        end = batches = 0
        for kind, position in self._messages(data):
            # Dictionaries belong to the batch that they stand before: they are read with it.
            if kind == "record batch":
                end, batches = position, batches + 1
            elif kind == "schema":
                end = position
        return end, batches

    def _messages(self, data: bytes) -> Iterator[tuple[str, int]]:
        if not data.startswith(_MARKER[: min(4, len(data))]):
            raise HistoryError(f"{self.path}: not a history file (no Arrow stream at byte {self._read_to})")
        source = pa.BufferReader(data)
        while True:
            try:
                message = pa.ipc.read_message(source)
            except (EOFError, pa.ArrowInvalid, OSError):
                return  # the rest is still to come
            if message.type != "schema" and is_compressed(message):
                raise HistoryError(f"{self.path}: it is compressed, which no history of ours is")
            yield message.type, source.tell()

    def _open(self) -> None:
        self._stream = pa.ipc.open_stream(pa.PythonFile(self._feed, mode="r"))
        metadata = self._stream.schema.metadata or {}
        _check_schema(self.path, self._stream.schema, metadata)
        self.run_id = metadata.get(META_RUN, b"").decode()
        self._writer = metadata.get(META_WRITER, self._writer.encode()).decode()

    def _add(self, table: pa.Table) -> None:
        self._rows += table.num_rows
        self.tables.append(_combined([table]))
        while len(self.tables) > 1 and self.tables[-2].num_rows < 2 * self.tables[-1].num_rows:
            last = self.tables.pop()
            self.tables[-1] = _combined([self.tables[-1], last])


class _Feed(io.RawIOBase):
    """A file that grows at one end and is read at the other."""

    def __init__(self) -> None:
        super().__init__()
        self._data = b""
        self._at = 0

    def append(self, data: bytes) -> None:
        self._data, self._at = self._data[self._at :] + data, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        taken = self._data[self._at : end]
        self._at += len(taken)
        return taken


def _combined(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    return cast("pa.Table", table.unify_dictionaries().combine_chunks())
