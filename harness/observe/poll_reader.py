"""Reads the states of items from the system's database, again and again: what differs has moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import asyncpg

from harness.history import HistoryWriter
from harness.history.row import unix_ns
from harness.observe.reader import SQL, DatabaseReader
from harness.observe.seen_states import Looked, SeenStates
from harness.system import Lifecycle, PollWitness


class PollReader(DatabaseReader):
    """Reads by a :class:`~harness.system.PollWitness`; see :class:`DatabaseReader`.

    Parameters
    ----------
    witness : its statement, and how often it is asked.
    lifecycle : of the items.
    """

    def __init__(
        self, url: str, prefix: str, history: HistoryWriter, witness: PollWitness, lifecycle: Lifecycle
    ) -> None:
        super().__init__(url, prefix, history, witness.resolution_s)
        self._statement = looked(witness.states)
        self._looks = SeenStates(lifecycle, witness.by_hand)
        #: When the last look began: an item that it did not find was made since.
        self._asked_ns: int | None = None

    async def _read(self, connection: asyncpg.Connection[Any]) -> None:
        records = await connection.fetch(self._statement, self._prefix)
        for one in found_in(records):
            if (row := self._looks.row(one, self._asked_ns)) is not None:
                self._history.append(row)
        self._asked_ns = unix_ns(records[0]["asked_at"])

    async def _read_all(self, connection: asyncpg.Connection[Any]) -> None:
        await self._read(connection)
        for row in self._looks.overdue():
            self._history.append(row)


def looked(states: str) -> str:
    """Return the statement that tells what ``states`` tells, and the time of the look."""
    return SQL["looked"].format(states=states.strip().rstrip(";"))


def found_in(records: Iterable[asyncpg.Record]) -> Iterator[Looked]:
    """Yield the items in the answer to a statement that :func:`looked` made."""
    for record in records:
        if record["item"] is not None:
            yield Looked(
                str(record["item"]),
                str(record["state"]),
                unix_ns(record.get("due_at")),
                unix_ns(record.get("entered_at")),
                unix_ns(record["asked_at"]) or 0,
                unix_ns(record["looked_at"]) or 0,
            )
