"""The team's own commands in a rollout: each has a time limit, and what became of it is noted."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from harness.documents.rollout import Hook
from harness.experiment.child import Child
from harness.process import ProcessError


def run_hook(command: str, environment: Mapping[str, str], log: Path, limit_s: float) -> Hook:
    """Run a command to its end, without a shell; one that hangs is ended with all that it started.

    Parameters
    ----------
    environment : on top of this process's own.
    log : takes its output.
    """
    begun = time.monotonic()
    try:
        with Child(command, shlex.split(command), log, environment) as child:
            ended = child.wait(limit_s)
            error = _error(child, limit_s, ended=ended)
    except (ProcessError, ValueError, IndexError) as failure:
        error = str(failure).partition("\n")[0] or "it is no command"
    return Hook(command=command, seconds=round(time.monotonic() - begun, 2), error=error)


def _error(child: Child, limit_s: float, *, ended: bool) -> str:
    if not ended:
        return f"did not end within {limit_s:g} s and was killed"
    return "" if child.exit_code == 0 else f"ended with {child.exit_code}: {child.last_words(2)}"
