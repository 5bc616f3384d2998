"""A process of the harness's own (Locust, pytest): logged, watched, ended with all that it started."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.process import ChildProcess, ProcessError, ProcessSpec, Reaper


class Child(ChildProcess):
    """A process that is killed on leaving the ``with``, and by a reaper should this process be killed.

    Parameters
    ----------
    name : as it stands in errors.
    command : program and arguments.
    log : file that takes its output.
    environment : variables on top of this process's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._own_reaper = Reaper()
        super().__init__(
            ProcessSpec(name, command, log, {**os.environ, **(environment or {})}), self._own_reaper
        )
        try:
            self.start()
        except BaseException:
            # Ctrl-C may come between the start of a process and the note of it.
            self._own_reaper.close(sweep=True)
            raise

    def interrupt(self) -> None:
        """Ask it to end early, as Ctrl-C would."""
        if self.exit_code is None:
            self.send_signal(signal.SIGINT)

    def finish(self, timeout_s: float) -> None:
        """Ask it to end, and wait until it has.

        Raises
        ------
        ProcessError
            It did not end in time, and was killed.
        """
        if not self.stop(timeout_s):
            raise ProcessError(
                f"{self.name} did not end within {timeout_s:g} s of SIGTERM: {self.last_words()}"
            )

    def kill(self) -> None:
        """End it at once, and all that it started."""
        super().kill()
        self._own_reaper.close()

    def last_words(self, lines: int = 5) -> str:
        """Return the end of its log on one line."""
        return " | ".join(self.tail(lines).splitlines()) or "its log is empty"
