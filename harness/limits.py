"""What this machine, or the container that we are in, lets processes of ours have."""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
import sys
from pathlib import Path
from typing import Final

import psutil

#: Open files that the end of a run needs: the removal of its games, its record, its report.
RESERVED: Final = 24

_LOCAL_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: As RFC 6335 has them, and systems that do not tell.
_USUAL_LOCAL_PORTS: Final = 16_384
_OWN_CGROUP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def open_files() -> int:
    """Return how many files this process, and each that it starts, can be allowed: its hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def cores() -> int:
    """Return how many cores this process may use, a part of one as one."""
    found = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    for text in _of_cgroups("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            found = min(found, math.ceil(int(quota) / int(period)))
    return found


def free_bytes() -> int:
    """Return how much memory can still be used without swapping, by the machine or by our container.

    Files that the kernel keeps in memory are given up where it is needed: they count as free.
    """
    free = int(psutil.virtual_memory().available)
    told = (_of_cgroups(f"memory.{name}") for name in ("max", "current", "stat"))
    for most, used, stat in zip(*told, strict=False):
        if most != "max":
            files = sum(map(int, re.findall(r"^(?:in)?active_file (\d+)$", stat, re.MULTILINE)))
            free = min(free, int(most) - int(used) + files)
    return max(free, 1)


def local_ports() -> int:
    """Return how many connections there can be at a time to one address and port."""
    with contextlib.suppress(OSError, ValueError):
        first, last = _LOCAL_PORTS.read_text(encoding="utf-8").split()
        return int(last) - int(first) + 1
    return _USUAL_LOCAL_PORTS


def _of_cgroups(name: str) -> list[str]:
    """Return what a file of our control group says, and of each above it that has one (Linux)."""
    found = []
    with contextlib.suppress(OSError):
        (own,) = re.findall(r"^0::(.*)$", _OWN_CGROUP.read_text(encoding="utf-8"), re.MULTILINE) or [""]
        folder = _CGROUPS / own.lstrip("/")
        for above in (folder, *folder.parents):
            if above.is_relative_to(_CGROUPS) and (above / name).is_file():
                found.append((above / name).read_text(encoding="utf-8").strip())
    return found


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
