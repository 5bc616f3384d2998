"""Reads a system's own log of moves from its database: moves, trigger times, published events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import asyncpg

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import AMBIGUOUS, Actor, Publish, Reading, Timer, Transition, move
from harness.history.row import canonical, unix_ns
from harness.observe.reader import DatabaseReader
from harness.observe.readings import reading
from harness.system import Lifecycle, SqlWitness

#: Rows get their ids before they are committed, so a lower id may turn up later: look back this far.
#: What takes even longer to commit is found by the last look, which reads everything.
LOOK_BACK_S: Final = 10.0


class LogReader(DatabaseReader):
    """Reads by a :class:`~harness.system.SqlWitness`; see :class:`DatabaseReader`.

    Parameters
    ----------
    witness : its statements.
    lifecycle : of the items.
    """

    def __init__(
        self, url: str, prefix: str, history: HistoryWriter, witness: SqlWitness, lifecycle: Lifecycle
    ) -> None:
        super().__init__(url, prefix, history)
        self._witness = witness
        self._lifecycle = lifecycle
        self._transitions = _Seen()
        self._published = _Seen()

    def _begin(self) -> None:
        self._transitions.look_at_all()
        self._published.look_at_all()

    async def _read(self, connection: asyncpg.Connection[Any]) -> None:
        await self._read_transitions(connection, self._transitions.low)
        await self._read_published(connection, self._published.low, only_published=True)
        await self._read_backlog(connection)
        if self._witness.others_overdue is not None:
            others = await connection.fetchval(self._witness.others_overdue, self._prefix)
            self._history.append(reading(Reading.OTHERS_OVERDUE, Actor.DATABASE, others))

    async def _read_all(self, connection: asyncpg.Connection[Any]) -> None:
        await self._read_transitions(connection, 0)
        await self._read_published(connection, 0, only_published=False)
        await self._read_backlog(connection)
        if self._witness.overdue is not None:
            for record in await connection.fetch(self._witness.overdue, self._prefix):
                self._history.append(overdue_row(record))

    async def _read_transitions(self, connection: asyncpg.Connection[Any], after: int) -> None:
        for record in await connection.fetch(self._witness.moves, after, self._prefix):
            if self._transitions.add(record["id"], record["moved_at"]):
                for row in _transition_rows(record, self._lifecycle):
                    self._history.append(row)
        self._transitions.forget()

    async def _read_published(
        self, connection: asyncpg.Connection[Any], after: int, *, only_published: bool
    ) -> None:
        if self._witness.published is None:
            return
        for record in await connection.fetch(self._witness.published, after, self._prefix, only_published):
            if self._published.add(record["id"], record["created_at"]):
                self._history.append(_publish_row(record))

    async def _read_backlog(self, connection: asyncpg.Connection[Any]) -> None:
        if self._witness.backlog is None:
            return
        (backlog,) = await connection.fetch(self._witness.backlog)
        at_ns = now_ns()
        self._history.append(reading(Reading.OUTBOX_DEPTH, Actor.DATABASE, backlog["depth"], at_ns))
        self._history.append(reading(Reading.OUTBOX_AGE, Actor.DATABASE, backlog["age_s"], at_ns))
        if backlog["depth"] == 0:
            self._published.forget()


def overdue_row(record: asyncpg.Record) -> Row:
    """Return the row of an item that is past due and did not move."""
    return Row(
        "transition",
        Transition.OVERDUE,
        Actor.DATABASE,
        game=str(record["id"]),
        intended_ns=unix_ns(record["due_at"]),
        end_ns=unix_ns(record["looked_at"]),
        ok=False,
        error=str(record["state"]),
    )


class _Seen:
    """Which rows were read, and from which id on to look for more.

    A database that comes back from a backup gives the ids of the rows that it lost to others: a row is known
    by its id and its time.
    """

    def __init__(self) -> None:
        #: Rows up to this id were all read, as far as a look-back can tell.
        self.low = 0
        self._highest = 0
        #: Hashes: there may be millions.
        self._rows: set[int] = set()
        self._marks: list[tuple[float, int]] = []

    def add(self, id: int, at: datetime) -> bool:
        """Note a row; return whether it is new."""
        self._highest = max(self._highest, id)
        if (row := hash((id, at))) in self._rows:
            return False
        self._rows.add(row)
        return True

    def look_at_all(self) -> None:
        """Begin at the first row once more; those that are known stay so."""
        self.low = self._highest = 0
        self._marks.clear()

    def forget(self) -> None:
        """Move :attr:`low` up to the highest id that was seen a look-back ago."""
        now = time.monotonic()
        self._marks.append((now, self._highest))
        while self._marks and self._marks[0][0] < now - LOOK_BACK_S:
            self.low = self._marks.pop(0)[1]


def _transition_rows(record: asyncpg.Record, lifecycle: Lifecycle) -> Iterator[Row]:
    """Yield the rows of a move, and of what is known of the trigger it fired and of the timer that it set."""
    start_ns = unix_ns(record["moved_at"])
    item, state = str(record["item"]), str(record["to_state"])
    # Null is a move that made no event. Without the column, events have no ids.
    has_ids = "event_id" in record.keys()  # noqa: SIM118 - `in` a record looks at its values
    event = _text(record["event_id"]) if has_ids else lifecycle.event_of(item, state)
    told = record.get("told")
    row = Row(
        "transition",
        move(str(record["from_state"]), state),
        Actor.DATABASE,
        game=item,
        event=event,
        seq=record.get("seq"),
        intended_ns=unix_ns(record.get("due_at")),
        start_ns=start_ns,
        end_ns=unix_ns(record.get("committed_at")),
        ok=True,
        error=None if has_ids or event else AMBIGUOUS,
        said=None if told is None else canonical(json.loads(told)),
    )
    yield row
    took_ms = record.get("trigger_ms")
    if took_ms is not None:
        end_ns = None if start_ns is None else start_ns + round(took_ms * 1e6)
        trigger = row._replace(kind="trigger", name="trigger", value=took_ms)
        yield trigger._replace(intended_ns=None, end_ns=end_ns, error=None, said=None)
    ends_ns = unix_ns(record.get("ends_at"))
    if ends_ns is not None:
        timer = row._replace(kind="timer", name=Timer.SET, intended_ns=ends_ns, target=state)
        yield timer._replace(end_ns=None, error=None, said=None)


def _publish_row(record: asyncpg.Record) -> Row:
    if record["published_at"] is not None:
        ok, error = True, None
    elif record["dead"] is not None:
        ok, error = False, record["dead"]
    else:
        ok, error = None, "waiting"
    return Row(
        "publish",
        Publish.OUTBOX,
        Actor.DATABASE,
        game=str(record["item"]),
        event=_text(record["event_id"]),
        seq=record["seq"],
        intended_ns=unix_ns(record["created_at"]),
        start_ns=unix_ns(record["first_attempt_at"]),
        end_ns=unix_ns(record["published_at"]),
        ok=ok,
        error=error,
        value=record["attempts"],
    )


def _text(value: Any) -> str | None:
    """Return an id as text: it may be a uuid."""
    return None if value is None else str(value)
