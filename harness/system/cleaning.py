"""Removes from a target what runs have made there, found by the mark that each run puts on its games.

``python -m harness.system.cleaning PREFIX`` removes one run's games and prints what came of it as JSON:
Locust's process can't speak to Postgres itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from harness.target.address import Target, TargetError
from harness.target.client import Client
from harness.target.consent import Action, ConsentError, Permission, ask
from harness.target.errors import BAD_ANSWER
from harness.target.marks import PREFIX, is_prefix, prefix_of
from harness.target.sessions import TROUBLE, Who, open_session
from harness.target.sql import statements

#: How long a prefix is.
_LENGTH: Final = 11
#: REST's tables, those that refer to others first, and their columns with a game's id.
_TABLES: Final = {"submissions": "game_id", "game_participants": "game_id", "games": "id"}
_ANSWER_LIMIT_S: Final = 30.0
_STATEMENT_LIMIT_S: Final = 60.0
_SQL: Final = statements(Path(__file__).parent / "sql")


class CleaningError(Exception):
    """What runs have left can't be found or removed; the message says why."""


@dataclass(frozen=True)
class Cleaned:
    """What came of removing a run's games."""

    prefix: str
    #: Rows removed, by table.
    removed: Mapping[str, int] = field(default_factory=dict)
    #: What is still there, and why.
    left: str | None = None

    def __str__(self) -> str:
        rows = ", ".join(f"{count} {table}" for table, count in self.removed.items() if count)
        return f"{self.prefix}: {rows or 'nothing'} removed" + (f"; {self.left}" if self.left else "")


@dataclass(frozen=True)
class Leftover:
    """What one run has left: its games, and rows of games that are gone."""

    prefix: str
    games: int
    others: int
    newest: datetime


def leftovers(target: Target) -> list[Leftover]:
    """Return what runs have left on ``target``, the oldest first. Changes nothing.

    Raises
    ------
    CleaningError
        Neither its database nor its API can be read.
    """
    if target.database_url is not None:
        try:
            rows = asyncio.run(_fetch(target.database_url, "leftovers", _LENGTH, f"^{PREFIX.pattern}"))
        except (*TROUBLE, ValueError) as error:
            raise CleaningError(f"DATABASE_URL can't be read: {_reason(error)}") from error
        return [Leftover(row["prefix"], row["games"], row["others"], row["newest"]) for row in rows]
    found: dict[str, Leftover] = {}
    for game in _call(target, "GET", "games?id=like.sw*&select=id,created_at&order=created_at"):
        prefix = prefix_of(str(game["id"]))
        if prefix is not None:
            games = found[prefix].games if prefix in found else 0
            found[prefix] = Leftover(prefix, games + 1, 0, datetime.fromisoformat(game["created_at"]))
    return list(found.values())


def clean(permission: Permission, prefix: str) -> Cleaned:
    """Remove the games whose ids begin with ``prefix``, and all that belongs to them.

    Parameters
    ----------
    permission : to load the target: who may make games there may remove them.
    prefix : of one run; see :func:`is_prefix`.

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
    target = permission.target
    if target.database_url is not None:
        try:
            (row,) = asyncio.run(_fetch(target.database_url, "clean", prefix))
            return Cleaned(prefix, dict(row))
        except (*TROUBLE, ValueError) as error:
            why = f"its database refused: {_reason(error)}"
    else:
        why = "its database is out of reach (no DATABASE_URL)"
    return _clean_over_rest(target, prefix, why)


def _clean_over_rest(target: Target, prefix: str, why: str) -> Cleaned:
    removed: dict[str, int] = {}
    try:
        for table, column in _TABLES.items():
            rows = _call(target, "DELETE", f"{table}?{column}=like.{prefix}*&select={column}")
            removed[table] = len(rows)
        remaining = len(_call(target, "GET", f"games?id=like.{prefix}*&select=id"))
    except CleaningError as error:
        return Cleaned(prefix, removed, f"{_remaining(target, prefix)} left: {error}; {why}")
    if remaining:
        return Cleaned(prefix, removed, f"{remaining} games are left: {why}")
    events = "events and transitions of its games are left, if there are any"
    return Cleaned(prefix, removed, f"{events}: {why}")


def _remaining(target: Target, prefix: str) -> str:
    """Return how many games are still there, as far as that can be told."""
    try:
        return f"{len(_call(target, 'GET', f'games?id=like.{prefix}*&select=id'))} games are"
    except CleaningError:
        return "an unknown number of games is"


def _call(target: Target, method: str, path: str) -> list[dict[str, Any]]:
    headers = {**target.keys, "Prefer": "return=representation"}
    with Client(target, "cleaning", limit_s=_ANSWER_LIMIT_S) as client:
        answer = client.call(method, f"/rest/v1/{path}", headers=headers, check=_is_list)
    if answer.error is not None:
        came = f"answered {answer.status}: {json.dumps(answer.body)[:200]}" if answer.status else answer.error
        raise CleaningError(f"{method} /rest/v1/{path.partition('?')[0]} {came}")
    rows: list[dict[str, Any]] = answer.body
    return rows


def _is_list(body: Any) -> str | None:
    return None if isinstance(body, list) else BAD_ANSWER


async def _fetch(url: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    connection = await open_session(
        url, Who.CLEANING, limit_s=_ANSWER_LIMIT_S, statement_limit_s=_STATEMENT_LIMIT_S
    )
    try:
        rows: list[asyncpg.Record] = await connection.fetch(_SQL[statement], *arguments)
        return rows
    finally:
        await connection.close(timeout=1.0)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(prefix: str) -> None:
    """Remove the games of one run from the target that the environment describes; print what came of it."""
    try:
        permission = ask(Target.from_environment(), [Action.LOAD], say=lambda _: None)
        print(json.dumps(asdict(clean(permission, prefix))))
    except (TargetError, ConsentError, CleaningError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1])
