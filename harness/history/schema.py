"""The columns of a history: one row per thing that happened, in Arrow."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from harness.history.names import FaultName

#: Version of the row layout. A reader refuses files of a newer version, by name.
SCHEMA_VERSION: Final = 3

_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())

#: Column name, Arrow type, may be null. The meaning of each column stands in
#: :class:`~harness.history.row.Row`.
COLUMNS: Final = (
    ("kind", _DICTIONARY, False),
    ("name", _DICTIONARY, False),
    ("actor", _DICTIONARY, False),
    ("game", pa.string(), True),
    ("event", pa.string(), True),
    ("seq", pa.int64(), True),
    ("intended_ns", pa.int64(), True),
    ("start_ns", pa.int64(), True),
    ("end_ns", pa.int64(), True),
    ("ok", pa.bool_(), True),
    ("error", pa.string(), True),
    ("value", pa.float64(), True),
    ("place", _DICTIONARY, True),
    ("target", _DICTIONARY, True),
    ("said", pa.string(), True),
)

SCHEMA: Final = pa.schema([pa.field(name, type_, nullable=null) for name, type_, null in COLUMNS])
#: Version -> how many of the columns it has. In version 1, place and target of a fault stood in its name.
_WIDTHS: Final = {1: len(COLUMNS) - 3, 2: len(COLUMNS) - 1, 3: len(COLUMNS)}

#: Keys of the metadata in each file's schema.
META_VERSION: Final = b"stormwatch.history"
META_RUN: Final = b"stormwatch.run"
META_WRITER: Final = b"stormwatch.writer"


def schema_of(version: int) -> pa.Schema:
    """Return the columns of an earlier version of the row layout, or of this one."""
    return pa.schema(list(SCHEMA)[: _WIDTHS[version]])


def upgraded(table: pa.Table, version: int) -> pa.Table:
    """Return rows of an earlier version as rows of this one."""
    faults: list[dict[str, Any]] = []
    if version == 1:
        is_fault = pc.equal(table["kind"].cast(pa.string()), "fault")
        faults = [row | FaultName.parse(row["name"])._asdict() for row in table.filter(is_fault).to_pylist()]
        table = table.filter(pc.invert(is_fault))
    for name, type_, _ in COLUMNS[_WIDTHS[version] :]:
        table = table.append_column(SCHEMA.field(name), pa.nulls(len(table), type_))
    return pa.concat_tables([table, pa.Table.from_pylist(faults, SCHEMA)]) if faults else table
