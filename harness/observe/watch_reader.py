"""Puts a watch on a table of the system's database, reads what it notes, and takes it away again."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from harness.history import HistoryWriter
from harness.observe.log_reader import LogReader
from harness.observe.reader import RECONNECT_S
from harness.system import Lifecycle, WatchWitness
from harness.target.sessions import TROUBLE

#: How long the watch may take to be taken away: whoever holds its table may be slow.
TAKE_AWAY_LIMIT_S: Final = 15.0


class WatchReader(LogReader):
    """Reads by a :class:`~harness.system.WatchWitness`, for which there is consent; see :class:`LogReader`.

    Parameters
    ----------
    witness : the table to be watched.
    lifecycle : of the items.
    """

    def __init__(
        self, url: str, prefix: str, history: HistoryWriter, witness: WatchWitness, lifecycle: Lifecycle
    ) -> None:
        self._watch = witness.put(lifecycle, prefix)
        super().__init__(url, prefix, history, self._watch.witness, lifecycle)

    async def connect(self) -> None:
        """Put the watch, and look once.

        Raises
        ------
        TROUBLE
            There is no such database or table, or we may not watch it.
        """
        connection = await self._connected()
        await connection.execute(self._watch.put)
        try:
            await super().connect()
        except TROUBLE:
            await self._take_away()
            raise

    async def finish(self, *, within_s: float) -> str | None:
        """Read everything once more and take the watch away; return what is missing of its record."""
        missing = await super().finish(within_s=within_s)
        lost = await self._take_away()
        if missing is None and lost:
            return f"the watch could not note {lost} moves"
        return missing

    async def _take_away(self) -> int:
        """Take the watch away; return how many moves it could not note."""
        deadline = time.monotonic() + TAKE_AWAY_LIMIT_S
        while True:
            try:
                connection = await self._connected()
                lost = int(await connection.fetchval(self._watch.missed))
                await connection.execute(self._watch.take_away)
            except TROUBLE as error:
                await self.close()
                if time.monotonic() >= deadline:
                    self.left = (
                        f"a watch is left in the database ({type(error).__name__}: {error}): "
                        f"`stormwatch fault mend` removes it, or: {self._watch.take_away}"
                    )
                    return 0
                await asyncio.sleep(RECONNECT_S)
            else:
                await self.close()
                return lost
