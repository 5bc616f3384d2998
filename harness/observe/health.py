"""Asks the service's /health on schedule, whether or not the last answer came (an open loop)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor
from harness.target.errors import BAD_ANSWER, name_of

#: Health has to answer within a second whatever hangs; who waits longer than this learns no more.
LIMIT_S: Final = 5.0


class HealthProber:
    """Writes one ``health`` row a probe, due each ``every_s`` seconds."""

    def __init__(
        self, url: str, every_s: float, history: HistoryWriter, session: aiohttp.ClientSession
    ) -> None:
        self._url = f"{url}/health"
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
            async with self._session.get(self._url, timeout=aiohttp.ClientTimeout(LIMIT_S)) as answer:
                status = answer.status
                error = what_is_ill(status, await answer.json(content_type=None))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
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


def what_is_ill(status: int, body: Any) -> str | None:
    """Return the unhealthy parts of a health answer (``database,pubnub``), or None when all is well."""
    if not isinstance(body, dict) or body.get("status") not in {"healthy", "unhealthy"}:
        return BAD_ANSWER if status in {200, 503} else f"http {status}"
    checks = body.get("checks")
    if not isinstance(checks, dict):
        return BAD_ANSWER
    ill = sorted(name for name, check in checks.items() if not _is_healthy(check))
    if body["status"] == "healthy" and status == 200 and not ill:
        return None
    return ",".join(ill) or "unhealthy"


def _is_healthy(check: Any) -> bool:
    return isinstance(check, dict) and check.get("healthy") is True
