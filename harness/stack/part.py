"""One supervised process of a stack: started, made sure of, paused, killed, restarted, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from harness.files import open_log
from harness.stack.errors import PortTakenError, StackError
from harness.stack.reaper import Reaper

if TYPE_CHECKING:
    from pwd import struct_passwd

#: Between two looks at something that is waited for.
_POLL_S: Final = 0.02
#: How long a process that got SIGKILL may take to vanish before we say so.
_KILL_LIMIT_S: Final = 10.0
_TAIL_LINES: Final = 12


@dataclass(frozen=True)
class Plan:
    """How a part is run."""

    name: str
    #: Program and arguments, the port among them.
    command: Sequence[str]
    #: Host and port that it listens on.
    address: tuple[str, int]
    log_path: Path
    #: Tells whether it serves; asked again and again while it starts, must not wait long.
    is_ready: Callable[[], bool]
    #: The whole environment. Holds secrets.
    environment: Mapping[str, str] = field(repr=False)
    #: What whoever sees it fail can do.
    way_out: str = ""
    #: The signal that asks it to end in order, finishing what it is at.
    end_signal: int = signal.SIGTERM
    #: The signal that ends it when all that it knows is thrown away anyway.
    stop_signal: int = signal.SIGTERM
    #: Where it runs; its modules are found from there.
    folder: Path = Path("/")
    #: Only root can run it as somebody else.
    user: struct_passwd | None = None


class Part:
    """A process in a process group of its own, its output in a log file, known to the reaper."""

    def __init__(self, plan: Plan, reaper: Reaper) -> None:
        self.plan = plan
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._paused = False
        self._forgotten = False

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def log_path(self) -> Path:
        return self.plan.log_path

    @property
    def endpoint(self) -> str:
        """``host:port`` that it listens on itself, not its proxy."""
        host, port = self.plan.address
        return f"{host}:{port}"

    @property
    def pid(self) -> int | None:
        """Its process id, None while it is down."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def paused(self) -> bool:
        return self._paused

    def start(self) -> None:
        """Start the process; see :meth:`wait` for when it serves.

        Raises
        ------
        StackError
            It can't be run at all.
        """
        if self.pid is not None:
            raise StackError(f"{self.name} is running already (pid {self.pid})")
        plan = self.plan
        try:
            with open_log(plan.log_path) as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    plan.command,
                    env={**plan.environment, **self._reaper.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    cwd=plan.folder,
                    user=plan.user.pw_uid if plan.user else None,
                    group=plan.user.pw_gid if plan.user else None,
                    extra_groups=[] if plan.user else None,
                )
        except OSError as error:
            raise StackError(f"{self.name} can't be started: {error}; {plan.way_out}") from error
        self._forgotten = self._paused = False
        self._reaper.watch_group(self._process.pid, plan.stop_signal)

    def is_ready(self) -> bool:
        """Tell whether it serves by now.

        Raises
        ------
        StackError
            It ended instead, or somebody else has its port; the message has the end of its log.
        """
        if self._process is None:
            raise StackError(f"{self.name} was not started")
        code = self._process.poll()
        if code is not None:
            self._reaped()
        # Toxiproxy stays when it can't listen; and a stranger on the port might answer for it.
        if "address already in use" in self.tail().lower():
            raise PortTakenError(self._story(f"found its port {self.plan.address[1]} taken"))
        if code is not None:
            raise StackError(self._story(f"ended at once ({_how(code)})"))
        return self.plan.is_ready()

    def wait(self, timeout_s: float) -> None:
        """Wait until it serves.

        Raises
        ------
        StackError
            It ended, or is not ready in time; the message has the end of its log and what to do.
        """
        wait_for([self], timeout_s)

    def send(self, number: int) -> int:
        """Send a signal to the process and all its descendants; return to how many.

        Raises
        ------
        StackError
            It is not running.
        """
        family = self._family()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        return len(family)

    def pause(self) -> None:
        """Stop the process in its tracks, as a long garbage collection would, until :meth:`resume`."""
        self.send(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)
        self._paused = False

    def terminate(self) -> None:
        """Ask it to end in order; does not wait.

        Raises
        ------
        StackError
            It is not running.
        """
        self._ask(self.plan.end_signal)

    def kill(self) -> None:
        """End the process and all its descendants by SIGKILL and wait until they are gone."""
        family = self._family()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._reaped()
        _, left = psutil.wait_procs(family, timeout=_KILL_LIMIT_S)
        if left:
            raise StackError(f"{self.name} survived SIGKILL for {_KILL_LIMIT_S:g} s (pids {left})")

    def stop(self, grace_s: float) -> None:
        """End the process, after ``grace_s`` by SIGKILL; nothing happens if it is down."""
        stop_all([self], grace_s)

    def restart(self, grace_s: float, ready_s: float) -> None:
        """End it in order if it runs (after ``grace_s`` by SIGKILL), start it again, wait until it serves.

        Raises
        ------
        StackError
            It does not come up again within ``ready_s``.
        """
        if self.pid is not None:
            self.terminate()
            if not self.has_ended(grace_s):
                self.kill()
        self.start()
        self.wait(ready_s)

    def has_ended(self, timeout_s: float) -> bool:
        """Wait for its end, at most ``timeout_s``; tell whether it came."""
        deadline = time.monotonic() + timeout_s
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        self._reaped()
        return True

    def tail(self) -> str:
        """Return the end of the log since its last start."""
        try:
            with self.plan.log_path.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").rstrip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    def failure(self, timeout_s: float) -> StackError:
        """Return what to say of a part that is not ready in time."""
        return StackError(self._story(f"was not ready within {timeout_s:g} s"))

    def _ask(self, number: int) -> None:
        pid = self.pid
        if pid is None:
            raise StackError(f"{self.name} is not running")
        # One that is paused takes a signal only once it goes on.
        os.kill(pid, number)
        if self._paused:
            self.resume()

    def _family(self) -> list[psutil.Process]:
        pid = self.pid
        if pid is None:
            raise StackError(f"{self.name} is not running")
        try:
            process = psutil.Process(pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise StackError(f"{self.name} is not running") from None

    def _reaped(self) -> None:
        if self._process is not None and not self._forgotten:
            self._process.wait()
            self._reaper.forget(self._process.pid)
            self._forgotten = True
        self._paused = False

    def _story(self, what: str) -> str:
        tail = self.tail()
        shown = "\n".join(f"    {line}" for line in tail.splitlines())
        log = f"the end of {self.plan.log_path.name}:\n{shown}" if tail else "it wrote no log"
        return f"{self.name} {what}; {self.plan.way_out or 'see its log'}\n{log}"


def wait_for(parts: Iterable[Part], timeout_s: float) -> None:
    """Wait until every one of ``parts`` serves, all looked at in turn.

    Raises
    ------
    StackError
        One ended, or is not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(parts)
    while waiting := [part for part in waiting if not part.is_ready()]:
        if time.monotonic() > deadline:
            raise waiting[0].failure(timeout_s)
        time.sleep(_POLL_S)


def answers_http(port: int, path: str, timeout_s: float = 1.0) -> bool:
    """Tell whether a server on 127.0.0.1 answers a GET at all, with whatever status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def stop_all(parts: Iterable[Part], grace_s: float) -> None:
    """End all of ``parts`` at once, those that are left after ``grace_s`` by SIGKILL."""
    asked = []
    for part in parts:
        with contextlib.suppress(StackError, ProcessLookupError):  # it went by itself
            part._ask(part.plan.stop_signal)
        asked.append(part)
    deadline = time.monotonic() + grace_s
    for part in asked:
        if not part.has_ended(max(0.0, deadline - time.monotonic())):
            part.kill()


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
