"""Starts observer processes from Locust and talks to them, without blocking its other greenlets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from harness.history.witnesses import Doubt, doubts_about, read_doubts
from harness.observe.process import Assignment
from harness.process import LineProcess, ProcessError, ProcessSpec

log = logging.getLogger(__name__)

#: How long an observer may take to be ready: imports, and a first look at the database.
START_LIMIT_S: Final = 30.0
#: How long it may take to end, over what it was given to wait for.
END_LIMIT_S: Final = 20.0


class ObserverError(ProcessError):
    """An observer could not begin; the message says which and why."""


class _Lines(LineProcess):
    error = ObserverError


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
        #: What it could not take away of what it put into the system, and what removes it.
        self.left: str | None = None
        self._on_report = on_report
        self._ready: Future[dict[str, Any]] = Future()
        self._stopped: Future[dict[str, Any]] = Future()
        self._stopping = False
        spec = ProcessSpec(self.name, [sys.executable, "-m", module], logs / f"{self.name}.log")
        self._process = _Lines(spec, self._heard, self._ended).start()
        self._process.send(assignment.to_line())

    @property
    def pid(self) -> int | None:
        """Process id of the observer, None once it ended."""
        return self._process.pid

    def wait_until_ready(self) -> dict[str, Any]:
        """Return what it reported with ``ready``.

        Raises
        ------
        ObserverError
            It ended, or said nothing for :data:`START_LIMIT_S`.
        """
        try:
            return self._ready.result(START_LIMIT_S)
        except TimeoutError:
            raise ObserverError(f"{self.name} was not ready after {START_LIMIT_S:g} s; see its log") from None

    def send(self, **command: Any) -> None:
        """Have it do something; returns at once."""
        self._process.send(command)

    def stop(self, within_s: float) -> list[Doubt]:
        """End it in order, else by force; return what is missing of what it should have seen."""
        self._stopping = True
        self.send(do="stop", within_s=within_s)
        try:
            final = self._stopped.result(within_s + END_LIMIT_S)
        except TimeoutError:
            self.kill()
            return doubts_about(self.name, f"{self.name} did not end and was killed")
        except ObserverError as error:
            self.kill()
            return doubts_about(self.name, str(error))
        self._process.stop(END_LIMIT_S)
        self.left = final.get("left")
        if self.left:
            log.error("%s", self.left)
        missing = read_doubts(final.get("missing"))
        if "history_error" in final:
            reason = f"{self.name} could not write its whole history: {final['history_error']}"
            missing += doubts_about(self.name, reason)
        return missing

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        self._process.kill()

    def _heard(self, report: dict[str, Any]) -> None:
        if report.pop("ready", False):
            self._ready.set_result(report)
        elif report.pop("stopped", False):
            self._stopped.set_result(report)
        else:
            self._on_report(report)

    def _ended(self, code: int) -> None:
        if self._stopped.done():
            return
        gone = ObserverError(f"{self.name} ended by itself with code {code}; see its log")
        if not self._stopping:
            log.error("%s", gone)
        self._stopped.set_exception(gone)
        if not self._ready.done():
            self._ready.set_exception(gone)
