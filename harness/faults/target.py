"""What faults act on: a stack's processes and addresses, or those of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from harness.faults.errors import MissingPartError
from harness.system import System
from harness.target import Action, Permission, Target


class FaultTarget(Protocol):
    """What faults act on: a stack of ours, one that another process runs, or a :class:`Deployment`."""

    @property
    def system(self) -> type[System]:
        """What is put to the test."""

    @property
    def target(self) -> Target:
        """Its addresses."""

    @property
    def permission(self) -> Permission:
        """What may be done to it."""

    @property
    def parts(self) -> Mapping[str, Any]:
        """The processes that can be harmed, by name."""

    def pid(self, name: str) -> int | None:
        """Return the id of a process, None while it is down."""

    def kill(self, name: str) -> None:
        """End a process by SIGKILL and wait until it is gone."""

    def terminate(self, name: str) -> None:
        """Ask a process to end in order."""

    def pause(self, name: str) -> None:
        """Stop a process in its tracks."""

    def resume(self, name: str) -> None:
        """Let a paused process go on."""

    def restart(self, name: str) -> None:
        """End a process if it runs, start it again, wait until it serves."""


@dataclass(frozen=True)
class Deployment:
    """A system that somebody else runs: it has addresses, but no processes within our reach.

    Parameters
    ----------
    permission : to break it.
    system : what it is.

    Raises
    ------
    ConsentError
        Nobody consented to its being broken.
    """

    permission: Permission
    system: type[System]

    def __post_init__(self) -> None:
        self.permission.require(Action.BREAK)

    @property
    def target(self) -> Target:
        return self.permission.target

    @property
    def parts(self) -> Mapping[str, Any]:
        return {}

    def _refuse(self, name: str) -> NoReturn:
        raise MissingPartError(f"the target is a deployment: it has no process {name!r} within reach")

    pid = kill = terminate = pause = resume = restart = _refuse
