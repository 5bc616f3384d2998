"""Outlives the process that started it just long enough to end what that one left behind.

Run by path, with nothing but the standard library: ``python -I -S reap.py NAME=VALUE``, the variable being
one that everything started carries in its environment. Lines of JSON on stdin say
what there is; the end of stdin means that the starter is gone, however it went.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

#: Seconds that a gentle signal has before SIGKILL follows.
GRACE_S = 1.5
#: Seconds that SIGKILL may take: one that writes to a slow disk dies only afterwards.
KILL_LIMIT_S = 10.0
#: Seconds in which nobody must be found: a process that is just being started shows neither its
#: environment nor a parent of ours.
QUIET_S = 0.2
REMOVE_LIMIT_S = 5.0
#: What a reaper carries in its own environment.
REAPER = "STORMWATCH_REAPER=yes"
PROC = Path("/proc")


def status(pid: int) -> list[str]:
    """Return what the kernel says of ``pid`` after its name (state, parent, ...); empty if it is silent."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return []


def started(pid: int) -> str | None:
    """Return when ``pid`` was started, as the kernel counts, to tell it from a later one of its number."""
    fields = status(pid)
    return fields[19] if fields else None


def family(leaders: set[int], marker: str) -> set[int]:
    """Return ``leaders``, what carries ``marker`` in its environment, and all their descendants.

    Only Linux tells; elsewhere the process groups have to do. Other reapers are left out: what they
    watch over may be part of the family, and they end by themselves.
    """
    parents: dict[int, int] = {}
    if not marker.partition("=")[2]:
        raise ValueError(f"{marker!r} would match what is not ours")
    found = set(leaders)
    reapers = set()
    for folder in PROC.glob("[0-9]*"):
        pid = int(folder.name)
        fields = status(pid)
        if fields:
            parents[pid] = int(fields[1])
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if marker.encode() in environment:
                found.add(pid)
            if REAPER.encode() in environment:
                reapers.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - reapers - {os.getpid()}


def alive(pid: int) -> bool:
    """Tell whether ``pid`` is there and more than a zombie."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return status(pid)[:1] != ["Z"]


def send(number: int, pids: set[int], groups: list[int]) -> None:
    """Send a signal to processes and process groups, as far as they are still there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)


class Kin:
    """All that belongs to the process groups (leader: gentle signal, start time) or carries the marker."""

    def __init__(self, groups: dict[int, tuple[int, str | None]], marker: str) -> None:
        self._marker = marker
        self.leaders = {pid for pid, (_, when) in groups.items() if started(pid) == when}
        #: With their start times: a parent that is gone no longer tells whose children they were.
        self._known = {pid: started(pid) for pid in self.leaders}

    def living(self) -> set[int]:
        """Look again, and return who is still there."""
        known = {pid for pid, when in self._known.items() if started(pid) == when}
        self._known = {pid: started(pid) for pid in family(known, self._marker)}
        return {pid for pid in self._known if alive(pid)}


def end(groups: dict[int, tuple[int, str | None]], marker: str) -> None:
    """End the process groups and all that belongs to them; return when it is gone."""
    kin = Kin(groups, marker)
    living = kin.living()
    for pid in kin.leaders:
        send(groups[pid][0], {pid}, [])
    # What is paused takes a signal only once it goes on.
    send(signal.SIGCONT, living, [*kin.leaders])
    _wait(kin, GRACE_S)
    send(signal.SIGKILL, set(), [*kin.leaders])
    _wait(kin, KILL_LIMIT_S, signal.SIGKILL)


def _wait(kin: Kin, limit_s: float, number: int = 0) -> None:
    """Wait until nobody is left, sending signal ``number`` to who is."""
    now = time.monotonic()
    deadline, quiet_since = now + limit_s, now
    while now < min(deadline, quiet_since + QUIET_S):
        living = kin.living()
        if number:
            send(number, living, [])
        time.sleep(0.02)
        now = time.monotonic()
        if living:
            quiet_since = now


def remove(path: Path) -> None:
    """Remove a file or a folder; again, if somebody who was just ended wrote into it meanwhile."""
    deadline = time.monotonic() + REMOVE_LIMIT_S
    while os.path.lexists(path) and time.monotonic() < deadline:
        if path.is_dir():
            free_shared_memory(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
        if os.path.lexists(path):
            time.sleep(0.05)


def free_shared_memory(folder: Path) -> None:
    """Free what a Postgres with its data below ``folder`` holds outside of it, if it was killed.

    One that ends in order does so itself, and removes the file that says what there is: its seventh line
    has the key and the id of a System V segment, which outlives every process.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        remove = 0  # IPC_RMID
        ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), remove, None)


def main() -> None:
    """Learn what there is until the starter is gone, then end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    marker = sys.argv[1]
    groups: dict[int, tuple[int, str | None]] = {}
    paths: set[str] = set()
    clean = False
    for line in sys.stdin:
        message = json.loads(line)
        match message["do"]:
            case "group":
                groups[message["pid"]] = (message["signal"], started(message["pid"]))
            case "path":
                paths.add(message["path"])
            case "forget":
                groups.pop(message["what"], None)
                paths.discard(message["what"])
            case "close":
                clean = True
    if not clean:
        end(groups, marker)
    for path in paths:
        remove(Path(path))


if __name__ == "__main__":
    main()
