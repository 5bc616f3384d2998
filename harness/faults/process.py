"""Processes broken on purpose: any process of a local stack, any replica of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import psutil

from harness.faults import Exercised, Fault, FaultError, MissingPartError, NotExercisedError, System


@dataclass(frozen=True)
class ProcessFault(Fault):
    """Something done to one process of the stack, by its name (``service-1``, ``postgres``)."""

    place: ClassVar[str] = "process"

    #: Without Toxiproxy no other fault can be tried, and unlike PubNub the emulator forgets when it ends:
    #: what is lost then is our loss. They are for those who name them.
    NOT_AT_RANDOM: ClassVar[frozenset[str]] = frozenset({"toxiproxy", "pubnub"})

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        return [cls(name) for name in system.parts if name not in cls.NOT_AT_RANDOM]


@dataclass(frozen=True)
class Kill(ProcessFault):
    """Kill a process by SIGKILL, with all its children, and start it again when the fault ends.

    At its end, the process is started again.
    """

    name = "kill"

    def applied(self, system: System) -> AbstractContextManager[Exercised]:
        return ended(self, system, system.kill)


@dataclass(frozen=True)
class Terminate(ProcessFault):
    """Ask a process to end in order (SIGTERM), and start it again when the fault ends.

    At its end, the process is started again, once it has ended.
    """

    name = "terminate"

    def applied(self, system: System) -> AbstractContextManager[Exercised]:
        return ended(self, system, system.terminate)


@dataclass(frozen=True)
class Pause(ProcessFault):
    """Stop a process in its tracks (SIGSTOP), as a long garbage collection does, and let it go on afterwards.

    At its end, the process goes on with what it was at.
    """

    name = "pause"

    def applied(self, system: System) -> AbstractContextManager[Exercised]:
        return paused(self, system)


@contextmanager
def ended(fault: Fault, system: System, end: Callable[[str], None]) -> Iterator[Exercised]:
    """End the process that is the fault's target by ``end``, and start it again afterwards."""
    running(fault, system)
    try:
        with fault.named():
            end(fault.target)
        yield lambda: _down(system, fault.target)
    finally:
        with fault.named():
            system.restart(fault.target)


@contextmanager
def paused(fault: Fault, system: System) -> Iterator[Exercised]:
    """Stop the process that is the fault's target in its tracks, and let it go on afterwards."""
    pid = running(fault, system)
    try:
        with fault.named():
            system.pause(fault.target)
        yield lambda: _stopped(pid)
    finally:
        # What something else killed meanwhile is not ours to mend.
        if system.pid(fault.target) is not None:
            with fault.named():
                system.resume(fault.target)


def running(fault: Fault, system: System) -> int:
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
    if not system.parts:
        raise MissingPartError(f"{fault}: no process is within reach: the target is a deployment")
    if fault.target not in system.parts:
        raise FaultError(f"{fault}: no process {fault.target!r}; there are {', '.join(system.parts)}")
    pid = system.pid(fault.target)
    if pid is None:
        raise NotExercisedError(f"{fault} was not exercised: {fault.target} is not running")
    return pid


def _down(system: System, name: str) -> str | None:
    """Return why a process that was ended is not down; None if it is."""
    pid = system.pid(name)
    return None if pid is None else f"{name} is still running (pid {pid})"


def _stopped(pid: int) -> str | None:
    """Return why a process that was paused is not; None if it is."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return f"process {pid} ended meanwhile"
    return None if status == psutil.STATUS_STOPPED else f"process {pid} is {status}, not stopped"
