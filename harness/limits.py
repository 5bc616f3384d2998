"""How many files and connections a process of ours may have open at once."""

from __future__ import annotations

import contextlib
import resource
import sys


def open_files() -> int:
    """Return how many files this process, and each that it starts, can be allowed: its hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def raise_open_files() -> None:
    """Allow this process, and each that it starts from now on, as many open files as it can be allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Where no limit is set, some systems have one of their own all the same.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
