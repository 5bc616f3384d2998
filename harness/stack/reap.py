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


def family(leaders: list[int], marker: str) -> set[int]:
    """Return ``leaders``, what carries ``marker`` in its environment, and all their descendants.

    Only Linux tells; elsewhere the process groups have to do.
    """
    parents: dict[int, int] = {}
    if not marker.partition("=")[2]:
        raise ValueError(f"{marker!r} would match what is not ours")
    found = set(leaders)
    for folder in PROC.glob("[0-9]*"):
        pid = int(folder.name)
        fields = status(pid)
        if fields:
            parents[pid] = int(fields[1])
        with contextlib.suppress(OSError):
            if marker.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


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


def end(groups: dict[int, tuple[int, str | None]], marker: str) -> None:
    """End the process groups (leader: gentle signal, start time) and all that belongs to them."""
    ours = [pid for pid, (_, when) in groups.items() if started(pid) == when]
    everyone = family(ours, marker) - {os.getpid()}
    for pid in ours:
        send(groups[pid][0], {pid}, [])
    # What is paused takes a signal only once it goes on.
    send(signal.SIGCONT, everyone, ours)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(map(alive, everyone)):
        time.sleep(0.02)
    send(signal.SIGKILL, {pid for pid in everyone if alive(pid)}, ours)


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
        if Path(path).is_dir():
            free_shared_memory(Path(path))
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
