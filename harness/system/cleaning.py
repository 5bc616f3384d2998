"""Removes from a target what runs have made there, found by the mark that each run puts on its items.

``python -m harness.system.cleaning SYSTEM PREFIX`` removes what one run has made and prints what came of it
as JSON: Locust's process can't speak to Postgres itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from harness.system.base import Refused, System
from harness.system.find import SystemFileError, find_system, step_of
from harness.system.optional import (
    CleansUp,
    FindsLeftovers,
    HasCleaning,
    SqlCleaning,
)
from harness.system.session import PlainSession
from harness.target.address import Target, TargetError
from harness.target.client import Client
from harness.target.consent import Action, ConsentError, Permission, ask
from harness.target.marks import PREFIX, is_prefix, prefix_of
from harness.target.sessions import TROUBLE, Who, open_session

_ANSWER_LIMIT_S: Final = 30.0
_STATEMENT_LIMIT_S: Final = 60.0


class CleaningError(Exception):
    """What runs have left can't be found or removed; the message says why."""


@dataclass(frozen=True)
class Cleaned:
    """What came of removing what a run has made."""

    prefix: str
    #: How many there were, by kind.
    removed: Mapping[str, int] = field(default_factory=dict)
    #: What is still there, and why.
    left: str | None = None

    def __str__(self) -> str:
        removed = _counted(self.removed) or "nothing"
        return f"{self.prefix}: {removed} removed" + (f"; {self.left}" if self.left else "")


@dataclass(frozen=True)
class Leftover:
    """What one run has left: how many there are, by kind."""

    prefix: str
    counts: Mapping[str, int]
    newest: datetime

    def __str__(self) -> str:
        return f"{self.prefix}: {_counted(self.counts)}, the newest of {self.newest:%Y-%m-%d %H:%M:%S} UTC"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def leftovers(system: System) -> list[Leftover]:
    """Return what runs have left, the oldest first. Changes nothing.

    Raises
    ------
    CleaningError
        Neither its database nor its API can tell.
    """
    cleaning = _statements(system)
    if system.target.database_url is not None and cleaning is not None and cleaning.leftovers is not None:
        try:
            rows = _fetch(system.target.database_url, "leftovers", cleaning.leftovers, f"^{PREFIX.pattern}")
        except CleaningError as error:
            raise CleaningError(f"its database can't tell what runs have left: {error}") from error
        return [_leftover(dict(row)) for row in rows]
    if isinstance(system, FindsLeftovers):
        return _grouped(marks_left(system, system))
    raise CleaningError(
        f"what runs have left on {system.name} can't be found: its file has no leftovers(session), and no "
        "statement leftovers.sql that could be asked; see harness/system/README.md"
    )


def marks_left(system: System, finds: FindsLeftovers) -> list[tuple[str, datetime]]:
    """Return the mark of each item that a run may have made, as the API tells, and when it was made.

    Raises
    ------
    CleaningError
        It does not tell.
    """
    try:
        with _session(system) as session, step_of(system, "leftovers", Refused):
            return [(mark, at) for mark, at in finds.leftovers(session) if prefix_of(mark) is not None]
    except (Refused, SystemFileError) as error:
        raise CleaningError(str(error)) from error


def clean(permission: Permission, system: type[System], prefix: str) -> Cleaned:
    """Remove the items whose marks begin with ``prefix``, and all that belongs to them.

    Parameters
    ----------
    permission : to load the target: who may make items there may remove them.
    system : whose items they are.
    prefix : of one run; see :func:`harness.target.marks.is_prefix`.

    Raises
    ------
    CleaningError
        ``prefix`` is not a run's.
    ConsentError
        The target may not be loaded.
    """
    permission.require(Action.LOAD)
    if not is_prefix(prefix):
        raise CleaningError(f"{prefix!r} is no prefix of a run: they look like sw0123abcd-")
    found = system(permission.target)
    cleaning, url = _statements(found), permission.target.database_url
    why = ""
    if cleaning is not None and url is None:
        why = "its database is out of reach (no DATABASE_URL)"
    elif cleaning is not None and url is not None:
        try:
            return Cleaned(prefix, _counts(_fetch(url, "clean", cleaning.clean, prefix)))
        except CleaningError as error:
            why = f"its database refused: {error}"
    if isinstance(found, CleansUp):
        return _clean_over_api(found, found, prefix, why)
    why = why or f"the file of {found.name} has neither clean.sql nor clean_up(session, prefix)"
    return Cleaned(prefix, {}, f"what the run made is left: {why}")


def _clean_over_api(system: System, cleans: CleansUp, prefix: str, why: str) -> Cleaned:
    """Remove what the API can; ``why``: why the database could not be had, empty: there is no such way."""
    try:
        with _session(system) as session, step_of(system, "clean_up", Refused):
            removed = dict(cleans.clean_up(session, prefix))
    except (Refused, SystemFileError) as error:
        reasons = "; ".join(filter(None, (str(error), why)))
        return Cleaned(prefix, {}, f"{_remaining(system, prefix)} left: {reasons}")
    if why:
        return Cleaned(prefix, removed, f"what its API can't remove is left, if there is any: {why}")
    return Cleaned(prefix, removed)


def _remaining(system: System, prefix: str) -> str:
    """Return how many items are still there, as far as that can be told."""
    if isinstance(system, FindsLeftovers):
        try:
            count = sum(mark.startswith(prefix) for mark, _ in marks_left(system, system))
        except CleaningError:
            pass
        else:
            return f"{count} items are"
    return "an unknown number of items is"


@contextmanager
def _session(system: System) -> Iterator[PlainSession]:
    """Open a session with the system for as long as the block runs."""
    with Client(system.target, "cleaning", limit_s=_ANSWER_LIMIT_S) as client:
        yield PlainSession(system, client)


def _grouped(marks: Iterable[tuple[str, datetime]]) -> list[Leftover]:
    """Return what each run has left."""
    found: dict[str, list[datetime]] = {}
    for mark, at in marks:
        found.setdefault(prefix_of(mark) or "", []).append(at)
    runs = [Leftover(prefix, {"items": len(times)}, max(times)) for prefix, times in found.items()]
    return sorted(runs, key=lambda left: left.newest)


def _leftover(row: dict[str, Any]) -> Leftover:
    if missing := {"prefix", "newest"} - row.keys():
        raise CleaningError(f"leftovers.sql lacks the column {min(missing)}")
    return Leftover(row.pop("prefix"), newest=row.pop("newest"), counts=row)


def _counts(rows: list[asyncpg.Record]) -> dict[str, int]:
    if len(rows) != 1:
        raise CleaningError(f"clean.sql gave {len(rows)} rows: it must give one, with a count for each kind")
    return dict(rows[0])


def _statements(system: System) -> SqlCleaning | None:
    return system.cleaning if isinstance(system, HasCleaning) else None


def _fetch(url: str, name: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """Return the rows of a statement of the system's file.

    Raises
    ------
    CleaningError
        It fails; the message has its name and what the database says.
    """

    async def fetch() -> list[asyncpg.Record]:
        connection = await open_session(
            url, Who.CLEANING, limit_s=_ANSWER_LIMIT_S, statement_limit_s=_STATEMENT_LIMIT_S
        )
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close(timeout=1.0)

    try:
        return asyncio.run(fetch())
    except (*TROUBLE, ValueError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise CleaningError(f"{words} ({name}.sql)") from error


def main(named: str, prefix: str) -> None:
    """Remove what one run has made on the target that the environment describes; print what came of it."""
    try:
        permission = ask(Target.from_environment(), [Action.LOAD], say=lambda _: None)
        print(json.dumps(asdict(clean(permission, find_system(named), prefix))))
    except (TargetError, ConsentError, CleaningError, SystemFileError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
