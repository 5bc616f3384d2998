"""The workers of a run: this process alone, or those of a Locust master, told by messages."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import gevent
from gevent.event import AsyncResult
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner

from harness.history import HistoryWriter, now_ns
from harness.history.names import Reading, load_writer
from harness.history.witnesses import WORKER, Doubt, doubts, read_doubts
from harness.load.messages import BEGAN, BEGIN, CLOCK, DRAIN, END, ENDED, STATUS
from harness.load.worker_run import RunSpec, WorkerRun, start_worker_run
from harness.observe.readings import reading

log = logging.getLogger(__name__)

#: How long workers may take to begin, and to end over what they were given to wait for.
BEGIN_LIMIT_S: Final = 45.0
END_LIMIT_S: Final = 30.0
#: Workers' clocks are asked this often, and so many times in a row: each answer bounds the offset.
_CLOCK_EVERY_S: Final = 10.0
_CLOCK_ROUND_TRIPS: Final = 5
_CLOCK_APART_S: Final = 0.2


class WorkersError(Exception):
    """The workers can't begin; the message names the one that can't, and why."""


class Workers(Protocol):
    """The processes that play the games of a run."""

    #: Whether they are other processes than the director's.
    apart: bool

    def begin(self, spec: RunSpec) -> None:
        """Make ready to play; raises :class:`WorkersError` or :class:`ObserverError`."""

    @property
    def recorders(self) -> list[str]:
        """Names of those who write a history."""

    def compare_clocks(self, history: HistoryWriter) -> None:
        """Record how far their clocks are off this process's, until killed."""

    @property
    def unplayable(self) -> str | None:
        """Why no game can be played at all; None: some can, as far as is known."""

    def drain(self) -> None:
        """Begin no more games."""

    @property
    def drained(self) -> bool:
        """Whether, since :meth:`drain`, all games ended and all players heard of it."""

    def end(self, within_s: float) -> list[Doubt]:
        """Let players hear what is still to come, then close; return what the record lacks."""


class LocalWorker:
    """The only worker of a Locust without workers: its own process."""

    apart = False

    def __init__(self, reports: Path) -> None:
        self._reports = reports
        self._worker_run: WorkerRun | None = None
        self.recorders: list[str] = []

    def begin(self, spec: RunSpec) -> None:
        self.recorders = spec.recorders
        self._worker_run = WorkerRun(spec, self._reports)
        self._worker_run.wait_until_ready()
        start_worker_run(self._worker_run)

    def compare_clocks(self, history: HistoryWriter) -> None:
        """Do nothing: this process and its observers have one clock."""

    @property
    def unplayable(self) -> str | None:
        return None if self._worker_run is None else self._worker_run.unplayable

    def drain(self) -> None:
        if self._worker_run is not None:
            self._worker_run.draining.set()

    @property
    def drained(self) -> bool:
        return self._worker_run is None or self._worker_run.drained

    def end(self, within_s: float) -> list[Doubt]:
        worker_run, self._worker_run = self._worker_run, None
        return [] if worker_run is None else worker_run.end(within_s)


@dataclass
class _Remote:
    """A worker of a run, as its master knows it."""

    spec: RunSpec
    began: AsyncResult[None] = field(default_factory=AsyncResult)
    #: What its record lacks.
    ended: AsyncResult[list[Doubt]] = field(default_factory=AsyncResult)
    #: Whether its games ended and its players heard of it, since the drain began.
    drained: bool = False
    #: Why it can play no game at all.
    unplayable: str | None = None


class RemoteWorkers:
    """The workers of a Locust master, told by messages."""

    apart = True

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        #: What is played; None: no run goes on.
        self._spec: RunSpec | None = None
        self._workers: dict[str, _Remote] = {}
        #: Whether the run goes on: a worker that can't begin any more can't stop it from beginning.
        self._going_on = False
        #: What is missing of the record by now.
        self._missing: list[Doubt] = []
        #: Where comparisons of clocks go, while a run goes on.
        self._clocks: HistoryWriter | None = None
        self.recorders: list[str] = []
        runner.register_message(BEGAN, self._on_began)
        runner.register_message(STATUS, self._on_status)
        runner.register_message(ENDED, self._on_ended)
        runner.register_message(CLOCK, self._on_clock)
        runner.environment.events.worker_connect.add_listener(self._on_connect)

    def begin(self, spec: RunSpec) -> None:
        self._spec, self._workers, self._going_on = spec, {}, False
        self.recorders, self._missing = [], []
        clients = [client.id for client in self._runner.clients.all]
        if not clients:
            raise WorkersError("no worker is connected; start one with --worker, or leave out --master")
        for client in clients:
            self._tell(client, spec)
        deadline = time.monotonic() + BEGIN_LIMIT_S
        for client in clients:
            try:
                self._workers[client].began.get(timeout=max(0.0, deadline - time.monotonic()))
            except gevent.Timeout:
                raise WorkersError(f"worker {client} did not begin within {BEGIN_LIMIT_S:g} s") from None
        self._going_on = True

    def compare_clocks(self, history: HistoryWriter) -> None:
        """Ask workers for the time by round trips, until killed: a process's observers share its clock."""
        self._clocks = history
        try:
            while True:
                for _ in range(_CLOCK_ROUND_TRIPS):
                    for client in self._workers:
                        self._runner.send_message(CLOCK, {"asked_ns": now_ns()}, client)
                    gevent.sleep(_CLOCK_APART_S)
                gevent.sleep(_CLOCK_EVERY_S)
        finally:
            self._clocks = None

    @property
    def unplayable(self) -> str | None:
        reasons = [worker.unplayable for worker in self._workers.values()]
        return reasons[0] if reasons and all(reasons) else None

    def drain(self) -> None:
        for worker in self._workers.values():
            worker.drained = False
        self._runner.send_message(DRAIN)

    @property
    def drained(self) -> bool:
        return all(worker.drained for client, worker in self._workers.items() if self._is_there(client))

    def end(self, within_s: float) -> list[Doubt]:
        self._spec, self._going_on = None, False
        self._runner.send_message(END, {"within_s": within_s})
        deadline = time.monotonic() + within_s + END_LIMIT_S
        missing = list(self._missing)
        for client, worker in self._workers.items():
            while not worker.ended.ready() and self._is_there(client) and time.monotonic() < deadline:
                worker.ended.wait(timeout=0.2)
            # A worker that left may have said its last word a moment ago.
            worker.ended.wait(timeout=0.5)
            left = f"{worker.spec.name} left without closing its record"
            missing += worker.ended.get() if worker.ended.ready() else doubts(left, *WORKER)
        return missing

    def _tell(self, client: str, spec: RunSpec) -> None:
        mine = replace(
            spec,
            index=self._runner.get_worker_index(client),
            # Locust announces one that connects before it counts it.
            processes=len({client, *filter(self._is_there, self._runner.clients)}),
        )
        self._workers[client] = _Remote(mine)
        self.recorders += mine.recorders
        self._runner.send_message(BEGIN, mine.to_message(), client)

    def _is_there(self, client: str) -> bool:
        """Return whether a worker is connected; a killed one is missed after some heartbeats."""
        node = self._runner.clients.get(client)
        return node is not None and node.state != STATE_MISSING

    def _on_connect(self, client_id: str, **_: Any) -> None:
        # A worker that joins in mid-run gets its spec too. (Known ones were told by `begin`.)
        if self._spec is not None and client_id not in self._workers:
            self._tell(client_id, self._spec)

    def _on_began(self, msg: Message, **_: Any) -> None:
        worker = self._workers.get(msg.node_id)
        if worker is None:
            return
        error = msg.data["error"]
        if error is None:
            self._missing += read_doubts(msg.data["missing"])
            worker.began.set()
            return
        worker.ended.set([])  # there is no record to close
        if not self._going_on:
            worker.began.set_exception(WorkersError(f"{worker.spec.name} can't begin: {error}"))
            return
        # Games that are meant for it would wait for ever: it leaves, and Locust gives them to the others.
        reason = f"{worker.spec.name} joined late and can't begin: {error}"
        log.error("%s", reason)
        self._missing += doubts(reason, *WORKER)
        self.recorders = [name for name in self.recorders if name not in worker.spec.recorders]
        self._runner.send_message("quit", None, msg.node_id)

    def _on_clock(self, msg: Message, **_: Any) -> None:
        if self._clocks is None:
            return
        asked_ns, there_ns, heard_ns = msg.data["asked_ns"], msg.data["there_ns"], now_ns()
        # It was told somewhere between question and answer: by its clock then, ours was in the middle.
        offset_ns = there_ns - (asked_ns + heard_ns) / 2
        name = load_writer(self._runner.get_worker_index(msg.node_id) + 1)
        self._clocks.append(reading(Reading.CLOCK_OFFSET, name, offset_ns / 1e6, heard_ns))
        self._clocks.append(reading(Reading.CLOCK_BOUND, name, (heard_ns - asked_ns) / 2e6, heard_ns))

    def _on_status(self, msg: Message, **_: Any) -> None:
        if worker := self._workers.get(msg.node_id):
            worker.drained, worker.unplayable = msg.data["drained"], msg.data["unplayable"]

    def _on_ended(self, msg: Message, **_: Any) -> None:
        if worker := self._workers.get(msg.node_id):
            worker.ended.set(read_doubts(msg.data["missing"]))
