"""A Locust worker's side of a run: it plays what its master tells it by messages."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import gevent
from locust.env import Environment
from locust.rpc import Message
from locust.runners import WorkerRunner

from harness.files import DocumentError
from harness.history import now_ns
from harness.load.capacity import see_that_it_fits
from harness.load.messages import BEGAN, BEGIN, CLOCK, DRAIN, END, ENDED, STATUS
from harness.load.observers import ObserverError
from harness.load.options import OptionError
from harness.load.worker_run import RunSpec, WorkerRun, start_worker_run
from harness.system import SystemFileError, find_system
from harness.target import ConsentError

log = logging.getLogger(__name__)

_STATUS_EVERY_S: Final = 0.5

#: Why a worker can't begin, where the message says it all.
_FORESEEN: Final = (ObserverError, ConsentError, OptionError, DocumentError, SystemFileError, OSError)


class WorkerLink:
    """A Locust worker's side of the messages."""

    def __init__(self, runner: WorkerRunner, reports: Path) -> None:
        self._runner = runner
        self._reports = reports
        self._worker_run: WorkerRun | None = None
        # Concurrent, so that heartbeats go on meanwhile.
        runner.register_message(BEGIN, self._on_begin, concurrent=True)
        runner.register_message(DRAIN, self._on_drain)
        runner.register_message(END, self._on_end, concurrent=True)
        runner.register_message(CLOCK, self._on_clock)

    def end(self, within_s: float) -> None:
        """Close and tell the master; does nothing the second time."""
        worker_run, self._worker_run = self._worker_run, None
        if worker_run is not None:
            missing = [doubt.entry() for doubt in worker_run.end(within_s)]
            self._runner.send_message(ENDED, {"missing": missing})

    def abandon(self) -> bool:
        """Close at once, there is no master any more; return whether a run was going on."""
        if self._worker_run is None:
            return False
        self._worker_run.abandon()
        return True

    def _on_begin(self, msg: Message, environment: Environment, **_: Any) -> None:
        try:
            spec = RunSpec.from_message(msg.data)
            if not spec.anyway:
                see_that_it_fits(
                    spec.options, find_system(spec.system).words, processes=spec.processes, own_stack=False
                )
            environment.host = spec.permission.target.service_url
            self._worker_run = WorkerRun(spec, self._reports)
            self._worker_run.wait_until_ready()
        except Exception as failure:
            # Whatever it is: the master waits for an answer.
            if isinstance(failure, _FORESEEN):
                log.error("%s", failure)  # noqa: TRY400 - the message says it all
            else:
                log.exception("this worker can't begin")
            self.abandon()
            self._worker_run = None
            self._runner.send_message(BEGAN, {"error": str(failure) or type(failure).__name__})
            return
        start_worker_run(self._worker_run)
        missing = [doubt.entry() for doubt in self._worker_run.missing]
        self._runner.send_message(BEGAN, {"error": None, "missing": missing})
        gevent.spawn(self._tell_status)

    def _on_drain(self, **_: Any) -> None:
        if self._worker_run is not None:
            self._worker_run.draining.set()

    def _on_clock(self, msg: Message, **_: Any) -> None:
        self._runner.send_message(CLOCK, {"asked_ns": msg.data["asked_ns"], "there_ns": now_ns()})

    def _on_end(self, msg: Message, **_: Any) -> None:
        self.end(msg.data["within_s"])

    def _tell_status(self) -> None:
        while (worker_run := self._worker_run) is not None:
            if worker_run.draining.is_set() or worker_run.unplayable:
                status = {"drained": worker_run.drained, "unplayable": worker_run.unplayable}
                self._runner.send_message(STATUS, status)
            gevent.sleep(_STATUS_EVERY_S)
