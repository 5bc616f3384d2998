"""The system's database as its witness: who reads it, and whether it can be read at all."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg

from harness.history import HistoryWriter
from harness.observe.log_reader import LogReader, overdue_row
from harness.observe.poll_reader import PollReader, found_in, looked
from harness.observe.reader import SQL, DatabaseReader, open_observer
from harness.observe.seen_states import SeenStates
from harness.observe.watch_reader import WatchReader
from harness.system import ApiWitness, PollWitness, SqlWitness, System, WatchWitness, find_system
from harness.target.sessions import TROUBLE


class _Shape(NamedTuple):
    """What a statement takes and must tell."""

    values: int
    columns: frozenset[str] = frozenset()


#: Statement of a witness -> its shape.
_SHAPES: Final = {
    "moves": _Shape(2, frozenset({"id", "item", "from_state", "to_state", "moved_at"})),
    "overdue": _Shape(1, frozenset({"id", "state", "due_at", "looked_at"})),
    "due_soon": _Shape(3),
    "others_overdue": _Shape(1),
    "published": _Shape(
        3,
        frozenset({"id", "item", "seq", "event_id", "created_at", "first_attempt_at", "published_at"})
        | {"attempts", "dead"},
    ),
    "backlog": _Shape(0, frozenset({"depth", "age_s"})),
    "states": _Shape(1, frozenset({"item", "state"})),
}


def reader_of(
    system: type[System], url: str, prefix: str, history: HistoryWriter, *, may_watch: bool
) -> DatabaseReader | None:
    """Return who reads the database at ``url`` for a system's witness; None: its witness is its API.

    Parameters
    ----------
    may_watch : whether there is consent to a watch on its table.
    """
    witness, lifecycle = system.witness, system.lifecycle
    if isinstance(witness, WatchWitness):
        if may_watch:
            return WatchReader(url, prefix, history, witness, lifecycle)
        witness = witness.polled(lifecycle)
    if isinstance(witness, PollWitness):
        return PollReader(url, prefix, history, witness, lifecycle)
    if isinstance(witness, SqlWitness):
        return LogReader(url, prefix, history, witness, lifecycle)
    return None


async def note_overdue(url: str, prefix: str, history: HistoryWriter, system: type[System]) -> None:
    """Record which items are past due now, as :meth:`DatabaseReader.finish` does at the end.

    Raises
    ------
    TROUBLE
        The database at ``url`` can't be read.
    """
    witness = _at_once(system)
    async with _session(url) as connection:
        if isinstance(witness, PollWitness):
            for row in (await _look(connection, witness, system, prefix)).overdue():
                history.append(row)
        elif witness is not None and witness.overdue is not None:
            for record in await connection.fetch(witness.overdue, prefix):
                history.append(overdue_row(record))


async def due_soon(url: str, prefix: str, from_s: float, to_s: float, system: type[System]) -> int | None:
    """Return how many items fall due in ``from_s`` to ``to_s`` seconds from now; None: nobody can tell.

    Raises
    ------
    TROUBLE
        The database at ``url`` can't be read.
    """
    witness = _at_once(system)
    async with _session(url) as connection:
        if isinstance(witness, PollWitness):
            return (await _look(connection, witness, system, prefix)).due_within(from_s, to_s)
        if witness is None or witness.due_soon is None:
            return None
        return int(await connection.fetchval(witness.due_soon, prefix, from_s, to_s))


def _at_once(system: type[System]) -> SqlWitness | PollWitness | None:
    """Return the statements that tell how things are now, without a watch; None: there are none."""
    witness = system.witness
    if isinstance(witness, WatchWitness):
        return witness.polled(system.lifecycle)
    return None if isinstance(witness, ApiWitness) else witness


async def _look(
    connection: asyncpg.Connection[Any], witness: PollWitness, system: type[System], prefix: str
) -> SeenStates:
    looks = SeenStates(system.lifecycle, witness.by_hand)
    for one in found_in(await connection.fetch(looked(witness.states), prefix)):
        looks.row(one)
    return looks


async def why_unreadable(url: str, system: type[System]) -> str | None:
    """Return why the database at ``url`` can't be read for a system's witness, or None if it can."""
    witness = _at_once(system)
    try:
        async with _session(url) as connection:
            # Prepared, not run: are the tables and columns there, and are we let in?
            for sql in SQL.values():
                if "{" not in sql:
                    await connection.prepare(sql)
            for name, sql in (witness.statements() if witness is not None else {}).items():
                if (wrong := await _why_unusable(connection, name, sql)) is not None:
                    return f"{name} of the witness of {system.name}: {wrong}"
    except (*TROUBLE, ValueError) as error:
        return str(error) or type(error).__name__
    return None


async def _why_unusable(connection: asyncpg.Connection[Any], name: str, sql: str) -> str | None:
    """Return why a statement of a witness can't be used: the database's whole message, or what it lacks."""
    shape = _SHAPES[name]
    try:
        prepared = await connection.prepare(sql)
    except asyncpg.PostgresError as error:
        return str(error)
    if len(prepared.get_parameters()) != shape.values:
        return f"it takes {len(prepared.get_parameters())} values, and is given {shape.values} ($1 ...)"
    types = {column.name: column.type.name for column in prepared.get_attributes()}
    if lacking := sorted(shape.columns - types.keys()):
        return f"it lacks the column {lacking[0]}; it has {', '.join(types)}"
    for column, kind in types.items():
        if column.endswith("_at") and kind != "timestamptz":
            return f"{column} is a {kind}: write ({column} AT TIME ZONE 'UTC'), or as what it is meant"
    return None


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await open_observer(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=1.0)


if __name__ == "__main__":
    # The system's file, or its name, is the argument.
    sys.exit(asyncio.run(why_unreadable(os.environ["DATABASE_URL"], find_system(*sys.argv[1:]))))
