"""Migrations: plain SQL files, applied in order, each once, by one replica at a time."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from service.logs import get_logger
from service.statements import statement

log = get_logger(__name__)

FOLDER: Final = Path(__file__).parent / "migrations"
#: Transaction-level advisory lock under which migrations run.
LOCK: Final = 8_462_000
#: How long a replica waits for another one's migrations.
_LIMIT_S: Final = 300.0

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class MigrationError(Exception):
    """The database's migrations are not ours, or a file is wrong; the message names it."""


@dataclass(frozen=True)
class Migration:
    """One file of SQL."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations in ``folder`` in their order.

    Raises
    ------
    MigrationError
        A file is misnamed, or a number is missing or there twice.
    """
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"migration {path.name!r} is not named like 0001_games.sql")
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [m.version for m in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationError(f"migrations in {folder} are not numbered 1, 2, 3 ...")
    return migrations


async def migrate(
    connection: asyncpg.Connection[Any], migrations: list[Migration] | None = None
) -> list[str]:
    """Apply what is missing, in one transaction, and return the names of what was applied.

    Raises
    ------
    MigrationError
        A migration was changed after it was applied, or the database is ahead of this version.
    asyncpg.PostgresError
        A migration failed; nothing was changed.
    """
    migrations = load_migrations() if migrations is None else migrations
    applied_now = []
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = {round(_LIMIT_S * 1000)}", timeout=_LIMIT_S)
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=_LIMIT_S)
        await connection.execute(statement("migrations_table"), timeout=_LIMIT_S)
        rows = await connection.fetch(statement("migrations_applied"), timeout=_LIMIT_S)
        applied = {row["version"]: row["checksum"] for row in rows}
        unknown = sorted(set(applied) - {m.version for m in migrations})
        if unknown:
            raise MigrationError(f"the database has migration {unknown[0]}, which this version does not know")
        for migration in migrations:
            if migration.version in applied:
                if applied[migration.version] != migration.checksum:
                    raise MigrationError(
                        f"migration {migration.version:04} ({migration.name}) was changed "
                        "after it was applied"
                    )
                continue
            await connection.execute(migration.sql, timeout=_LIMIT_S)
            await connection.execute(
                statement("migrations_note"), migration.version, migration.name, migration.checksum
            )
            applied_now.append(migration.name)
    if applied_now:
        log.info("migrated the database", applied=applied_now)
    return applied_now
