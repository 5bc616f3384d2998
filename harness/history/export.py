"""Writes the rows of a history as CSV, Parquet or JSON lines, for notebooks and other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from harness.history.schema import SCHEMA

Format = Literal["csv", "parquet", "jsonl"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

#: Rows at a time: some 20 MB of them.
_BATCH_ROWS: Final = 100_000
_TIMES: Final = ("intended", "start", "end")


def export(
    table: pa.Table, path: Path, form: Format, *, say: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Write rows into a new file, which is there when all of it is; what stood there is replaced.

    Beside the columns of a history there are ``intended``, ``start`` and ``end``: the times in ISO 8601, UTC.

    Parameters
    ----------
    table : rows of a history.
    say : told how many rows are written, and how many there are.

    Raises
    ------
    OSError
        It can't be written.
    """
    fresh = path.with_name(f".{path.name}.part")
    try:
        with _writer(fresh, form) as write:
            done = 0
            for start in range(0, len(table), _BATCH_ROWS) or (0,):
                batch = _with_times(table.slice(start, _BATCH_ROWS))
                write(batch)
                done += len(batch)
                say(done, len(table))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _with_times(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table[field.name].cast(field.type.value_type))
    for name in _TIMES:
        instants = table[f"{name}_ns"].cast(pa.timestamp("ns", "UTC"))
        table = table.append_column(name, pc.strftime(instants, "%Y-%m-%dT%H:%M:%SZ"))
    return table


@contextmanager
def _writer(path: Path, form: Format) -> Iterator[Callable[[pa.Table], Any]]:
    """Yield what writes a table to the end of a file."""
    schema = _with_times(SCHEMA.empty_table()).schema
    if form == "csv":
        with pyarrow.csv.CSVWriter(path, schema) as csv:
            yield csv.write_table
    elif form == "parquet":
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as parquet:
            yield parquet.write_table
    else:
        with path.open("w", encoding="utf-8") as lines:
            # Not by pandas: nanoseconds beside nulls would become floats.
            yield lambda table: lines.writelines(f"{json.dumps(row)}\n" for row in table.to_pylist())
