"""Whether a database has the functions and triggers that its migrations say, as they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

from harness.observe.reader import SQL, open_observer
from harness.target.sessions import TROUBLE

_LIMIT_S: Final = 60.0


class MigrationsError(Exception):
    """Nothing could be compared; the message says what could not be read or applied."""


class Definition(NamedTuple):
    """A function or a trigger, as Postgres itself writes it."""

    sql: str
    enabled: bool


async def definitions_at(url: str) -> dict[str, Definition]:
    """Return name -> definition of the functions and triggers in the database at ``url``.

    Raises
    ------
    MigrationsError
        It can't be read.
    """
    try:
        connection = await open_observer(url)
    except ValueError as error:  # its message may hold part of a password
        raise MigrationsError("DATABASE_URL is not an address of Postgres") from error
    except TROUBLE as error:
        raise MigrationsError(f"DATABASE_URL can't be read: {_said(error)}") from error
    try:
        return await _definitions(connection)
    except TROUBLE as error:
        raise MigrationsError(f"DATABASE_URL can't be read: {_said(error)}") from error
    finally:
        await connection.close(timeout=1.0)


def read_migrations(folder: Path) -> dict[str, str]:
    """Return name -> SQL of the ``.sql`` files in ``folder``, in the order of their names.

    Raises
    ------
    MigrationsError
        There are none, or one can't be read.
    """
    try:
        found = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationsError(f"the migrations in {folder} can't be read: {_said(error)}") from error
    if not found:
        raise MigrationsError(f"there are no migrations in {folder}")
    return found


async def definitions_of(migrations: Mapping[str, str], empty_url: str) -> dict[str, Definition]:
    """Return what ``migrations`` make: they are applied to the empty database at ``empty_url``.

    Raises
    ------
    MigrationsError
        One can't be applied.
    """
    connection = await open_observer(empty_url)
    try:
        for name, sql in migrations.items():
            try:
                await connection.execute(sql, timeout=_LIMIT_S)
            except TROUBLE as error:
                why = f"{name} can't be applied to an empty Postgres: {_said(error)}"
                raise MigrationsError(why) from error
        return await _definitions(connection)
    finally:
        await connection.close(timeout=1.0)


def differences(wanted: Mapping[str, Definition], found: Mapping[str, Definition]) -> list[str]:
    """Return what of ``wanted`` is missing or otherwise in ``found``, a phrase each; more may be there."""
    phrases = []
    for name, definition in wanted.items():
        there = found.get(name)
        if there is None:
            phrases.append(f"{name} is missing")
        elif there.sql != definition.sql:
            phrases.append(f"{name} is another than the migrations say")
        elif definition.enabled and not there.enabled:
            phrases.append(f"{name} is disabled")
    return phrases


async def _definitions(connection: asyncpg.Connection[Any]) -> dict[str, Definition]:
    rows = await connection.fetch(SQL["definitions"])
    return {row["name"]: Definition(row["definition"], row["enabled"]) for row in rows}


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
