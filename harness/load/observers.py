"""Starts observer processes from Locust and talks to them, without blocking its other greenlets."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
from gevent import subprocess
from gevent.event import AsyncResult, Event
from gevent.queue import Queue

from harness.files import open_log
from harness.history.witnesses import Doubt, doubts_about, read_doubts
from harness.observe.process import Assignment

log = logging.getLogger(__name__)

#: How long an observer may take to be ready: imports, and a first look at the database.
START_LIMIT_S: Final = 30.0
#: How long it may take to end, over what it was given to wait for.
END_LIMIT_S: Final = 20.0


class ObserverError(Exception):
    """An observer could not begin; the message says which and why."""


class ObserverProcess:
    """One observer process, from start to end.

    Parameters
    ----------
    module : what to run, as ``python -m`` takes it.
    assignment : its name, its run and its target, handed over through its stdin.
    logs : folder for what it writes to stderr.
    on_report : called with each of its reports.
    """

    def __init__(
        self,
        module: str,
        assignment: Assignment,
        logs: Path,
        on_report: Callable[[dict[str, Any]], None] = lambda report: None,
    ) -> None:
        self.name = assignment.name
        self._on_report = on_report
        self._ready: AsyncResult[dict[str, Any]] = AsyncResult()
        self._stopped: AsyncResult[dict[str, Any]] = AsyncResult()
        self._stopping = Event()
        self._commands: Queue[dict[str, Any] | None] = Queue()
        with open_log(logs / f"{self.name}.log") as log_file:
            # A session of its own: Ctrl-C is for Locust, which ends its observers in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
            )
        self._commands.put(assignment.to_line())
        self._greenlets = [gevent.spawn(self._write), gevent.spawn(self._read)]

    @property
    def pid(self) -> int:
        """The process."""
        return int(self._process.pid)

    def wait_until_ready(self) -> dict[str, Any]:
        """Return what it reported with ``ready``.

        Raises
        ------
        ObserverError
            It ended, or said nothing for :data:`START_LIMIT_S`.
        """
        try:
            return dict(self._ready.get(timeout=START_LIMIT_S))
        except gevent.Timeout:
            raise ObserverError(f"{self.name} was not ready after {START_LIMIT_S:g} s; see its log") from None

    def send(self, **command: Any) -> None:
        """Have it do something; returns at once."""
        self._commands.put(command)

    def stop(self, within_s: float) -> list[Doubt]:
        """End it in order, else by force; return what is missing of what it should have seen."""
        self._stopping.set()
        self.send(do="stop", within_s=within_s)
        try:
            final = dict(self._stopped.get(timeout=within_s + END_LIMIT_S))
        except gevent.Timeout:
            self.kill()
            return doubts_about(self.name, f"{self.name} did not end and was killed")
        except ObserverError as error:
            self.kill()
            return doubts_about(self.name, str(error))
        self._commands.put(None)
        try:
            self._process.wait(timeout=END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        missing = read_doubts(final.get("missing"))
        if "history_error" in final:
            reason = f"{self.name} could not write its whole history: {final['history_error']}"
            missing += doubts_about(self.name, reason)
        return missing

    def kill(self) -> None:
        """End it at once."""
        self._stopping.set()
        gevent.killall(self._greenlets, block=False)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _write(self) -> None:
        stdin = self._process.stdin
        try:
            for command in iter(self._commands.get, None):
                stdin.write(json.dumps(command).encode() + b"\n")
                stdin.flush()
            stdin.close()
        except OSError:
            return  # it is gone: _read says so

    def _read(self) -> None:
        for line in self._process.stdout:
            report = json.loads(line)
            if report.pop("ready", False):
                self._ready.set(report)
            elif report.pop("stopped", False):
                self._stopped.set(report)
            else:
                self._on_report(report)
        code = self._process.wait()
        if not self._stopped.ready():
            gone = ObserverError(f"{self.name} ended by itself with code {code}; see its log")
            if not self._stopping.is_set():
                log.error("%s", gone)
            self._ready.set_exception(gone)
            self._stopped.set_exception(gone)
