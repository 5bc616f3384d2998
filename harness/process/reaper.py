"""Nothing stays behind: a small process that ends what this one started, should this one be killed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, Final, Self

from harness.process import reap

_MARKER: Final = "STORMWATCH_OWNER"

_living: weakref.WeakSet[Reaper] = weakref.WeakSet()


class Reaper:
    """Ends processes and removes paths when this process is gone, even after ``kill -9``.

    It notices by a pipe that only this process holds open; a fork of this process lets go of it.
    """

    def __init__(self) -> None:
        self._marker = secrets.token_hex(8)
        reading, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", reap.__file__, f"{_MARKER}={self._marker}"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={**os.environ, reap.REAPER: "yes"},
            )
        finally:
            os.close(reading)
        _living.add(self)

    @property
    def environment(self) -> dict[str, str]:
        """What a child's environment needs, so that it is found even if nobody got to name it."""
        return {_MARKER: self._marker}

    def watch_process(self, pid: int, gentle: int = signal.SIGTERM) -> None:
        """End a process and its descendants: by ``gentle`` first, by SIGKILL soon after."""
        self._tell(do="process", what=pid, signal=int(gentle))

    def watch_path(self, path: Path) -> None:
        """Remove ``path``, a file or a whole folder."""
        self._tell(do="path", what=str(path))

    def forget(self, what: int | Path) -> None:
        """Leave a process or a path alone: it is gone already."""
        self._tell(do="forget", what=what if isinstance(what, int) else str(what))

    def close(self, *, sweep: bool = False) -> None:
        """End the reaper: watched paths that are left are removed.

        Parameters
        ----------
        sweep : end what still runs, too: a process may have been started that nobody got to name. Else
            processes stay as they are.
        """
        if self._pipe >= 0:
            if not sweep:
                self._tell(do="close")
            self._let_go()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Who was to end them in order never came to it.
        self.close(sweep=kind is not None)

    def _tell(self, **message: Any) -> None:
        if self._pipe >= 0:
            # A reaper that somebody killed must not keep the rest from ending in order.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def _let_go(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def _let_go_after_fork() -> None:
    for reaper in _living:
        reaper._let_go()


os.register_at_fork(after_in_child=_let_go_after_fork)
