"""Readings of processes and of the machine, as ``resource`` rows of a history."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import psutil

from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor, Reading, Shortage
from harness.observe.shortages import is_out_of_files, may_open_more, shortage

#: Clocks of others are asked this often, and so many times in a row.
CLOCK_EVERY_S: Final = 10.0
_CLOCK_ROUND_TRIPS: Final = 5


def reading(name: str, actor: str, value: float, at_ns: int | None = None) -> Row:
    """Return a ``resource`` row: ``value`` with its unit in ``name``, of ``actor``."""
    return Row("resource", name, actor, start_ns=now_ns() if at_ns is None else at_ns, value=value)


def clock_comparison(actor: str, offset_ns: float, bound_ns: float) -> list[Row]:
    """Return the rows that tell of ``actor``'s clock: by how much it is ahead, known to ``bound_ns``.

    Ahead of whoever writes the rows for ``database`` and ``pubnub``; for a worker (``load-2``, whose
    observers share its clock) ahead of the master, whoever writes them.
    """
    return [
        reading(Reading.CLOCK_OFFSET, actor, offset_ns / 1e6),
        reading(Reading.CLOCK_BOUND, actor, bound_ns / 1e6),
    ]


async def compare_clocks(actor: str, ask: Callable[[], Awaitable[int | None]]) -> list[Row]:
    """Return the rows that tell of ``actor``'s clock, by the quickest of a few round trips.

    ``ask`` returns its time in Unix ns, None if it can't be had; if it never can, there are no rows.
    """
    trips: list[tuple[int, float]] = []
    for _ in range(_CLOCK_ROUND_TRIPS):
        before_ns = now_ns()
        there_ns = await ask()
        after_ns = now_ns()
        if there_ns is not None:
            trips.append((after_ns - before_ns, there_ns - (before_ns + after_ns) // 2))
    if not trips:
        return []
    round_trip_ns, offset_ns = min(trips)
    return clock_comparison(actor, offset_ns, round_trip_ns / 2)


def machine_readings() -> list[Row]:
    """Return how busy the whole machine has been since the last call: CPU, steal, and its load average."""
    at_ns = now_ns()
    # Steal is what a hypervisor gave to others; only Linux tells.
    steal_percent = getattr(psutil.cpu_times_percent(), "steal", 0.0)
    return [
        reading(Reading.CPU, Actor.MACHINE, psutil.cpu_percent(), at_ns),
        reading(Reading.STEAL, Actor.MACHINE, steal_percent, at_ns),
        reading(Reading.LOAD_AVERAGE, Actor.MACHINE, psutil.getloadavg()[0], at_ns),
    ]


class ProcessReadings:
    """CPU, memory and open files of one process and its children, read each time it is asked.

    Parameters
    ----------
    actor : whose readings they are, in the history.
    pid : the process.
    family : whether its child processes are counted with it (Postgres serves each connection in one).
        Memory that they share with it is counted once.
    """

    def __init__(self, actor: str, pid: int, *, family: bool = False) -> None:
        self.actor = actor
        self.pid = pid
        self._family = family
        self._processes: dict[int, psutil.Process] = {}
        self._root: psutil.Process | None = None

    def read(self) -> list[Row]:
        """Return the readings of now; none when the process is gone."""
        at_ns = now_ns()
        cpu_percent = rss_bytes = 0.0
        open_files = 0
        members = self._members()
        for process in members:
            try:
                with process.oneshot():
                    cpu_percent += process.cpu_percent()
                    memory = process.memory_info()
                    rss_bytes += memory.rss if process.pid == self.pid else memory.rss - _shared(memory)
                    open_files += process.num_fds()
            except psutil.Error:
                self._processes.pop(process.pid, None)
        if self.pid not in self._processes:
            return []
        return [
            reading(Reading.CPU, self.actor, cpu_percent, at_ns),
            reading(Reading.RSS, self.actor, rss_bytes, at_ns),
            reading(Reading.OPEN_FILES, self.actor, open_files, at_ns),
        ]

    def _members(self) -> list[psutil.Process]:
        try:
            root = self._processes.setdefault(self.pid, psutil.Process(self.pid))
            if self._family:
                children = {child.pid: child for child in root.children(recursive=True)}
                # Keep the objects: cpu_percent is the use since the last call on the same object.
                self._processes = {
                    pid: self._processes.get(pid, process) for pid, process in children.items()
                } | {self.pid: root}
        except psutil.Error:
            self._processes.pop(self.pid, None)
            return []
        return list(self._processes.values())


class OwnReadings:
    """What a process says of itself each second: its use, how late its loop runs, how its clocks drift."""

    def __init__(self, actor: str, history: HistoryWriter) -> None:
        self._actor = actor
        self._history = history
        self._process = ProcessReadings(actor, psutil.Process().pid)
        self._worst_lag_s = 0.0
        self._process.read()

    def lagged(self, seconds: float) -> None:
        """Note how much later than asked the loop came back to a sleeper."""
        self._worst_lag_s = max(self._worst_lag_s, seconds)

    def record(self) -> None:
        """Write the readings; the loop's worst lag is that since the last call."""
        try:
            rows = self._process.read()
        except OSError as error:
            # Looking takes descriptors, too.
            rows = []
            starved = is_out_of_files(error)
        else:
            open_files = [row.value or 0 for row in rows if row.name == Reading.OPEN_FILES]
            starved = not all(map(may_open_more, open_files))
        for row in rows:
            self._history.append(row)
        if starved:
            self._history.append(shortage(self._actor, Shortage.FILES))
        lag_s, self._worst_lag_s = self._worst_lag_s, 0.0
        self._history.append(reading(Reading.LOOP_LAG, self._actor, lag_s * 1e3))
        self._history.append(reading(Reading.WALL_CLOCK, self._actor, wall_minus_monotonic_ms()))


def wall_minus_monotonic_ms() -> float:
    """Return how far the wall clock is ahead of the monotonic one: a jump in it is a jump of the clock."""
    return (time.time_ns() - time.monotonic_ns()) / 1e6


def _shared(memory: object) -> float:
    # Linux tells how much of the memory is shared with others; elsewhere it is counted more than once.
    return float(getattr(memory, "shared", 0))
