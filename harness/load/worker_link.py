"""A Locust worker's side of a run: it plays what its master tells it by messages."""

from __future__ import annotations

import logging
import os
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import gevent
from locust.env import Environment
from locust.rpc import Message
from locust.runners import WorkerRunner

from harness.files import DocumentError
from harness.history import now_ns
from harness.history.run import version
from harness.load.capacity import see_that_it_fits, size_of
from harness.load.carry import Carrier
from harness.load.messages import BEGAN, BEGIN, CARRIED, CARRY, CLOCK, DRAIN, END, ENDED, READY, STATUS
from harness.load.observers import ObserverError
from harness.load.options import OptionError
from harness.load.worker_run import RunSpec, WorkerRun, start_worker_run
from harness.system import SystemFileError, find_system
from harness.target import ConsentError

log = logging.getLogger(__name__)

_STATUS_EVERY_S: Final = 0.5
#: How long the master may be silent before it is looked whether it is still there, how often that is done,
#: and how many refusals in a row mean that it is not.
_SILENT_S: Final = 3.0
_MASTER_CHECK_S: Final = 1.0
_REFUSED_TIMES: Final = 2

#: Why a worker can't begin, where the message says it all.
_FORESEEN: Final = (ObserverError, ConsentError, OptionError, DocumentError, SystemFileError, OSError)


class WorkerLink:
    """A Locust worker's side of the messages."""

    def __init__(self, runner: WorkerRunner, reports: Path) -> None:
        self._runner = runner
        self._reports = reports
        self._worker_run: WorkerRun | None = None
        #: Sends the record to the master; None: the master sees it itself.
        self._carrier: Carrier | None = None
        self._heard_at = time.monotonic()
        # Concurrent, so that heartbeats go on meanwhile.
        runner.register_message(BEGIN, self._on_begin, concurrent=True)
        runner.register_message(DRAIN, self._on_drain)
        runner.register_message(END, self._on_end, concurrent=True)
        runner.register_message(CLOCK, self._on_clock)
        runner.register_message(CARRIED, self._on_carried)
        runner.environment.events.heartbeat_received.add_listener(self._on_heartbeat)
        runner.send_message(READY, None)

    def end(self, within_s: float) -> None:
        """Close and tell the master; does nothing the second time."""
        worker_run, self._worker_run = self._worker_run, None
        if worker_run is None:
            return
        ended: dict[str, Any] = {"sizes": {}, "kept": str(worker_run.folder.path)}
        ended["missing"] = [doubt.entry() for doubt in worker_run.end(within_s)]
        if (carrier := self._carrier) is not None:
            ended["sizes"] = carrier.sizes()
            carrier.finish()
            if self._carrier is carrier:  # and the next run has not begun meanwhile
                self._carrier = None
        self._runner.send_message(ENDED, ended)

    def abandon(self) -> bool:
        """Close at once, there is no master any more; return whether a run was going on."""
        worker_run, self._worker_run = self._worker_run, None
        if worker_run is None:
            return False
        worker_run.abandon()
        return True

    def end_without_master(self) -> None:
        """Wait until nobody listens where the master did; close the record, say where it is, and exit.

        A master that is only silent may come back: Locust gives it a minute.
        """
        refused = 0
        while refused < _REFUSED_TIMES:
            gevent.sleep(_MASTER_CHECK_S)
            silent_s = time.monotonic() - self._heard_at
            refused = refused + 1 if silent_s > _SILENT_S and self._is_refused() else 0
        worker_run, self._worker_run = self._worker_run, None
        if worker_run is None:
            log.error("the master is gone: this worker ends")
        else:
            worker_run.end(0.0)
            log.error(
                "the master is gone: this worker ends, its record is in %s; where that is not the run's "
                "folder, `stormwatch report RUN FOLDER` takes it in",
                worker_run.folder.path,
            )
        os._exit(1)

    def _is_refused(self) -> bool:
        try:
            with socket.create_connection(
                (self._runner.master_host, self._runner.master_port), _MASTER_CHECK_S
            ):
                return False
        except ConnectionRefusedError:
            return True
        except OSError:
            return False

    def _on_heartbeat(self, **_: Any) -> None:
        self._heard_at = time.monotonic()

    def _on_begin(self, msg: Message, environment: Environment, **_: Any) -> None:
        try:
            spec = RunSpec.from_message(msg.data)
            if not spec.anyway:
                words = find_system(spec.system).words
                see_that_it_fits(
                    size_of(spec.options), words, processes=spec.processes, here=1, toxiproxies=0
                )
            environment.host = spec.permission.target.service_url
            self._worker_run = worker_run = WorkerRun(spec, self._reports)
            worker_run.wait_until_ready()
        except Exception as failure:
            # Whatever it is: the master waits for an answer.
            if isinstance(failure, _FORESEEN):
                log.error("%s", failure)  # noqa: TRY400 - the message says it all
            else:
                log.exception("this worker can't begin")
            self.abandon()
            self._tell_began(str(failure) or type(failure).__name__)
            return
        start_worker_run(worker_run)
        if worker_run.is_elsewhere:
            self._carrier = Carrier(worker_run.folder, spec.run_id, partial(self._runner.send_message, CARRY))
        self._tell_began(None)
        gevent.spawn(self._tell_status)

    def _tell_began(self, error: str | None) -> None:
        self._runner.send_message(BEGAN, {"error": error, "version": version()})

    def _on_drain(self, **_: Any) -> None:
        if self._worker_run is not None:
            self._worker_run.draining.set()

    def _on_clock(self, msg: Message, **_: Any) -> None:
        self._runner.send_message(CLOCK, {"asked_ns": msg.data["asked_ns"], "there_ns": now_ns()})

    def _on_carried(self, msg: Message, **_: Any) -> None:
        if self._carrier is not None:
            self._carrier.answered(msg.data)

    def _on_end(self, msg: Message, **_: Any) -> None:
        self.end(msg.data["within_s"])

    def _tell_status(self) -> None:
        while (worker_run := self._worker_run) is not None:
            if worker_run.draining.is_set() or worker_run.unplayable:
                status = {"drained": worker_run.drained, "unplayable": worker_run.unplayable}
                self._runner.send_message(STATUS, status)
            gevent.sleep(_STATUS_EVERY_S)
