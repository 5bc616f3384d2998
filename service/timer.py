"""What is left of a game's phase, on the database's clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ConfigDict

from service.database import Database
from service.events import Name
from service.http.errors import ApiError
from service.statements import statement

#: Statements under way at once; and when a further one starts although others have not come back.
_AT_ONCE: Final = 4
_PATIENCE_S: Final = 0.02


class TimerRequest(BaseModel):
    """The body of ``get-game-timer``."""

    model_config = ConfigDict(extra="forbid")

    gameId: Name


#: The answer for a game as JSON; None: there is no such game.
_Answer = asyncio.Future[str | None]


@dataclass
class _Batch:
    since: float
    answers: dict[str, _Answer] = field(default_factory=dict)


class Timer:
    """Answers ``get-game-timer``: requests that come while a statement runs share the next one.

    Players ask all at once and often; together they cost Postgres little more than one of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: _Batch | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def of(self, game_id: str) -> str:
        """Return the timer of a game as JSON.

        Raises
        ------
        ApiError
            404: there is no such game.
        """
        # Shielded: who hangs up must not take the answer away from others who asked the same.
        text = await asyncio.shield(self._ask(game_id))
        if text is None:
            raise ApiError(404, "unknown_game", f"game {game_id} does not exist", field="gameId")
        return text

    def _ask(self, game_id: str) -> _Answer:
        loop = asyncio.get_running_loop()
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _Batch(loop.time())
            if self._running:
                loop.call_later(_PATIENCE_S, self._start, batch)
            else:
                loop.call_soon(self._start, batch)
        answer = batch.answers.get(game_id)
        if answer is None:
            answer = batch.answers[game_id] = loop.create_future()
        return answer

    def _start(self, batch: _Batch) -> None:
        if batch is not self._gathering or len(self._running) >= _AT_ONCE:
            return
        self._gathering = None
        task = asyncio.create_task(self._run(batch))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._gathering is not None:
            self._start(self._gathering)

    async def _run(self, batch: _Batch) -> None:
        # Time spent waiting for a place counts.
        limit_s = max(0.1, batch.since + self._database.timeout_s - asyncio.get_running_loop().time())
        try:
            async with self._database.connection(limit_s=limit_s) as connection:
                rows = await connection.fetch(statement("game_timers"), list(batch.answers))
        except BaseException as error:
            for answer in batch.answers.values():
                if isinstance(error, Exception):
                    answer.set_exception(error)
                    # Told to those who still wait; if nobody does, that is no error of ours.
                    answer.exception()
                else:
                    answer.cancel()
            if not isinstance(error, Exception):
                raise
            return
        texts = {row["id"]: row["answer"] for row in rows}
        for game_id, answer in batch.answers.items():
            answer.set_result(texts.get(game_id))
