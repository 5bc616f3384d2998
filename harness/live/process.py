"""Starts and ends the process that follows a run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.files import open_log
from harness.history import RunFolder

#: How long the last judgement may take; a long record needs its time.
_END_LIMIT_S: Final = 20.0
_LOG: Final = "live.log"


class LiveProcess:
    """``python -m harness.live``, which keeps a run's ``live.json`` up to date.

    It ends when told to (:meth:`stop`, or leaving the ``with``; by an error: at once), and by itself when
    this process is gone.

    Parameters
    ----------
    run : the run to follow.
    sla, profile : what it is judged by; None: the project's policy, the run's profile.
    every_s : the least time between two judgements, in seconds.
    """

    def __init__(
        self, run: RunFolder, *, sla: Path | None = None, profile: str | None = None, every_s: float = 1.0
    ) -> None:
        command = [sys.executable, "-m", "harness.live", str(run.path), f"--every={every_s}"]
        command += [f"--sla={sla}"] if sla is not None else []
        command += [f"--profile={profile}"] if profile is not None else []
        with open_log(run.logs / _LOG) as log:
            # A session of its own: Ctrl-C is for the starter, which ends it in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                # One core at most, whatever library thinks it could use more.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """Have it judge once more and end; kill it if that takes too long. Does nothing the second time."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()
