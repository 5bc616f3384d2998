"""Free TCP ports that stay free: a block of them, reserved for one stack.

A port from the kernel's ephemeral range (bind to 0, read it back) is not safe here. While a fault keeps
it closed, the kernel may hand it to an outgoing connection: the process can't come back then, or a client
that retries connects to itself. So ports are taken below that range, from a block that an advisory
lock keeps away from other stacks of this user; the kernel frees the lock even after ``kill -9``.
"""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from harness.stack.errors import StackError
from harness.stack.folders import cache_folder

BLOCK: Final = 64
_LOWEST: Final = 10240
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Where the kernel's range begins if it can't be asked: the lowest of the common systems.
_DEFAULT_EPHEMERAL: Final = 32768


class PortBlock:
    """A block of ports of 127.0.0.1 that no other stack takes from, until :meth:`release`.

    Raises
    ------
    StackError
        Every block is reserved.
    """

    def __init__(self) -> None:
        folder = cache_folder("ports")
        starts = list(range(_LOWEST, _end(), BLOCK))
        for start in random.SystemRandom().sample(starts, len(starts)):
            self._lock = FileLock(folder / f"{start}.lock")
            with contextlib.suppress(Timeout):
                self._lock.acquire(blocking=False)
                self._ports = iter(range(start, start + BLOCK))
                return
        raise StackError(
            f"all {len(starts)} blocks of ports are reserved: end some of the stacks that are running"
        )

    def take(self) -> int:
        """Return the next port of the block that nobody listens on.

        Raises
        ------
        StackError
            The block is used up.
        """
        for port in self._ports:
            if is_free(port):
                return port
        raise StackError(f"no free port is left in a block of {BLOCK}: start fewer replicas")

    def release(self) -> None:
        """Let other stacks have the block."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` of 127.0.0.1 now."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _end() -> int:
    first = _DEFAULT_EPHEMERAL
    with contextlib.suppress(OSError, ValueError):
        first = int(_EPHEMERAL.read_text(encoding="utf-8").split()[0])
    # A machine whose ephemeral range takes everything leaves no safe place: use the usual one.
    return first if first > _LOWEST + 32 * BLOCK else _DEFAULT_EPHEMERAL
