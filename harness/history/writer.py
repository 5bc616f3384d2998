"""Appends rows to one process's history file, safely against ``kill -9`` and a full disk."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from harness.files import create, make_folder
from harness.history.names import Reading
from harness.history.row import Row
from harness.history.schema import (
    META_RUN,
    META_VERSION,
    META_WRITER,
    SCHEMA,
    SCHEMA_VERSION,
)

#: What Arrow raises of a value that its column can't hold.
_UNFIT: Final = (pa.ArrowException, ValueError, TypeError, OverflowError)


class HistoryWriter:
    """One Arrow IPC stream file, appended to by one process.

    ``append`` costs a list append; rows are encoded and handed to the operating system at each
    flush, so that a reader sees everything up to the last whole batch whatever happens to the
    process. A batch that can't be written (full disk) stays in memory, is tried again at the next
    flush, and is reported by :attr:`error` until it has been written. A row that can't be encoded is
    dropped; a reading in its place tells how many were, and why.

    Parameters
    ----------
    folder : the run's ``history`` folder; made if missing.
    writer : name of the process, first part of the file's name (``load``, ``observer-1``).
    run_id : the run it belongs to, kept in the file so that mixed-up files are noticed.
    flush_interval_s : seconds between flushes of the background thread.

    Raises
    ------
    OSError
        The file can't be created.
    """

    def __init__(self, folder: Path, writer: str, run_id: str, *, flush_interval_s: float = 1.0) -> None:
        make_folder(folder, exist_ok=True)
        self.path = folder / f"{writer}-{os.getpid()}.arrow"
        self.error: OSError | None = None
        self._writer = writer
        self._rows: list[Row] = []
        self._pending = bytearray()
        self._written = 0
        self._fd = create(self.path, os.O_EXCL)
        self._sink = io.BytesIO()
        metadata = {META_VERSION: str(SCHEMA_VERSION), META_RUN: run_id, META_WRITER: writer}
        self._schema = SCHEMA.with_metadata(metadata)
        self._stream = pa.ipc.new_stream(self._sink, self._schema)
        self._flushing = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._flush_regularly, args=(flush_interval_s,), name="history-flush", daemon=True
        )
        self._thread.start()

    def append(self, row: Row) -> None:
        """Record one row; it reaches the file at the next flush."""
        self._rows.append(row)

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system; never raises on a full disk."""
        with self._flushing:
            if self._fd >= 0:
                self._encode()
                self._write()

    def close(self) -> None:
        """Flush, end the stream and close the file.

        Raises
        ------
        OSError
            What was recorded could not all be written.
        """
        self._closed.set()
        with self._flushing:
            if self._fd < 0:
                return
            self._encode()
            self._stream.close()
            self._drain_sink()
            self._write()
            os.close(self._fd)
            self._fd = -1
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush_regularly(self, interval_s: float) -> None:
        while not self._closed.wait(interval_s):
            self.flush()

    def _encode(self) -> None:
        # Appends may go on meanwhile: take a snapshot of the length, not of the list.
        count = len(self._rows)
        if count == 0:
            return
        rows = self._rows[:count]
        del self._rows[:count]
        try:
            batch = self._batch(rows)
        except _UNFIT:
            batch = self._batch(self._fit(rows))
        self._stream.write_batch(batch)
        self._drain_sink()

    def _batch(self, rows: list[Row]) -> pa.RecordBatch:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=self._schema)

    def _fit(self, rows: list[Row]) -> list[Row]:
        """Return the rows that can be encoded, and one that tells of the others."""
        fit, why = [], ""
        for row in rows:
            try:
                self._batch([row])
            except _UNFIT as error:
                why = why or f"{type(error).__name__} in a row of {row[0]!a} {row[1]!a}"
            else:
                fit.append(row)
        dropped = float(len(rows) - len(fit))
        at_ns = time.time_ns()
        return [
            *fit,
            Row("resource", Reading.ROWS_DROPPED, self._writer, start_ns=at_ns, error=why, value=dropped),
        ]

    def _drain_sink(self) -> None:
        self._pending += self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()

    def _write(self) -> None:
        try:
            while self._pending:
                count = os.pwrite(self._fd, self._pending, self._written)
                del self._pending[:count]
                self._written += count
        except OSError as error:
            self.error = error
        else:
            self.error = None
