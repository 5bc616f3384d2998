"""Ticks of the monitor broken on purpose: slow ones, many at once, and whoever holds their lock struck down.

Who is at a tick is seen from outside: the tick runs under an advisory lock (``key``), and a session's
``application_name`` has the id of the service's process in it.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from harness.faults.base import (
    Exercised,
    Fault,
    FaultError,
    MissingPartError,
    NotExercisedError,
    System,
    count,
    duration,
    lock_key,
    parse_lock_key,
    register,
)
from harness.faults.database import LOCK_LIMIT, MARK, DatabaseFault, insist, until
from harness.faults.network import Down
from harness.faults.process import down, named, running, stopped
from harness.faults.sessions import Sessions
from harness.history import HistoryWriter, now_ns
from harness.sla.units import parse_duration
from harness.stack.proxies import LOAD_SERVICE, SERVICE_POSTGRES, Proxies, ToxiproxyError
from harness.target import Action, Target, monitor
from harness.target.cleaning import new_prefix
from harness.target.client import Client

if TYPE_CHECKING:
    import asyncpg

#: Advisory lock that the reference service's ticks run under.
MONITOR_LOCK: Final = "8462001"

_CAUGHT_LIMIT_S: Final = 20.0
#: How long a session may take to end once its client is cut off, besides what it is held up.
_CUT_LIMIT_S: Final = 3.0

_32_BITS: Final = 2**32 - 1


def _holds(key: str, pid: str) -> str:
    """Return the SQL that tells whether the backend ``pid`` holds the lock: its key stands in two columns."""
    parts = parse_lock_key(key)
    high, low = (parts[0] >> 32, parts[0]) if len(parts) == 1 else parts
    return (
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "  # noqa: S608  # numbers, and ours
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        f"AND classid = '{high & _32_BITS}'::oid AND objid = '{low & _32_BITS}'::oid "
        f"AND objsubid = {len(parts)} AND pid = {pid}"
    )


def _is_of(name: str, pid: int) -> str:
    """Return the SQL that tells whether a session of this ``name`` is one of the process ``pid``."""
    return rf"{name} ~ '\m{pid}\M'"


@dataclass(frozen=True)
class TickFault(DatabaseFault):
    """Something done to ticks, by way of the database."""

    place: ClassVar[str] = "tick"

    key: str = lock_key(MONITOR_LOCK, "of the advisory lock that ticks run under; the reference service's")

    @contextmanager
    def held(self, sessions: Sessions, delay_s: float, pid: int | None = None) -> Iterator[_Held]:
        """Hold up what a tick writes to the games, and nobody else, for ``delay_s`` a statement.

        Parameters
        ----------
        sessions : of our own in the database.
        delay_s : how long.
        pid : hold up ticks of this process of the service alone; None: of all.
        """
        whose = "true" if pid is None else _is_of("current_setting('application_name')", pid)
        trigger = "CREATE TRIGGER {name} BEFORE UPDATE ON games FOR EACH STATEMENT"
        with self._held(sessions, delay_s, trigger, whose) as held:
            yield held

    @contextmanager
    def held_at_commit(self, sessions: Sessions, delay_s: float) -> Iterator[_Held]:
        """Hold up the COMMIT of each tick that moves games, and nobody else's, for ``delay_s``."""
        trigger = (
            "CREATE CONSTRAINT TRIGGER {name} AFTER UPDATE ON games DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (OLD.status <> NEW.status)"
        )
        # Once for all of its rows. Nor must the server, as that moment is drawn out, look meanwhile whether
        # its client is gone: it would roll back.
        first = "current_setting('{name}.held', true) IS DISTINCT FROM 'yes'"
        then = (
            "PERFORM set_config('{name}.held', 'yes', true),"
            "set_config('client_connection_check_interval', '0', true);"
        )
        with self._held(sessions, delay_s, trigger, first, then) as held:
            yield held

    @contextmanager
    def _held(
        self, sessions: Sessions, delay_s: float, trigger: str, condition: str, then: str = ""
    ) -> Iterator[_Held]:
        """Hold up ticks in a ``trigger`` of ours; ``{name}`` in the SQL is that of all that we make."""
        name = f"{MARK}{secrets.token_hex(3)}"
        holds = _holds(self.key, "pg_backend_pid()")
        try:
            with self.tried("hold ticks up"):
                admin = sessions.connect()
                # The sequence has the latest transaction that was held: it moves also if that rolls back.
                sessions.execute(
                    admin,
                    f"SET lock_timeout = '{LOCK_LIMIT}'; CREATE SCHEMA {name}; CREATE SEQUENCE {name}.held;"
                    f"CREATE FUNCTION {name}.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
                    f"AS $$ BEGIN IF {condition.format(name=name)} AND EXISTS ({holds}) THEN "
                    f"{then.format(name=name)}"
                    f"PERFORM setval('{name}.held', pg_current_xact_id()::text::bigint);"
                    f"PERFORM pg_sleep({delay_s}); END IF; RETURN NULL; END $$;"
                    f"{trigger.format(name=name)} EXECUTE FUNCTION {name}.hold()",
                )
            yield _Held(self, sessions, admin, name, delay_s)
        finally:
            with self.tried("let ticks go on"):
                sessions.run(insist(sessions, f"DROP TRIGGER IF EXISTS {name} ON games"))
                sessions.run(insist(sessions, f"DROP SCHEMA IF EXISTS {name} CASCADE"))


class _Held:
    """Ticks that are held up while they hold their lock."""

    def __init__(
        self,
        fault: TickFault,
        sessions: Sessions,
        admin: asyncpg.Connection[Any],
        schema: str,
        delay_s: float,
    ) -> None:
        self._fault = fault
        self._sessions = sessions
        self._admin = admin
        self._schema = schema
        self._delay_s = delay_s

    def missing(self) -> str | None:
        """Return why no tick was held; None if one was."""
        question = f"SELECT is_called FROM {self._schema}.held"  # noqa: S608  # a name of ours
        with self._fault.tried("see whether a tick came by"):
            return None if self._sessions.value(self._admin, question) else "no tick came by"

    def wait_for_one(self, pid: int | None = None) -> int:
        """Wait until a tick is being held, one of the process ``pid`` or any; return its session's id.

        Raises
        ------
        NotExercisedError
            None came in time.
        """
        whose = "true" if pid is None else _is_of("a.application_name", pid)
        question = self._question(f"a.wait_event = 'PgSleep' AND {whose}")
        found: list[int] = []

        async def look() -> bool:
            if (session := await self._admin.fetchval(question)) is not None:
                found.append(session)
            return bool(found)

        with self._fault.tried("see who is at a tick"):
            try:
                self._sessions.run(until(look, limit_s=_CAUGHT_LIMIT_S))
            except TimeoutError:
                raise NotExercisedError(
                    f"{self._fault} was not exercised: nobody was at a tick within {_CAUGHT_LIMIT_S:g} s"
                ) from None
        return found[0]

    def left_by(self, pid: int) -> bool:
        """Tell whether no session of the process ``pid`` holds the lock (any more)."""
        question = self._question(_is_of("a.application_name", pid))
        with self._fault.tried("see whether it is still at its tick"):
            return self._sessions.value(self._admin, question) is None

    def answered(self, session: int) -> str | None:
        """Wait for the end of ``session``, just cut off in its COMMIT; return why that was not lost.

        None: the server committed after the cut, so that its client can't know.
        """
        outcome = f"SELECT pg_xact_status(last_value::text::xid8) FROM {self._schema}.held"  # noqa: S608  # ours
        ended = f"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {session})"  # noqa: S608  # a number
        with self._fault.tried("see what became of the COMMIT"):
            if self._sessions.value(self._admin, outcome) != "in progress":
                return "the COMMIT was over before its connection was cut"
            try:
                limit_s = self._delay_s + _CUT_LIMIT_S
                self._sessions.run(until(lambda: self._admin.fetchval(ended), limit_s))
            except TimeoutError:
                return f"the tick was not cut off: its session does not pass the proxy {SERVICE_POSTGRES}"
            committed = self._sessions.value(self._admin, outcome) == "committed"
        return None if committed else "the COMMIT came to nothing"

    def _question(self, which: str) -> str:
        """Return the question for the session of a tick."""
        holds = _holds(self._fault.key, "a.pid")
        return f"SELECT a.pid FROM pg_stat_activity AS a WHERE {which} AND EXISTS ({holds}) LIMIT 1"  # noqa: S608  # numbers


@register
@dataclass(frozen=True)
class SlowTicks(TickFault):
    """Ticks take longer, and hold their lock that long; nothing else does.

    At its end, ticks are quick again; one that is being held up ends late.
    """

    name = "slow"

    delay: str = duration("2s", "how much longer each of a tick's statements takes")

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions, self.held(sessions, parse_duration(self.delay)) as held:
            yield held.missing


@dataclass(frozen=True)
class _AtTick(TickFault):
    """Something done to one replica in the middle of its tick; somebody has to make it tick."""

    #: The statement that the tick is caught in, and that ends meanwhile where its process can't see it.
    HOLD_S: ClassVar[float] = 1.5

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return ()

    @contextmanager
    def sessions(self, system: System) -> Iterator[Sessions]:
        if system.target.database_url is None:
            raise MissingPartError(
                f"{self}: the address of the target's database is not known (DATABASE_URL)"
            )
        with Sessions(system.target.database_url) as sessions:
            yield sessions

    @contextmanager
    def caught(self, system: System) -> Iterator[tuple[int, _Held]]:
        """Catch the replica in the middle of a tick, its lock in hand; gives its process id too."""
        pid = running(self, system)
        with self.sessions(system) as sessions, self.held(sessions, self.HOLD_S, pid) as held:
            held.wait_for_one(pid)
            yield pid, held


@register
@dataclass(frozen=True)
class KillAtTick(_AtTick):
    """Kill a replica (SIGKILL) in the middle of its tick, and start it again when the fault ends.

    At its end, the replica is started again.
    """

    name = "kill"
    target: str = "service-1"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.caught(system):
            try:
                with named(self):
                    system.kill(self.target)
                yield lambda: down(system, self.target)
            finally:
                with named(self):
                    system.restart(self.target)


@register
@dataclass(frozen=True)
class PauseAtTick(_AtTick):
    """Stop a replica in its tracks (SIGSTOP) in the middle of its tick, and let it go on afterwards.

    At its end, the replica goes on with what it was at.
    """

    name = "pause"
    target: str = "service-1"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.caught(system) as (pid, held):
            try:
                with named(self):
                    system.pause(self.target)
                missed = f"{self.target} had left its tick already" if held.left_by(pid) else None
                yield lambda: missed or stopped(pid)
            finally:
                # What something else killed meanwhile is not ours to mend.
                if system.pid(self.target) is not None:
                    with named(self):
                        system.resume(self.target)


@register
@dataclass(frozen=True)
class CrashAtTick(TickFault):
    """Kill the database server (SIGKILL) in the middle of a tick; crash recovery when the fault ends.

    At its end, the server is started again and goes through crash recovery.
    """

    name = "crash"

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return ()

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        running(self, system)
        with self.sessions(system) as sessions, self.held(sessions, _AtTick.HOLD_S) as held:
            held.wait_for_one()
            try:
                with named(self):
                    system.kill(self.target)
                yield lambda: down(system, self.target)
            finally:
                with named(self):
                    system.restart(self.target)


@register
@dataclass(frozen=True)
class ResetAtCommit(TickFault):
    """Cut the service off from its database in the middle of a tick's COMMIT, and until the fault ends.

    The server commits, and the answer is lost: whether the games were moved, the service can't know.

    At its end, the service can reach its database again.
    """

    name = "reset-at-commit"

    @property
    def occupies(self) -> frozenset[str]:
        return frozenset({self.target, SERVICE_POSTGRES})

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return ()

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        proxy = Down(SERVICE_POSTGRES)
        proxy.proxies(system)  # where there is none, no tick need be held up
        with self.sessions(system) as sessions, ExitStack() as cut:
            with self.held_at_commit(sessions, _AtTick.HOLD_S) as held:
                session = held.wait_for_one()
                cut.enter_context(proxy.applied(system))
                missed = held.answered(session)
            yield lambda: missed


@register
@dataclass(frozen=True)
class ConcurrentTicks(TickFault):
    """Every replica is told to tick in the same instant, again and again; the tick at work is held up.

    At its end, nobody but cron ticks.
    """

    name = "crowd"

    every: str = duration("1s", "from one instant to the next")
    at_once: int = count(1, "ticks that each replica gets at once", most=1000)
    hold: str = duration("400ms", "how long a tick is held up, so that the others find it at work")

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.observed(system, None) as exercised:
            yield exercised

    @contextmanager
    def observed(self, system: System, history: HistoryWriter | None) -> Iterator[Exercised]:
        if Action.TICK not in system.permission:
            raise MissingPartError(
                f"{self}: nobody consented to ticks, which move others' games too ({Action.TICK.setting})"
            )
        callers = [
            _Caller(actor, replace(system.target, service_url=url), history)
            for actor, url in self._replicas(system)
            for _ in range(self.at_once)
        ]
        with self.sessions(system) as sessions, self.held(sessions, parse_duration(self.hold)) as held:
            over = threading.Event()
            clock = threading.Thread(
                target=self._keep_time, args=(callers, over), name=str(self), daemon=True
            )
            clock.start()
            try:
                yield lambda: held.missing() or _unanswered(callers)
            finally:
                over.set()
                clock.join()

    def _keep_time(self, callers: Sequence[_Caller], over: threading.Event) -> None:
        every_s = parse_duration(self.every)
        threads: list[threading.Thread] = []
        while not over.wait(every_s - time.time() % every_s):
            instant_ns = now_ns()
            # An open loop: a round does not wait for the answers of the last one.
            threads += [
                threading.Thread(target=caller.tick, args=(instant_ns,), daemon=True) for caller in callers
            ]
            for thread in threads[-len(callers) :]:
                thread.start()
        for thread in threads:
            thread.join()

    def _replicas(self, system: System) -> list[tuple[str, str]]:
        """Return (name in the history, address) of each replica; of a deployment, its one address."""
        if system.target.toxiproxy_url is None:
            return [("crowd", system.target.service_url)]
        try:
            proxies = Proxies(system.target.toxiproxy_url).all()
        except ToxiproxyError as error:
            raise FaultError(f"{self}: {error}") from error
        return [
            (f"crowd-{name}", f"http://{proxy.listen}")
            for name, proxy in sorted(proxies.items())
            if name.startswith(LOAD_SERVICE)
        ]


class _Caller:
    """Ticks one replica, and records what it answers as cron does."""

    def __init__(self, actor: str, target: Target, history: HistoryWriter | None) -> None:
        self.actor = actor
        self.answered = 0
        self._target = target
        self._history = history

    def tick(self, due_ns: int) -> None:
        """Send one tick that is due at ``due_ns`` (Unix ns), on a connection of its own."""
        with Client(self._target, self.actor, limit_s=monitor.ANSWER_LIMIT_S) as client:
            headers = monitor.headers(self._target.cron_secret)
            answer = client.call("POST", monitor.PATH, body={}, headers=headers, check=monitor.check)
        self.answered += answer.ok
        if self._history is not None:
            self._history.append(monitor.row(answer, self.actor, due_ns))


def _unanswered(callers: Sequence[_Caller]) -> str | None:
    silent = sorted({caller.actor for caller in callers if not caller.answered})
    return f"no tick of {', '.join(silent)} was answered" if silent else None


@register
@dataclass(frozen=True)
class DueTogether(TickFault):
    """Thousands of games fall due in the same instant: their voting is over, all at once.

    At its end, nothing happens: its games come to their end as any others do.
    """

    name = "herd"

    games: int = count(5000, "how many games", most=1_000_000)
    after: str = duration("1s", "how long after the fault's begin they fall due")

    #: Begin of the ids of a run's games, so that these are in that run's record.
    _RUN: ClassVar[re.Pattern[str]] = re.compile(r"sw[0-9a-f]{8}-")
    _KIND_OF_ID: ClassVar[str] = (
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = 'games'::regclass AND attname = 'id'"
    )

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return [cls(games=500)] if system.target.database_url else ()

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("make the games"):
                admin = sessions.connect()
                kind = sessions.value(admin, self._KIND_OF_ID)
                if kind not in {"text", "character varying"}:
                    raise FaultError(f"{self}: the ids of games are {kind}; it needs text, to tell its own")
                newest = sessions.value(admin, "SELECT id FROM games ORDER BY created_at DESC LIMIT 1")
                run = self._RUN.match(newest or "")
                # With the mark of a run in any case: `stormwatch clean` finds it.
                mark = f"{run.group() if run else new_prefix()}herd-{secrets.token_hex(3)}-"
                # One statement, so that all of them have the same expiry.
                sessions.execute(
                    admin,
                    "INSERT INTO games (id, status, prompt, phase_started_at, phase_expires_at) "
                    "SELECT $1 || n, 'voting', 'A herd of lighthouses', statement_timestamp(), "
                    "statement_timestamp() + make_interval(secs => $2) FROM generate_series(1, $3::int) AS n",
                    mark,
                    parse_duration(self.after),
                    self.games,
                )
            question = "SELECT count(*) FROM games WHERE starts_with(id, $1) AND status = 'voting'"

            def exercised() -> str | None:
                with self.tried("count its games"):
                    left = sessions.value(admin, question, mark)
                return "none of its games was moved" if left == self.games else None

            # Nothing to undo: its games come to their end as any others do.
            yield exercised
