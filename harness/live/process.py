"""Starts and ends the process that follows a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from harness.history import RunFolder
from harness.process import LineProcess, ProcessSpec

#: How long the last judgement may take; a long record needs its time.
_END_LIMIT_S: Final = 20.0
#: One core at most, whatever library thinks it could use more.
_ONE_CORE: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class LiveProcess(LineProcess):
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
        super().__init__(
            ProcessSpec("live view", command, run.logs / "live.log", {**os.environ, **_ONE_CORE})
        )
        self.start()

    def stop(self, grace_s: float = _END_LIMIT_S) -> bool:
        """Have it judge once more and end; kill it if that takes too long. Does nothing the second time."""
        return super().stop(grace_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()
