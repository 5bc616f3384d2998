"""Looks at the states of items through the system's API, again and again: what differs has moved."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import aiohttp

from harness.history import HistoryWriter, now_ns
from harness.history.names import Actor
from harness.history.row import unix_ns
from harness.history.witnesses import Doubt, Witness
from harness.observe.readings import CLOCK_EVERY_S, clock_comparison
from harness.observe.seen_states import Looked, SeenStates
from harness.system import ApiWitness, Call, LooksAtAll, Seen, System
from harness.system import Looks as LooksAtEach

#: Who looks, for whoever gives tokens.
_ACTOR: Final = "witness"
_ANSWER_LIMIT_S: Final = 10.0


class ApiLooks:
    """Looks at the items of one process's players, from when they listen until their end.

    Parameters
    ----------
    system : whose items they are; its witness is an :class:`~harness.system.ApiWitness`.
    history : takes their moves.
    """

    def __init__(self, system: System, witness: ApiWitness, history: HistoryWriter) -> None:
        assert isinstance(system, (LooksAtEach, LooksAtAll))  # it could not be loaded else
        self._system: System = system
        self._read = system.seen
        self._every_s = witness.resolution_s
        self._history = history
        self._looks = SeenStates(system.lifecycle, witness.by_hand)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ANSWER_LIMIT_S))
        self._closing = asyncio.Event()
        self._following: set[asyncio.Task[None]] = set()
        self._open: set[str] = set()
        self._trouble: Counter[str] = Counter()
        #: Round trip and offset of the system's clock, ns, of the quickest look since they were written.
        self._clock: tuple[int, int] | None = None
        #: How far the system's clock is ahead at most, by the newest look.
        self._ahead_ns = 0
        self._next_clock = 0.0

    async def begin(self, item: str) -> None:
        """Look at an item, and go on doing so until it is over."""
        self._open.add(item)
        if isinstance(self._system, LooksAtAll):
            await self._look(self._system.look_at_all(), item)
            if not self._following:
                self._follow(self._system.look_at_all, lambda: True)
        elif isinstance(self._system, LooksAtEach):
            system = self._system
            await self._look(system.look(item), item)
            self._follow(lambda: system.look(item), lambda: item in self._open, item)

    async def finish(self) -> list[Doubt]:
        """Look once more, note what is past due, and end; return what could not be seen."""
        self._closing.set()
        self._trouble, before = Counter(), self._trouble
        await asyncio.gather(*self._following)
        await self._session.close()
        for row in self._looks.overdue():
            self._history.append(row)
        unreadable = Counter({why: n for why, n in before.items() if why.startswith(_UNREADABLE)})
        return [
            Doubt(Witness.DATABASE, f"{count} looks at the API did not tell the states of items: {why}")
            for why, count in (self._trouble + unreadable).items()
        ]

    def _follow(self, call: Callable[[], Call], goes_on: Callable[[], bool], item: str = "") -> None:
        task = asyncio.create_task(self._keep_looking(call, goes_on, item))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _keep_looking(self, call: Callable[[], Call], goes_on: Callable[[], bool], item: str) -> None:
        due = time.monotonic() + self._every_s
        while goes_on() and not self._closing.is_set():
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._closing.wait()
            except TimeoutError:
                due = max(due + self._every_s, time.monotonic())
            await self._look(call(), item)

    async def _look(self, call: Call, item: str) -> None:
        """Ask once, and note what the answer tells."""
        asked_ns = now_ns()
        try:
            async with self._session.request(
                call.method,
                f"{self._system.target.service_url}{call.path}",
                headers={**self._system.user(_ACTOR), **call.headers},
                json=call.body,
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._trouble[type(error).__name__] += 1
            return
        answered_ns = now_ns()
        if answer.status != 200:
            if answer.status == 404 and item:
                self._looks.missed(item, answered_ns + self._ahead_ns)
            else:
                self._trouble[f"http {answer.status}"] += 1
            return
        try:
            found = list(self._read(json.loads(content)))
            self._note(found, asked_ns, answered_ns)
        except Exception as error:  # of the system's own file
            self._trouble[f"{_UNREADABLE}{type(error).__name__}: {error}"] += 1
            return
        for missing in ({item} if item else self._open) - {one.item for one in found}:
            self._looks.missed(missing, answered_ns + self._ahead_ns)

    def _note(self, found: list[Seen], asked_ns: int, answered_ns: int) -> None:
        for one in found:
            self._compare_clocks(unix_ns(one.now), asked_ns, answered_ns)
            if one.item in self._open and (row := self._looks.row(_by_its_clock(one, asked_ns, answered_ns))):
                self._history.append(row)
            if one.state in self._system.lifecycle.ends:
                self._open.discard(one.item)

    def _compare_clocks(self, there_ns: int | None, asked_ns: int, answered_ns: int) -> None:
        """Note how far the system's clock is ahead; where it is not told, its times count as ours."""
        trip_ns = 0 if there_ns is None else answered_ns - asked_ns
        offset_ns = 0 if there_ns is None else there_ns - (asked_ns + answered_ns) // 2
        self._ahead_ns = offset_ns + trip_ns // 2
        self._clock = min(self._clock or (trip_ns, offset_ns), (trip_ns, offset_ns))
        if time.monotonic() >= self._next_clock:
            trip_ns, offset_ns = self._clock
            for row in clock_comparison(Actor.DATABASE, offset_ns, trip_ns / 2):
                self._history.append(row)
            self._clock, self._next_clock = None, time.monotonic() + CLOCK_EVERY_S


_UNREADABLE: Final = "unreadable: "


def _by_its_clock(one: Seen, asked_ns: int, answered_ns: int) -> Looked:
    """Return what was seen with the times of the look by the system's clock, if it tells that."""
    if (there_ns := unix_ns(one.now)) is not None:
        trip_ns = answered_ns - asked_ns
        asked_ns, answered_ns = there_ns - trip_ns, there_ns + trip_ns
    return Looked(one.item, one.state, unix_ns(one.due_at), unix_ns(one.entered_at), asked_ns, answered_ns)
