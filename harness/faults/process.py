"""Processes broken on purpose: any process of a local stack, any replica of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, get_args

import psutil

from harness.faults import Exercised, Fault, FaultError, FaultTarget, MissingPartError, NotExercisedError
from harness.stack.toxiproxy import is_part
from harness.system.processes import Part


@dataclass(frozen=True)
class ProcessFault(Fault):
    """Something done to one process of the stack, by its name (``service-1``, ``postgres``)."""

    place: ClassVar[str] = "process"

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset(part for part in get_args(Part) if part == self.target)

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        # Without Toxiproxy no other fault can be tried, and unlike PubNub the emulator forgets when it ends:
        # what is lost then is our loss. They are for those who name them.
        return [cls(name) for name in on.parts if name != "pubnub" and not is_part(name)]


@dataclass(frozen=True)
class Kill(ProcessFault):
    """Kill a process by SIGKILL, with all its children, and start it again when the fault ends.

    At its end, the process is started again.
    """

    name = "kill"

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return ended(self, on, on.kill)


@dataclass(frozen=True)
class Terminate(ProcessFault):
    """Ask a process to end in order (SIGTERM), and start it again when the fault ends.

    At its end, the process is started again, once it has ended.
    """

    name = "terminate"

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return ended(self, on, on.terminate)


@dataclass(frozen=True)
class Pause(ProcessFault):
    """Stop a process in its tracks (SIGSTOP), as a long garbage collection does, and let it go on afterwards.

    At its end, the process goes on with what it was at.
    """

    name = "pause"

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return paused(self, on)


@contextmanager
def ended(fault: Fault, on: FaultTarget, end: Callable[[str], None]) -> Iterator[Exercised]:
    """End the process that is the fault's target by ``end``, and start it again afterwards."""
    running(fault, on)
    try:
        with fault.named():
            end(fault.target)
        yield lambda: _down(on, fault.target)
    finally:
        with fault.named():
            on.restart(fault.target)


@contextmanager
def paused(fault: Fault, on: FaultTarget) -> Iterator[Exercised]:
    """Stop the process that is the fault's target in its tracks, and let it go on afterwards."""
    pid = running(fault, on)
    try:
        with fault.named():
            on.pause(fault.target)
        yield lambda: _stopped(pid)
    finally:
        # What something else killed meanwhile is not ours to mend.
        if on.pid(fault.target) is not None:
            with fault.named():
                on.resume(fault.target)


def running(fault: Fault, on: FaultTarget) -> int:
    """Return the id of the process that is the fault's target.

    Raises
    ------
    MissingPartError
        The system is a deployment: it has no processes within reach.
    FaultError
        There is no such process.
    NotExercisedError
        It is not running: nothing to be harmed.
    """
    if not on.parts:
        raise MissingPartError(f"{fault}: no process is within reach: the target is a deployment")
    if fault.target not in on.parts:
        raise FaultError(f"{fault}: no process {fault.target!r}; there are {', '.join(on.parts)}")
    pid = on.pid(fault.target)
    if pid is None:
        raise NotExercisedError(f"{fault} was not exercised: {fault.target} is not running")
    return pid


def _down(on: FaultTarget, name: str) -> str | None:
    """Return why a process that was ended is not down; None if it is."""
    pid = on.pid(name)
    return None if pid is None else f"{name} is still running (pid {pid})"


def _stopped(pid: int) -> str | None:
    """Return why a process that was paused is not; None if it is."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return f"process {pid} ended meanwhile"
    return None if status == psutil.STATUS_STOPPED else f"process {pid} is {status}, not stopped"
