"""Ticks that are held up while they hold their lock: what faults of ticks are made of.

Who is at a tick is seen from outside: the tick runs under an advisory lock (``key``), and a session's
``application_name`` may have the id of its process in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from harness.faults import FaultTarget, NotExercisedError
from harness.faults.database_fault import DatabaseFault, drop, new_schema
from harness.faults.parameters import lock_key, parse_lock_key
from harness.faults.sessions import LOCK_LIMIT, Sessions
from harness.stack.proxies import SERVICE_POSTGRES
from harness.system import levers_of
from harness.target.sql import named_statements

SQL: Final = named_statements(Path(__file__).parent / "sql" / "ticks.sql")

_CAUGHT_LIMIT_S: Final = 20.0
#: How long a session may take to end once its client is cut off, besides what it is held up.
_CUT_LIMIT_S: Final = 3.0

_32_BITS: Final = 2**32 - 1


def lock_columns(key: str) -> tuple[int, int, int]:
    """Return ``classid``, ``objid`` and ``objsubid`` of an advisory lock in ``pg_locks``."""
    parts = parse_lock_key(key)
    high, low = (parts[0] >> 32, parts[0]) if len(parts) == 1 else parts
    return high & _32_BITS, low & _32_BITS, len(parts)


def _sessions_of(pid: int | None) -> str:
    """Return the pattern of the names that the sessions of a process have; None: of any."""
    return "" if pid is None else rf"\m{pid}\M"


@dataclass(frozen=True)
class TickFault(DatabaseFault):
    """Something done to ticks, by way of the database."""

    place: ClassVar[str] = "tick"
    needs: ClassVar[tuple[str, ...]] = ("items", "tick_lock")

    key: str | None = lock_key("of the advisory lock that ticks run under, if it is another one")

    @contextmanager
    def held(
        self,
        on: FaultTarget,
        sessions: Sessions,
        delay_s: float,
        pid: int | None = None,
        *,
        at: str = "statements",
    ) -> Iterator[HeldTicks]:
        """Hold up what ticks write to the items, and nobody else, for ``delay_s``.

        Parameters
        ----------
        on : whose ticks they are.
        sessions : of our own in the database.
        delay_s : how long.
        pid : hold up ticks of this process of the service alone; None: of all.
        at : ``statements``: each of them; ``commits``: the COMMIT of each tick that moves items.
        """
        schema, levers = new_schema(), levers_of(on.system)
        lock = lock_columns(self.key or levers.tick_lock)
        classid, objid, objsubid = lock
        hold = SQL[f"hold_{at}"].format(
            schema=schema,
            items=levers.items,
            state=levers.state,
            delay_s=delay_s,
            process=_sessions_of(pid),
            classid=classid,
            objid=objid,
            objsubid=objsubid,
            limit=LOCK_LIMIT,
        )
        try:
            with self.tried("hold ticks up"):
                sessions.execute(hold)
            yield HeldTicks(self, sessions, schema, delay_s, lock)
        finally:
            with self.tried("let ticks go on"):
                drop(sessions, schema, levers.items)


class HeldTicks:
    """Ticks that are held up while they hold their lock."""

    def __init__(
        self, fault: TickFault, sessions: Sessions, schema: str, delay_s: float, lock: tuple[int, int, int]
    ) -> None:
        self._fault = fault
        self._sessions = sessions
        self._schema = schema
        self._delay_s = delay_s
        self._lock = lock

    def missing(self) -> str | None:
        """Return why no tick was held; None if one was."""
        with self._fault.tried("see whether a tick came by"):
            return None if self._value("held") else "no tick came by"

    def wait_for_one(self, pid: int | None = None) -> int:
        """Wait until a tick is being held, one of the process ``pid`` or any; return its session's id.

        Raises
        ------
        NotExercisedError
            None came in time.
        """
        found: list[int] = []

        async def look() -> bool:
            admin = self._sessions.admin
            session = await admin.fetchval(SQL["at_tick"], *self._lock, _sessions_of(pid), True)
            found.extend([] if session is None else [session])
            return bool(found)

        with self._fault.tried("see who is at a tick"):
            try:
                self._sessions.wait_until(look, _CAUGHT_LIMIT_S)
            except TimeoutError:
                raise NotExercisedError(
                    f"{self._fault} was not exercised: nobody was at a tick within {_CAUGHT_LIMIT_S:g} s"
                ) from None
        return found[0]

    def left_by(self, pid: int) -> bool:
        """Tell whether no session of the process ``pid`` holds the lock (any more)."""
        with self._fault.tried("see whether it is still at its tick"):
            return self._sessions.value(SQL["at_tick"], *self._lock, _sessions_of(pid), False) is None

    def answered(self, session: int) -> str | None:
        """Wait for the end of ``session``, just cut off in its COMMIT; return why that was not lost.

        None: the server committed after the cut, so that its client can't know.
        """

        async def ended() -> bool:
            return bool(await self._sessions.admin.fetchval(SQL["ended"], session))

        with self._fault.tried("see what became of the COMMIT"):
            if self._value("outcome") != "in progress":
                return "the COMMIT was over before its connection was cut"
            try:
                self._sessions.wait_until(ended, self._delay_s + _CUT_LIMIT_S)
            except TimeoutError:
                return f"the tick was not cut off: its session does not pass the proxy {SERVICE_POSTGRES}"
            return None if self._value("outcome") == "committed" else "the COMMIT came to nothing"

    def _value(self, question: str) -> object:
        value: object = self._sessions.value(SQL[question].format(schema=self._schema))
        return value
