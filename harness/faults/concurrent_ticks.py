"""Ticks that meet: many at the same instant, and many items that fall due at the same instant."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from harness.faults import Exercised, Fault, FaultTarget, MissingPartError
from harness.faults.database_fault import DatabaseFault
from harness.faults.held_ticks import TickFault
from harness.faults.parameters import count, duration
from harness.history import HistoryWriter, now_ns
from harness.history.names import CONCURRENT
from harness.sla.units import parse_duration
from harness.stack.proxies import LOAD_SERVICE, Proxies
from harness.system import System, Ticks, levers_of
from harness.system.tick import ANSWER_LIMIT_S, TickCall
from harness.target import Action, Target
from harness.target.client import Client
from harness.target.marks import new_prefix, prefix_of


@dataclass(frozen=True)
class ConcurrentTicks(TickFault):
    """Every replica is told to tick in the same instant, again and again; the tick at work is held up.

    At its end, nobody but cron ticks.
    """

    name = "concurrent"
    formerly = "crowd"

    every: str = duration("1s", "from one instant to the next")
    at_once: int = count(1, "ticks that each replica gets at once", most=1000)
    hold: str = duration("400ms", "how long a tick is held up, so that the others find it at work")

    @classmethod
    def lacks(cls, system: type[System]) -> str | None:
        """Return what ``system`` lacks: levers, or ticks that are called for."""
        if not issubclass(system, Ticks):
            return f"{system.name} ticks by itself: there is no `tick` in its file"
        return super().lacks(system)

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.observed(on, None) as exercised:
            yield exercised

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        if Action.TICK not in on.permission:
            raise MissingPartError(
                f"{self}: nobody consented to ticks, which move others' {on.system.words.items} too "
                f"({Action.TICK.setting})"
            )
        callers = [
            _Caller(actor, replica, on.system(replica), history)
            for actor, replica in self._replicas(on)
            for _ in range(self.at_once)
        ]
        with self.sessions(on) as sessions, self.held(on, sessions, parse_duration(self.hold)) as held:
            over = threading.Event()
            clock = threading.Thread(
                target=self._keep_time, args=(callers, over), name=str(self), daemon=True
            )
            clock.start()
            try:
                lock = self.key or levers_of(on.system).tick_lock
                yield lambda: _unheld(held.missing(), callers, lock) or _unanswered(callers)
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

    def _replicas(self, on: FaultTarget) -> list[tuple[str, Target]]:
        """Return (name in the history, where it is called) of each replica; a deployment has one address."""
        if on.target.toxiproxy_url is None:
            return [(CONCURRENT, on.target)]
        with self.named():
            proxies = Proxies(on.target.toxiproxy_url).all()
        return [
            (f"{CONCURRENT}-{name}", replace(on.target, service_url=f"http://{proxy.listen}"))
            for name, proxy in sorted(proxies.items())
            if name.startswith(LOAD_SERVICE)
        ]


class _Caller:
    """Ticks one replica, and records what it answers as cron does."""

    def __init__(self, actor: str, replica: Target, system: System, history: HistoryWriter | None) -> None:
        assert isinstance(system, Ticks)  # else the fault lacks something
        self.actor = actor
        self.answered = 0
        self._replica = replica
        self._ticks = system
        self._history = history

    def tick(self, due_ns: int) -> None:
        """Send one tick that is due at ``due_ns`` (Unix ns), on a connection of its own."""
        tick = TickCall(self._ticks, self.actor, due_ns)
        call = tick.call
        with Client(self._replica, self.actor, limit_s=ANSWER_LIMIT_S) as client:
            answer = client.call(
                call.method, call.path, body=call.body, headers=call.headers, check=tick.check
            )
        self.answered += answer.ok
        if self._history is not None:
            self._history.append(tick.row(answer))


def _unheld(missing: str | None, callers: Sequence[_Caller], lock: str) -> str | None:
    """Return why no tick was held; where ticks were answered nevertheless, what that may mean."""
    answered = sum(caller.answered for caller in callers)
    if missing is None or not answered:
        return missing
    return (
        f"{answered} ticks were answered, and none wrote under the lock {lock}: they run without it, beside "
        "each other, or nothing was due"
    )


def _unanswered(callers: Sequence[_Caller]) -> str | None:
    silent = sorted({caller.actor for caller in callers if not caller.answered})
    return f"no tick of {', '.join(silent)} was answered" if silent else None


@dataclass(frozen=True)
class DueTogether(DatabaseFault):
    """Thousands of items fall due in the same instant.

    At its end, nothing happens: its items come to their end as any others do.
    """

    place = "tick"
    name = "due-together"
    formerly = "herd"
    needs = ("make_due", "unmoved", "newest")

    items: int = count(5000, "how many items", most=1_000_000)
    after: str = duration("1s", "how long after the fault's begin they fall due")

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        return [cls(items=500)] if on.target.database_url else ()

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        levers = levers_of(on.system)
        with self.sessions(on) as sessions:
            with self.tried("make the items"):
                # They are in the record of the run whose items there are. With the mark of a run in any case:
                # `stormwatch clean` finds them.
                run = prefix_of(sessions.value(levers.newest) or "") or new_prefix()
                mark = f"{run}due-{secrets.token_hex(3)}-"
                sessions.execute(levers.make_due, mark, parse_duration(self.after), self.items)

            def exercised() -> str | None:
                with self.tried("count its items"):
                    left = sessions.value(levers.unmoved, mark)
                return f"none of its {on.system.words.items} was moved" if left == self.items else None

            # Nothing to undo: its items come to their end as any others do.
            yield exercised
