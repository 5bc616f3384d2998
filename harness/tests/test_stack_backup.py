"""A real Postgres that loses its data and comes back from its backup."""

from __future__ import annotations

import asyncpg
import pytest

from harness.stack import Postgres, StackError
from harness.stack.backup import Backup, archiving
from harness.tests.helpers import eventually


async def ask(url: str, *questions: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        for question in questions:
            answer = await connection.fetchval(question)
        return answer
    finally:
        await connection.close()


async def test_what_was_archived_comes_back_and_what_was_not_is_gone() -> None:
    with Postgres(settings=archiving(3600)) as postgres:
        backup, archive = Backup(postgres), postgres.folder / "archive"
        await ask(postgres.url, "CREATE TABLE moves (n int)", "INSERT INTO moves VALUES (1)")
        backup.take()
        switched = await ask(
            postgres.url, "INSERT INTO moves VALUES (2)", "SELECT pg_walfile_name(pg_switch_wal())"
        )
        eventually((archive / str(switched)).exists)
        await ask(postgres.url, "INSERT INTO moves VALUES (3)")
        backup.lose()
        backup.bring_back()
        backup.replay()
        assert await ask(postgres.url, "SELECT array_agg(n ORDER BY n) FROM moves") == [1, 2]
        await ask(postgres.url, "INSERT INTO moves VALUES (4)")

        backup.lose()
        (backup.path / "global" / "pg_control").unlink()
        backup.bring_back()
        with pytest.raises(StackError, match="could not find the database system"):
            backup.replay()
        folder = postgres.folder
    assert not folder.exists()
