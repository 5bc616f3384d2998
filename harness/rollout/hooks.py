"""The team's own commands in a rollout: each has a time limit, and what became of it is noted."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.documents.rollout import Hook
from harness.experiment.child import Child
from harness.process import ProcessError


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM do nothing meanwhile: what is done is short, and must be done whole."""
    # SIG_IGN would be inherited by the commands.
    before = {number: signal.signal(number, _nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(_signal: int, _frame: object) -> None: ...


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
