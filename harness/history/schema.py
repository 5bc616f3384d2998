"""The columns of a history: one row per thing that happened, in Arrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from harness.history.names import FaultName, Kind

#: Version of the row layout. A reader refuses files of a newer version, by name.
SCHEMA_VERSION: Final = 3

_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())

#: Column name, Arrow type, may be null. The meaning of each column stands in :class:`Row`.
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


class Row(NamedTuple):
    """One thing that happened.

    Times are Unix nanoseconds on the writer's clock. Latencies run from ``intended_ns`` where there
    is one, so that a late driver or a stalled service hides nothing.
    """

    kind: Kind
    #: The operation within its kind; readings carry their unit in it (``service.rss_bytes``).
    name: str
    #: Who wrote it: ``cron``, ``player-3``, ``database``, ``fault`` ...
    actor: str
    game: str | None = None
    #: Unique id of the event (or of the fault).
    event: str | None = None
    #: The event's number within its game, from 1.
    seq: int | None = None
    #: When it should have happened: a tick's schedule, a phase's expiry.
    intended_ns: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    #: None: the outcome is unknown (a commit whose answer was lost).
    ok: bool | None = None
    #: Short and stable, so that it can be counted: ``http 503``, ``timeout``.
    error: str | None = None
    value: float | None = None
    #: Of a fault: what is broken (``network``, ``service-pubnub``); its ``name`` is how (``down``). Of a
    #: subscription: the way in which the player listens (``PubNub``, ``WebSocket``).
    place: str | None = None
    #: Of a message: the state that it tells of.
    target: str | None = None
    #: What a message told of a move, or the witness knows of it: JSON by :func:`canonical`. A message that
    #: tells the same again has none.
    said: str | None = None


def canonical(fields: Mapping[str, Any]) -> str:
    """Return fields as JSON, the same text for the same fields.

    Raises
    ------
    TypeError, ValueError, RecursionError
        They are none that JSON has.
    """
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


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
