"""A process of the harness's own (Locust, pytest): logged, watched, ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.files import open_log
from harness.stack import Reaper


class ChildError(Exception):
    """A process did not start, or did not end when asked to; the message has the end of its log."""


class Child:
    """A process in a session of its own, its output in a log file.

    Leaving the ``with`` kills it and everything in its process group; should this process itself be
    killed, a reaper does.

    Parameters
    ----------
    name : as it stands in errors.
    command : program and arguments.
    log : file that takes its output; overwritten.
    environment : variables on top of this process's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._reaper = Reaper()
        try:
            with open_log(log) as output:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, **(environment or {}), **self._reaper.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._reaper.watch_group(self._process.pid)
        except BaseException:
            # Ctrl-C may come between the start of a process and the note of it.
            self._reaper.close(sweep=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ask it to end early, as Ctrl-C would."""
        if self.ended is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self, timeout_s: float) -> int:
        """Ask it to end, wait, and return its exit code.

        Raises
        ------
        ChildError
            It did not end in time (and was killed).
        """
        if self.ended is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ChildError(
                f"{self.name} did not end within {timeout_s:g} s of SIGTERM: {self.tail()}"
            ) from None

    def kill(self) -> None:
        """End it at once, and all that it started."""
        if self.ended is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reaper.close()

    def tail(self, lines: int = 5) -> str:
        """Return the end of its log on one line."""
        text = self.log.read_text(errors="replace", encoding="utf-8").strip().splitlines()
        return " | ".join(text[-lines:]) or "its log is empty"
