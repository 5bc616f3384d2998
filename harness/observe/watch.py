"""Watches the system under test from outside: its database, its health, its processes and metrics.

A process of its own (``python -m harness.observe.watch``), so that a busy load generator neither delays it
nor is delayed by it. Settings of its assignment: ``system`` (where its description is found), ``prefix``
(how the ids of this run's items begin), ``may_watch`` (whether there is consent to a watch on a table of its
database), ``probe_s`` (seconds between health probes), ``processes`` (name ->
pid of the target's processes on this machine), ``logs`` (name -> log of the harness's own parts among them,
which say there what they ran out of) and ``services`` (name -> address of a process that shows metrics).
Commands:

``{"do": "processes", "processes": {...}}``
    a part was restarted: these are the processes now.
``{"do": "stop", "within_s": ...}``
    read the database once more, for so long at most, and end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from harness.history import HistoryWriter, now_ns
from harness.history.names import Shortage
from harness.history.witnesses import Doubt, Witness
from harness.observe.accept_queues import AcceptQueues
from harness.observe.database import reader_of
from harness.observe.health import HealthProber
from harness.observe.metrics import readings_of
from harness.observe.process import Assignment, Observer, run
from harness.observe.reader import DatabaseReader
from harness.observe.readings import ProcessReadings, machine_readings
from harness.observe.shortages import LogOfShortages, shortage
from harness.system import HasHealth, HasMetrics, find_system
from harness.target.sessions import TROUBLE


class Watch(Observer):
    """Everything that is watched of the system under test, besides what its players hear."""

    def __init__(self, assignment: Assignment, history: HistoryWriter, out: asyncio.WriteTransport) -> None:
        super().__init__(assignment, history, out)
        settings = assignment.settings
        self._session = aiohttp.ClientSession()
        self._processes: dict[str, ProcessReadings] = {}
        self._system = find_system(settings["system"])(assignment.target)
        self._logs = [LogOfShortages(name, Path(log)) for name, log in settings["logs"].items()]
        self._queues = AcceptQueues()
        self._reader: DatabaseReader | None = None
        self._chores: list[asyncio.Task[None]] = []

    async def start(self) -> dict[str, Any]:
        """Begin to watch; reports ``error`` when there is a database that can't be read."""
        settings, target = self.assignment.settings, self.assignment.target
        self._set_processes(settings["processes"])
        self._chores.append(self.tasks.create_task(self._sample()))
        if isinstance(self._system, HasHealth):
            prober = HealthProber(
                self._system, target.service_url, settings["probe_s"], self.history, self._session
            )
            self._chores.append(self.tasks.create_task(prober.follow()))
        if target.database_url is None:
            return {}
        reader = reader_of(
            type(self._system),
            target.database_url,
            settings["prefix"],
            self.history,
            may_watch=settings["may_watch"],
        )
        if reader is None:
            return {}
        try:
            await reader.connect()
        except (*TROUBLE, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        self._reader = reader
        self._chores.append(self.tasks.create_task(reader.follow()))
        return {}

    async def command(self, command: Mapping[str, Any]) -> None:
        """Learn of a part's new process."""
        if command["do"] == "processes":
            self._set_processes(command["processes"])

    async def finish(self, *, within_s: float) -> dict[str, Any]:
        """Stop watching, then read the database to its end."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        missing = await self._reader.finish(within_s=within_s) if self._reader is not None else None
        await self._session.close()
        return {
            "missing": [Doubt(Witness.DATABASE, missing).entry()] if missing else [],
            "left": self._reader.left if self._reader is not None else None,
        }

    def _set_processes(self, pids: Mapping[str, int]) -> None:
        for name, pid in pids.items():
            known = self._processes.get(name)
            if known is None or known.pid != pid:
                self._processes[name] = ProcessReadings(name, pid, family=name == "postgres")

    def _own_processes(self) -> dict[str, int]:
        """Return the processes of the harness among those watched: they are the ones whose logs are read."""
        own = self.assignment.settings["logs"]
        return {name: process.pid for name, process in self._processes.items() if name in own}

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        machine_readings()
        for process in self._processes.values():
            process.read()
        due = loop.time() + 1.0
        async with asyncio.TaskGroup() as scrapes:
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = max(due + 1.0, loop.time())
                for row in machine_readings():
                    self.history.append(row)
                for process in self._processes.values():
                    for row in process.read():
                        self.history.append(row)
                for log in self._logs:
                    for row in log.rows():
                        self.history.append(row)
                for actor, times in self._queues.dropped(self._own_processes()).items():
                    self.history.append(shortage(actor, Shortage.QUEUE, times))
                if isinstance(self._system, HasMetrics):
                    for actor, base in self.assignment.settings["services"].items():
                        scrapes.create_task(self._scrape(self._system, actor, base))

    async def _scrape(self, system: HasMetrics, actor: str, base: str) -> None:
        # A service that can't answer has no readings; that it can't is the health prober's to say.
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            at_ns, call = now_ns(), system.metrics()
            async with self._session.request(
                call.method,
                f"{base}{call.path}",
                headers=call.headers,
                json=call.body,
                timeout=aiohttp.ClientTimeout(1.0),
            ) as answer:
                if answer.status == 200:
                    for row in readings_of(system.readings, actor, await answer.text(), at_ns):
                        self.history.append(row)


if __name__ == "__main__":
    run(Watch)
