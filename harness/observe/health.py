"""Asks the system for its health on schedule, whether or not the last answer came (an open loop)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor
from harness.system import HasHealth, Unreadable
from harness.system.optional import told_ill
from harness.target.client import decoded
from harness.target.errors import name_of

#: Health has to answer within a second whatever hangs; who waits longer than this learns no more.
LIMIT_S: Final = 5.0


class HealthProber:
    """Writes one ``health`` row a probe, due each ``every_s`` seconds.

    Parameters
    ----------
    system : how it is asked, and how its answer is read.
    base : its address.
    """

    def __init__(
        self,
        system: HasHealth,
        base: str,
        every_s: float,
        history: HistoryWriter,
        session: aiohttp.ClientSession,
    ) -> None:
        self._system = system
        self._call = system.health()
        self._url = f"{base}{self._call.path}"
        self._every_s = every_s
        self._history = history
        self._session = session

    async def follow(self) -> None:
        """Probe until cancelled; probes that are out then are waited for."""
        loop = asyncio.get_running_loop()
        # The schedule is kept on the loop's clock and told in Unix time.
        ahead_ns = now_ns() - round(loop.time() * 1e9)
        due = loop.time()
        async with asyncio.TaskGroup() as probes:
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                probes.create_task(self._probe(round(due * 1e9) + ahead_ns))
                due += self._every_s

    async def _probe(self, intended_ns: int) -> None:
        start_ns = now_ns()
        status: int | None = None
        try:
            async with self._session.request(
                self._call.method,
                self._url,
                headers=self._call.headers,
                json=self._call.body,
                timeout=aiohttp.ClientTimeout(LIMIT_S),
            ) as answer:
                status = answer.status
                error = what_is_ill(self._system, status, decoded(await answer.read()))
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            error = name_of(failure)
        self._history.append(
            Row(
                "health",
                "health",
                Actor.PROBER,
                intended_ns=intended_ns,
                start_ns=start_ns,
                end_ns=now_ns(),
                ok=error is None,
                error=error,
                value=status,
            )
        )


def what_is_ill(system: HasHealth, status: int, body: Any) -> str | None:
    """Return what ``system`` makes of a health answer, or why it can't be read; None: all is well."""
    try:
        return told_ill(system, status, body)
    except Unreadable as why:
        return str(why)
    except Exception as error:  # of the system's file: the observer goes on
        return f"ill raised {type(error).__name__}"
