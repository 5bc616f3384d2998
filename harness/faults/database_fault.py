"""What faults of the database are made of: sessions of their own, and word of how they are undone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from harness.faults import Fault, FaultError, FaultTarget, MissingPartError
from harness.faults.sessions import Sessions
from harness.system.processes import Part
from harness.target.sessions import TROUBLE
from harness.target.sql import named_statements

SQL: Final = named_statements(Path(__file__).parent / "sql" / "database.sql")

#: How the schemas begin that faults make for things of their own. A table ``undo`` in one has the statements
#: that undo the fault, should it be killed.
MARK: Final = "stormwatch_fault_"


@dataclass(frozen=True)
class DatabaseFault(Fault):
    """Something done to the database behind the service."""

    target: str = "postgres"

    place: ClassVar[str] = "database"

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset({"postgres"})

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        return [cls()] if on.target.database_url else ()

    def check_target(self) -> None:
        """Refuse a misspelt target: it must not skip a scenario."""
        if self.target != DatabaseFault.target:
            raise FaultError(f"{self}: no database {self.target!r}; there is {DatabaseFault.target}")

    @contextmanager
    def sessions(self, on: FaultTarget) -> Iterator[Sessions]:
        """Give sessions of our own in the database.

        Raises
        ------
        MissingPartError
            The target has no database that we know the address of.
        FaultError
            The database can't be connected to.
        """
        self.check_target()
        url = on.target.database_url
        if url is None:
            raise MissingPartError(f"{self}: the target's database is not known (DATABASE_URL)")
        with Sessions(url) as sessions:
            with self.tried("connect"):
                sessions.value("SELECT 1")
            yield sessions

    @contextmanager
    def remembered(self, sessions: Sessions, undo: str) -> Iterator[None]:
        """Leave word in the database of how the fault is undone, for whoever mends it if we are killed.

        Parameters
        ----------
        sessions : of our own in the database.
        undo : statements that undo it; sent together, and doing no harm if they were run already.
        """
        schema = new_schema()
        try:
            with self.tried("leave word of how it is undone"):
                sessions.execute(SQL["leave_word"].format(schema=schema))
                sessions.execute(SQL["word"].format(schema=schema), undo)
            yield
        finally:
            with self.tried("take that word back"):
                drop(sessions, schema)

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """Say of which fault it was that the database refused ``what``."""
        try:
            yield
        except TROUBLE as error:
            raise FaultError(f"{self}: can't {what}: {error or type(error).__name__}") from error


def new_schema() -> str:
    """Return a name for a schema of a fault's own, and for the triggers that go with it."""
    return f"{MARK}{secrets.token_hex(3)}"


def drop(sessions: Sessions, schema: str, *tables: str) -> None:
    """Drop a schema of a fault's own, and the trigger of its name on each of ``tables``."""
    # Table by table: taking all locks at once could deadlock with the service.
    for table in tables:
        sessions.insist(SQL["drop_trigger"].format(trigger=schema, table=table))
    sessions.insist(SQL["drop_schema"].format(schema=schema))
