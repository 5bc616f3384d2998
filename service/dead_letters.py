"""Dead letters: events that could not be sent, to look at and to put back into the outbox."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.database import Database
from service.events import Name
from service.logs import get_logger
from service.statements import statement

log = get_logger(__name__)


class ReplayRequest(BaseModel):
    """The body of ``replay-dead-letters``: which ones; all of them if neither is given."""

    model_config = ConfigDict(extra="forbid")

    eventIds: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    gameId: Name | None = None
    limit: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 1000


class DeadLetters:
    """The dead letters in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self) -> dict[str, Any]:
        """Return the oldest 1,000 that were not replayed."""
        async with self._database.connection(limit_s=self._database.timeout_s) as connection:
            rows = await connection.fetch(statement("dead_letters_waiting"))
        return {"deadLetters": [dict(row) for row in rows]}

    async def replay(self, request: ReplayRequest) -> dict[str, Any]:
        """Put those that ``request`` names back into the outbox; the relay takes them from there."""
        ids = None if request.eventIds is None else [str(event_id) for event_id in request.eventIds]
        async with self._database.connection(limit_s=self._database.timeout_s) as connection:
            rows = await connection.fetch(
                statement("dead_letters_replay"), ids, request.gameId, request.limit
            )
        replayed = [row["event_id"] for row in rows]
        log.info("dead letters replayed", count=len(replayed))
        return {"replayed": len(replayed), "eventIds": replayed}
