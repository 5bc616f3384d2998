"""A process of a stack: faults pause, kill and restart it."""

from __future__ import annotations

import contextlib
import signal
from typing import Final, Self

import psutil

from harness.process import ChildProcess
from harness.stack.errors import PortTakenError, StackError

#: How long a process that got SIGKILL may take to vanish before we say so.
_KILL_LIMIT_S: Final = 10.0


class StackProcess(ChildProcess):
    """A child process, most often one that listens on a port; its errors are :class:`StackError`."""

    error = StackError
    _paused = False

    @property
    def endpoint(self) -> str:
        """``host:port`` that it listens on itself, not its proxy; empty: it does not listen."""
        return ":".join(map(str, self.spec.address or ()))

    @property
    def paused(self) -> bool:
        return self._paused

    def start(self) -> Self:
        self._paused = False
        return super().start()

    def is_ready(self) -> bool:
        # Toxiproxy stays when it can't listen; and a stranger on the port might answer for it.
        if "address already in use" in self.tail().lower():
            raise PortTakenError(
                str(self.failure(f"found its port {self.endpoint.rpartition(':')[2]} taken"))
            )
        return super().is_ready()

    def pause(self) -> None:
        """Stop it and all its descendants, as a long garbage collection would, until :meth:`resume`."""
        self._signal_family(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal_family(signal.SIGCONT)
        self._paused = False

    def ask_to_end(self) -> None:
        super().ask_to_end()
        self._go_on()

    def terminate(self) -> None:
        """Ask it to finish what it is at and end; does not wait.

        Raises
        ------
        StackError
            It is not running.
        """
        self.send_signal(self.spec.end_signal)
        self._go_on()

    def kill(self) -> None:
        """End it and all its descendants by SIGKILL, and wait until they are gone.

        Raises
        ------
        StackError
            It is not running, or one of them is not gone after 10 s.
        """
        family = self._signal_family(signal.SIGKILL)
        self.wait()
        self._paused = False
        _, left = psutil.wait_procs(family, timeout=_KILL_LIMIT_S)
        if left:
            raise StackError(f"{self.name} survived SIGKILL for {_KILL_LIMIT_S:g} s (pids {left})")

    def restart(self, grace_s: float, ready_s: float) -> None:
        """End it in order if it runs (after ``grace_s`` by SIGKILL), start it again, wait until it serves.

        Raises
        ------
        StackError
            It does not come up again within ``ready_s``.
        """
        if self.pid is not None:
            self.terminate()
            if not self.wait(grace_s):
                self.kill()
        self.start().wait_until_ready(ready_s)

    def _signal_family(self, number: int) -> list[psutil.Process]:
        """Send a signal to the process and all its descendants, and return them."""
        pid = self.pid
        family = []
        if pid is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader = psutil.Process(pid)
                family = [leader, *leader.children(recursive=True)]
        if not family:
            raise StackError(f"{self.name} is not running")
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        return family

    def _go_on(self) -> None:
        # One that is paused takes a signal only once it goes on.
        if self._paused and self.pid is not None:
            self.resume()
