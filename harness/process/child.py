"""A supervised child process: started, waited for, ended, its output in a log file.

Everything blocking goes through ``subprocess``, ``threading`` and ``time``, so that it also works where
gevent has replaced those (Locust).
"""

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
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Self

from harness.files import open_log
from harness.process.errors import ProcessError
from harness.process.reaper import Reaper

if TYPE_CHECKING:
    from pwd import struct_passwd

#: Between two looks at something that is waited for.
POLL_S: Final = 0.02
_TAIL_LINES: Final = 12


@dataclass(frozen=True)
class ProcessSpec:
    """How a process is run."""

    name: str
    #: Program and arguments.
    command: Sequence[str]
    #: File that takes what it writes, appended to.
    log_path: Path
    #: The whole environment, secrets included. None: this process's own.
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    #: Tells whether it serves. Asked again and again while it starts, so it must return soon.
    is_ready: Callable[[], bool] = lambda: True
    #: Host and port that it listens on.
    address: tuple[str, int] | None = None
    #: What to do when it fails.
    way_out: str = "see its log"
    #: The signal that ends it in order.
    end_signal: int = signal.SIGTERM
    #: The signal that ends it when its data are thrown away anyway.
    stop_signal: int = signal.SIGTERM
    #: Where it runs. None: where this process does.
    folder: Path | None = None
    #: Who runs it, which only root can choose. None: this process's user.
    user: struct_passwd | None = None


class ChildProcess:
    """A process in a session of its own: Ctrl-C at a terminal does not reach it.

    Leaving a ``with`` kills it.

    Parameters
    ----------
    spec : how it is run.
    reaper : ends it should this process be killed. None: it ends by itself then.
    """

    #: What its errors are raised as.
    error: ClassVar[type[ProcessError]] = ProcessError

    def __init__(self, spec: ProcessSpec, reaper: Reaper | None) -> None:
        self.spec = spec
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def log_path(self) -> Path:
        return self.spec.log_path

    @property
    def pid(self) -> int | None:
        """Process id, None while it is down."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of its last run (negative: the signal that ended it), None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> Self:
        """Start it, without waiting until it serves.

        Raises
        ------
        ProcessError
            It runs already, or can't be run at all.
        """
        if self.pid is not None:
            raise self.error(f"{self.name} is running already (pid {self.pid})")
        spec = self.spec
        environment = dict(os.environ if spec.environment is None else spec.environment)
        try:
            with open_log(spec.log_path) as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    spec.command,
                    env=environment | (self._reaper.environment if self._reaper else {}),
                    stderr=log,
                    start_new_session=True,
                    cwd=spec.folder,
                    **self._streams(log),
                    **run_as(spec.user),
                )
        except OSError as error:
            raise self.error(f"{self.name} can't be started: {error}; {spec.way_out}") from error
        if self._reaper:
            self._reaper.watch_process(self._process.pid, spec.stop_signal)
        return self

    def is_ready(self) -> bool:
        """Tell whether it serves by now.

        Raises
        ------
        ProcessError
            It ended instead; the message has the end of its log.
        """
        if self.exit_code is not None:
            raise self.failure(f"ended at once ({_how(self.exit_code)})")
        return self.pid is not None and self.spec.is_ready()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until it serves; see :func:`wait_until_ready`."""
        wait_until_ready([self], timeout_s)

    def send_signal(self, number: int) -> None:
        """Send it a signal.

        Raises
        ------
        ProcessError
            It is not running.
        """
        if self._process is None or self.pid is None:
            raise self.error(f"{self.name} is not running")
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def ask_to_end(self) -> None:
        """Ask it to end; its data are not needed any more. Nothing happens if it is down."""
        if self._process is not None and self.pid is not None:
            self._process.send_signal(self.spec.stop_signal)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end, at most ``timeout_s``; tell whether it came."""
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
            if self._reaper:
                self._reaper.forget(self._process.pid)
        return True

    def stop(self, grace_s: float) -> bool:
        """Ask it to end, and kill it after ``grace_s``; tell whether it ended in order."""
        return stop_all([self], grace_s)

    def kill(self) -> None:
        """End it and its process group by SIGKILL, and wait until it is gone."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.wait()

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the end of its log since its last start."""
        try:
            with self.spec.log_path.open("rb") as log:
                log.seek(self._log_start)
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def failure(self, what: str) -> ProcessError:
        """Return the error that says ``what`` happened to it, what to do, and the end of its log."""
        shown = "\n".join(f"    {line}" for line in self.tail().splitlines())
        log = f"the end of {self.spec.log_path.name}:\n{shown}" if shown else "it wrote no log"
        return self.error(f"{self.name} {what}; {self.spec.way_out}\n{log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _streams(self, log: BinaryIO) -> dict[str, Any]:
        return {"stdin": subprocess.DEVNULL, "stdout": log}


def wait_until_ready(processes: Iterable[ChildProcess], timeout_s: float) -> None:
    """Wait until every one of ``processes`` serves, all looked at in turn.

    Raises
    ------
    ProcessError
        One ended, or is not ready in time; the message has the end of its log and what to do.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(processes)
    while waiting := [process for process in waiting if not process.is_ready()]:
        if time.monotonic() > deadline:
            raise waiting[0].failure(f"was not ready within {timeout_s:g} s")
        time.sleep(POLL_S)


def stop_all(processes: Iterable[ChildProcess], grace_s: float) -> bool:
    """Ask all to end at once, and kill those left after ``grace_s``; tell whether none was left."""
    asked = list(processes)
    for process in asked:
        process.ask_to_end()
    deadline = time.monotonic() + grace_s
    late = [process for process in asked if not process.wait(max(0.0, deadline - time.monotonic()))]
    for process in late:
        if process.pid is not None:
            process.kill()
    return not late


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


def run_as(user: struct_passwd | None) -> dict[str, Any]:
    """Return the arguments of ``subprocess`` that run a program as ``user`` (None: as this process's)."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
