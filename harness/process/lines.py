"""A child that talks with its starter: JSON objects, a line each, over stdin and stdout."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, Self

from harness.process.child import ChildProcess, ProcessSpec


class LineProcess(ChildProcess):
    """A child that ends when its stdin is closed, by its starter's wish or by its starter's death.

    Parameters
    ----------
    spec : how it is run; its log takes stderr.
    on_message : called with each object that it writes to stdout. None: its stdout is thrown away.
    on_end : called once its stdout is closed and it has ended, with its exit code.

    Both are called on a thread of its own (a greenlet where gevent has replaced threads).
    """

    def __init__(
        self,
        spec: ProcessSpec,
        on_message: Callable[[dict[str, Any]], None] | None = None,
        on_end: Callable[[int], None] = lambda code: None,
    ) -> None:
        super().__init__(spec, reaper=None)
        self._on_message = on_message
        self._on_end = on_end
        self._outbox: queue.Queue[bytes | None] = queue.Queue()

    def start(self) -> Self:
        super().start()
        for work in (self._write, self._read):
            threading.Thread(target=work, name=f"{self.name} {work.__name__}", daemon=True).start()
        return self

    def send(self, message: dict[str, Any]) -> None:
        """Send it a message; returns at once."""
        self._outbox.put(json.dumps(message).encode() + b"\n")

    def ask_to_end(self) -> None:
        """Close its stdin once it was sent everything."""
        self._outbox.put(None)

    def _streams(self, log: BinaryIO) -> dict[str, Any]:
        heard = subprocess.DEVNULL if self._on_message is None else subprocess.PIPE
        return {"stdin": subprocess.PIPE, "stdout": heard}

    def _write(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                for line in iter(self._outbox.get, None):
                    stdin.write(line)
                    stdin.flush()
        except OSError:
            return  # it is gone: on_end says so

    def _read(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None and self._on_message is not None:
            with self._process.stdout as stdout:
                for line in stdout:
                    self._on_message(json.loads(line))
        code = self._process.wait()
        self._outbox.put(None)  # nobody reads any more
        self._on_end(code)
