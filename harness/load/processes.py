"""The processes behind a target that run on this machine, so that their resources can be watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from harness.stack import StackError, running_stacks
from harness.stack.toxiproxy import is_part
from harness.target import Target

if TYPE_CHECKING:
    from harness.stack import RemoteStack, Stack


@dataclass(frozen=True)
class WatchedProcesses:
    """The processes of a local stack, our own or one that another process runs; none for a deployment."""

    names: tuple[str, ...] = ()
    #: Name of a service process -> its address.
    services: Mapping[str, str] = field(default_factory=dict)
    #: Logs of the harness's own processes that stand between the others.
    logs: Mapping[str, str] = field(default_factory=dict)
    _pid: Callable[[str], int | None] = lambda _: None

    def processes(self) -> dict[str, int]:
        """Return name -> process id of those that run."""
        found = {}
        for name in self.names:
            try:
                pid = self._pid(name)
            except StackError:
                continue  # the stack is just being ended
            if pid is not None:
                found[name] = pid
        return found

    @classmethod
    def of_own(cls, stack: Stack) -> Self:
        """Return the processes of a stack that this process started."""
        urls = {f"service-{n}": url for n, url in enumerate(stack.service_urls, start=1)}
        logs = {name: str(part.log_path) for name, part in stack.parts.items() if _is_between(name)}
        return cls(tuple(stack.parts), urls, logs, stack.pid)

    @classmethod
    def of_others(cls, target: Target) -> Self:
        """Return the processes of the running stack that ``target`` is, if it is one."""
        for stack in running_stacks():
            if stack.target.service_url == target.service_url:
                return cls._of_remote(stack)
        return cls()

    @classmethod
    def _of_remote(cls, stack: RemoteStack) -> Self:
        urls = {"service-1": stack.target.service_url}
        logs = {name: str(path) for name, path in stack.parts.items() if _is_between(name)}
        return cls(tuple(stack.parts), urls, logs, stack.pid)


def _is_between(name: str) -> bool:
    """Tell whether a process stands between the others: what it drops, the system under test did not drop."""
    return name == "pubnub" or is_part(name)
