"""Outlives the process that started it just long enough to end what that one left behind.

Run by path, ``python -P reap.py NAME=VALUE``; everything started carries that variable in its environment.
Lines of JSON on stdin say what there is. The end of stdin means that the starter is gone, however it went.
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

import psutil

#: Seconds that a gentle signal has before SIGKILL follows.
GRACE_S = 1.5
#: Seconds that SIGKILL may take: one that writes to a slow disk dies only afterwards.
KILL_LIMIT_S = 10.0
#: Seconds in which nobody must be found: a process that is just being started shows neither its
#: environment nor a parent of ours.
QUIET_S = 0.2
REMOVE_LIMIT_S = 5.0
#: Variable that a reaper carries in its own environment.
REAPER = "STORMWATCH_REAPER"


def family(leaders: set[psutil.Process], marker: str) -> set[psutil.Process]:
    """Return ``leaders``, what carries ``marker`` in its environment, and all their descendants.

    Other reapers are left out: what they watch over may be part of the family, and they end by themselves.
    """
    name, _, value = marker.partition("=")
    if not value:
        raise ValueError(f"{marker!r} would match what is not ours")
    found, reapers, parents = set(leaders), {psutil.Process()}, {}
    for process in psutil.process_iter(["ppid", "environ"]):
        environment = process.info["environ"] or {}
        if environment.get(name) == value:
            found.add(process)
        if REAPER in environment:
            reapers.add(process)
        parents[process] = process.info["ppid"]
    while True:
        pids = {process.pid for process in found}
        more = {process for process, parent in parents.items() if parent in pids} - found
        if not more:
            return found - reapers
        found |= more


def alive(process: psutil.Process) -> bool:
    """Tell whether a process is there and more than a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


class Kin:
    """All that belongs to ``leaders`` or carries the marker."""

    def __init__(self, leaders: set[psutil.Process], marker: str) -> None:
        self._marker = marker
        #: A parent that is gone no longer tells whose children they were.
        self._known = leaders

    def living(self) -> set[psutil.Process]:
        """Look again, and return who is still there."""
        self._known = family({process for process in self._known if process.is_running()}, self._marker)
        return {process for process in self._known if alive(process)}


def send(number: int, processes: set[psutil.Process]) -> None:
    """Send a signal to processes, as far as they are still there."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def end(leaders: dict[psutil.Process, int], marker: str) -> None:
    """End the leaders, by their signals first, and all that belongs to them; return when it is gone."""
    kin = Kin(set(leaders), marker)
    living = kin.living()
    for leader, number in leaders.items():
        send(number, {leader})
    # What is paused takes a signal only once it goes on.
    send(signal.SIGCONT, living)
    _wait(kin, GRACE_S)
    _wait(kin, KILL_LIMIT_S, signal.SIGKILL)


def _wait(kin: Kin, limit_s: float, number: int = 0) -> None:
    """Wait until nobody is left, sending signal ``number`` to who is."""
    now = time.monotonic()
    deadline, quiet_since = now + limit_s, now
    while now < min(deadline, quiet_since + QUIET_S):
        living = kin.living()
        if number:
            send(number, living)
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
    """Free the shared memory of a Postgres that was killed, its data below ``folder``.

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
    leaders: dict[psutil.Process, int] = {}
    paths: set[str] = set()
    clean = False
    for line in sys.stdin:
        message = json.loads(line)
        what = message.get("what")
        match message["do"]:
            case "process":
                with contextlib.suppress(psutil.NoSuchProcess):
                    leaders[psutil.Process(what)] = message["signal"]
            case "path":
                paths.add(what)
            case "forget":
                leaders = {leader: number for leader, number in leaders.items() if leader.pid != what}
                paths.discard(what)
            case "close":
                clean = True
    if not clean:
        end(leaders, sys.argv[1])
    for path in paths:
        remove(Path(path))


if __name__ == "__main__":
    main()
