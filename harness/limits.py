"""How many files and connections a process of ours may have open at once."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Final

#: Open files that the end of a run needs: the removal of its games, its record, its report.
RESERVED: Final = 24


def open_files() -> int:
    """Return how many files this process, and each that it starts, can be allowed: its hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def raise_open_files() -> None:
    """Allow this process, and each that it starts from now on, as many open files as it can be allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Where no limit is set, some systems have one of their own all the same.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Reserve:
    """Open files kept back for the end of a run, which must be judged when there are no others left.

    Raises
    ------
    OSError
        There are not as many.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        try:
            while len(self._held) < RESERVED:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give them back; once is enough, more does no harm."""
        while self._held:
            os.close(self._held.pop())
