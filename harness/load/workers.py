"""The workers of a run: this process alone, or those of a Locust master, told by messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import gevent
from gevent.event import AsyncResult
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner

from harness.history import HistoryWriter, RunFolder, now_ns
from harness.history.names import Reading
from harness.history.run import version
from harness.history.witnesses import WORKER, Doubt, doubts, read_doubts
from harness.load.carry import GIVE_UP_S
from harness.load.messages import BEGAN, BEGIN, CARRIED, CARRY, CLOCK, DRAIN, END, ENDED, READY, STATUS
from harness.load.received import GarbageError, Received
from harness.load.worker_run import RunSpec, WorkerRun, start_worker_run
from harness.observe.readings import reading

log = logging.getLogger(__name__)

#: How long workers may take to begin, and to end over what they were given to wait for.
BEGIN_LIMIT_S: Final = 45.0
END_LIMIT_S: Final = 30.0
#: How long after it connected a worker may take to listen.
READY_LIMIT_S: Final = 10.0
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
    #: What came of its files, if it can't write to the run's folder.
    received: Received
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
        #: Those that listen. Locust counts workers that do not do so yet.
        self._ready: set[str] = set()
        #: Whether the run goes on: a worker that can't begin any more can't stop it from beginning.
        self._going_on = False
        #: What is missing of the record by now.
        self._missing: list[Doubt] = []
        #: Where comparisons of clocks go, while a run goes on.
        self._clocks: HistoryWriter | None = None
        self.recorders: list[str] = []
        self._listen(BEGAN, self._on_began)
        self._listen(STATUS, self._on_status)
        self._listen(ENDED, self._on_ended)
        self._listen(CLOCK, self._on_clock)
        self._listen(CARRY, self._on_chunk)
        runner.register_message(READY, self._on_ready)
        runner.environment.events.worker_connect.add_listener(self._on_connect)

    def begin(self, spec: RunSpec) -> None:
        self._spec, self._workers, self._going_on = spec, {}, False
        self.recorders, self._missing = [], []
        clients = [client.id for client in self._runner.clients.all]
        if not clients:
            raise WorkersError("no worker is connected; start one with --worker, or leave out --master")
        for client in clients:
            self._add(client, spec)
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
        self._spec = None  # who joins now has nothing to play
        for client, worker in self._workers.items():
            worker.drained = False
            self._runner.send_message(DRAIN, None, client)

    @property
    def drained(self) -> bool:
        return all(worker.drained for client, worker in self._workers.items() if self._is_there(client))

    def end(self, within_s: float) -> list[Doubt]:
        self._spec, self._going_on = None, False
        for client in self._workers:
            self._runner.send_message(END, {"within_s": within_s}, client)
        ended_ns, deadline = now_ns(), time.monotonic() + within_s + END_LIMIT_S
        for client, worker in self._workers.items():
            self._wait_for(client, worker, deadline)
            left = f"{worker.spec.name} left without closing its record{worker.received.lost(ended_ns)}"
            self._missing += worker.ended.get() if worker.ended.ready() else doubts(left, *WORKER)
            self._missing += worker.received.put_aside()
        return self._missing

    def _wait_for(self, client: str, worker: _Remote, deadline: float) -> None:
        """Wait for a worker's last word, as long as its record still comes in or the time is not over."""
        received = worker.received
        while not worker.ended.ready() and self._is_there(client):
            if time.monotonic() > max(deadline, received.heard_at + GIVE_UP_S):
                break
            worker.ended.wait(timeout=0.2)
        # A worker that left may have said its last word a moment ago.
        worker.ended.wait(timeout=0.5)

    def _add(self, client: str, spec: RunSpec) -> None:
        sharing = sum(map(self._is_there, self._runner.clients))
        mine = replace(spec, index=self._runner.get_worker_index(client), processes=sharing)
        self._workers[client] = _Remote(mine, Received(RunFolder(spec.folder), mine.recorders))
        self.recorders += mine.recorders
        if client in self._ready:
            self._runner.send_message(BEGIN, mine.to_message(), client)

    def _is_there(self, client: str) -> bool:
        """Return whether a worker is connected; a killed one is missed after some heartbeats."""
        node = self._runner.clients.get(client)
        return node is not None and node.state != STATE_MISSING

    def _on_ready(self, msg: Message, **_: Any) -> None:
        self._ready.add(msg.node_id)
        if worker := self._workers.get(msg.node_id):
            self._runner.send_message(BEGIN, worker.spec.to_message(), msg.node_id)
        elif self._spec is not None:
            # A worker that joins in mid-run gets its spec too.
            self._add(msg.node_id, self._spec)

    def _on_connect(self, client_id: str, **_: Any) -> None:
        if client_id not in self._ready:
            gevent.spawn_later(READY_LIMIT_S, self._see_that_it_is_ready, client_id)

    def _see_that_it_is_ready(self, client: str) -> None:
        """Have a worker leave that is none of ours: games that are meant for it would wait for ever."""
        if client not in self._ready and self._is_there(client):
            log.error("worker %s is no stormwatch worker, or of an earlier version: it leaves", client)
            self._runner.send_message("quit", None, client)

    def _listen(self, name: str, take: Callable[[_Remote, Message], None]) -> None:
        """Have ``take`` called with each message of this name from a worker of the run; say what is none."""

        def on_message(msg: Message, **_: Any) -> None:
            worker = self._workers.get(msg.node_id)
            if worker is None:
                return
            try:
                take(worker, msg)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                what = str(error) if isinstance(error, GarbageError) else f"no message {name} is like it"
                self._distrust(worker, f"{worker.spec.name} sent garbage: {what}")

        self._runner.register_message(name, on_message)

    def _distrust(self, worker: _Remote, reason: str) -> None:
        """Say once what makes a worker's record doubtful."""
        found = doubts(reason, *WORKER)
        if found[0] not in self._missing:
            log.error("%s", reason)
            self._missing += found

    def _on_chunk(self, worker: _Remote, msg: Message) -> None:
        if not worker.received.is_of_this_run(msg.data):
            return
        try:
            answer = worker.received.take(msg.data)
        except OSError as error:
            # It is sent again; what is still missing at the end is named.
            log.error("the record of %s can't be written: %s", worker.spec.name, error.strerror)  # noqa: TRY400 - foreseen: no traceback
        else:
            self._runner.send_message(CARRIED, answer, msg.node_id)

    def _on_began(self, worker: _Remote, msg: Message) -> None:
        error, theirs = msg.data["error"], msg.data.get("version", "an earlier version")
        if theirs != version():
            error = f"it runs stormwatch {theirs}, its master {version()}: install the same on both"
        if error is None:
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

    def _on_clock(self, worker: _Remote, msg: Message) -> None:
        if self._clocks is None:
            return
        asked_ns, there_ns, heard_ns = msg.data["asked_ns"], msg.data["there_ns"], now_ns()
        # It was told somewhere between question and answer: by its clock then, ours was in the middle.
        offset_ns = there_ns - (asked_ns + heard_ns) / 2
        name = worker.spec.name
        self._clocks.append(reading(Reading.CLOCK_OFFSET, name, offset_ns / 1e6, heard_ns))
        self._clocks.append(reading(Reading.CLOCK_BOUND, name, (heard_ns - asked_ns) / 2e6, heard_ns))

    def _on_status(self, worker: _Remote, msg: Message) -> None:
        worker.drained, worker.unplayable = msg.data["drained"], msg.data["unplayable"]

    def _on_ended(self, worker: _Remote, msg: Message) -> None:
        missing = read_doubts(msg.data["missing"])
        worker.ended.set(missing + worker.received.missing(msg.data["sizes"], msg.data["kept"]))
