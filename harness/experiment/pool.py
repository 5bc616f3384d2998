"""The whole pool of a service's connections, used: what a fault took is given back, however it is counted.

A table is locked for a moment, and as many calls read it at once as the pool has connections: all of them
must come to wait for it at the same time, and be served once it is free. Who lacks a connection does not come
that far.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from harness.documents.rows import Finding
from harness.faults import FaultTarget
from harness.faults.database_fault import SQL
from harness.faults.sessions import Sessions
from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Reading
from harness.judge import Evidence, Window
from harness.judge.findings import compare, unseen
from harness.system import System, UsesPool
from harness.target.client import look
from harness.target.sessions import TROUBLE

#: How long all calls may take to get to the table; and to get hold of it ourselves.
_WAIT_S: Final = 6.0
_LOCK_LIMIT: Final = "2s"


@dataclass(frozen=True)
class PoolServes:
    """As many statements at once as the pool has connections are all served: none was lost."""

    actor: str

    @property
    def name(self) -> str:
        return f"all connections of the pool of {self.actor} serve at once afterwards"

    def applies(self, system: System) -> bool:
        """Whether its pool can be used."""
        return isinstance(system, UsesPool)

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.readings(Reading.POOL_SERVED)
        rows = rows[(rows["actor"] == self.actor) & (rows["start_ns"] >= fault.end_ns)].tail(1)
        size = _size(evidence, self.actor)
        if rows.empty or size is None:
            return unseen(
                self.name, 0, "connections", "it was not used afterwards, or nobody knows how large it is"
            )
        served, why = float(rows["value"].iloc[0]), rows["error"].iloc[0]
        if math.isnan(served):
            return unseen(self.name, 0, "connections", f"it could not be used: {why}")
        explanation = f"{served:g} of {size} statements were served at once"
        return compare(self.name, size - served, math.nextafter(0, 1), "connections", explanation, [])


def use_pool(on: FaultTarget, system: System, actor: str, evidence: Evidence, history: HistoryWriter) -> None:
    """Use the whole pool of ``actor`` once, and record how many of its connections served at once.

    Parameters
    ----------
    evidence : tells how large the pool is.
    """
    size = _size(evidence, actor)
    if not isinstance(system, UsesPool) or size is None or on.target.database_url is None:
        return
    served, why = None, None
    try:
        served = _served_at_once(on, system, size)
    except TROUBLE as error:
        why = type(error).__name__
    history.append(Row("resource", Reading.POOL_SERVED, actor, start_ns=now_ns(), value=served, error=why))


def _size(evidence: Evidence, actor: str) -> int | None:
    """Return how many connections a pool has, at most; None: its metrics do not tell."""
    rows = evidence.readings(Reading.POOL_SIZE)
    sizes = rows.loc[(rows["actor"] == actor).to_numpy(), "value"].dropna()
    return None if sizes.empty else int(sizes.iloc[-1])


def _served_at_once(on: FaultTarget, system: UsesPool, size: int) -> int:
    """Return how many of ``size`` calls were at work at once, and served.

    Raises
    ------
    TROUBLE
        The database can't be had, or the table not be locked.
    """
    call, at_work = system.use_pool(), [0]
    with Sessions(on.target.database_url or "") as sessions, ThreadPoolExecutor(size) as callers:
        holder, _ = sessions.connect(), sessions.admin

        async def all_wait() -> bool:
            at_work.append(await sessions.admin.fetchval(SQL["blocked"], holder.get_server_pid()))
            return at_work[-1] >= size

        sessions.run(holder.execute(SQL["hold"].format(limit=_LOCK_LIMIT)))
        sessions.run(holder.execute(SQL["lock_table"].format(table=system.pool_table)))
        try:
            url = f"{on.target.service_url}{call.path}"
            ask = partial(look, call.method, url, body=call.body, headers=call.headers)
            calls = [callers.submit(ask) for _ in range(size)]
            with suppress(TimeoutError):
                sessions.wait_until(all_wait, _WAIT_S)
        finally:
            sessions.run(holder.execute("ROLLBACK"))
        return min(max(at_work), sum(map(_is_served, calls)))


def _is_served(call: Future[tuple[int, Any]]) -> bool:
    try:
        return 200 <= call.result()[0] < 300
    except ConnectionError:
        return False
