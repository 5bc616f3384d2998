"""A worker's files come to the master while they grow, over Locust's own connection.

A worker that can't see the master's run folder writes into one of its own. What is appended there is sent
in chunks, one at a time: the next one goes out when the master has answered how much of the file it has by
now. So neither side holds more than a chunk in memory, a chunk that got lost is sent again, and the worker's
disk is the buffer while the master is away. Bytes of the files, not rows: who appends to them (the load, its
observers) need not know, and what the master has can be read as if it had been written there.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
import pyarrow as pa
from gevent.event import AsyncResult
from locust.exception import RPCError

from harness.history import RunFolder

log = logging.getLogger(__name__)

#: Bytes of a file that are sent at once, before they are compressed.
CHUNK_BYTES: Final = 1 << 20
#: How often it is looked what was appended; how long an answer is waited for before a chunk is sent again.
LOOK_EVERY_S: Final = 0.5
AGAIN_AFTER_S: Final = 5.0
#: How long, at the end, nothing may arrive before it is given up.
GIVE_UP_S: Final = 20.0
CODEC: Final = "zstd"

Send = Callable[[dict[str, Any]], None]


class Carrier:
    """Sends a worker's files to the master, until killed.

    Parameters
    ----------
    run : the worker's own run folder, whose files grow.
    run_id : the id of the master's run.
    send : sends a message to the master.
    """

    def __init__(self, run: RunFolder, run_id: str, send: Send) -> None:
        self.run = run
        self._run_id = run_id
        self._send = send
        #: Name of a file -> how much of it the master has.
        self._there: dict[str, int] = {}
        self._answer: AsyncResult[None] = AsyncResult()
        self._greenlet = gevent.spawn(self._carry)

    def answered(self, data: Mapping[str, Any]) -> None:
        """Take the master's answer: how much of a file it has."""
        if data["run"] != self._run_id:
            return  # to what was left of the run before
        name = data["file"]
        # An answer to a chunk that was sent twice comes late.
        self._there[name] = max(self._there.get(name, 0), data["have"])
        self._answer.set()

    def sizes(self) -> dict[str, int]:
        """Return name -> bytes of each file."""
        found = {}
        for folder in (self.run.history, self.run.logs):
            for path in sorted(folder.iterdir()):
                found[f"{folder.name}/{path.name}"] = path.stat().st_size
        return found

    def finish(self) -> None:
        """Send what is left, as long as anything arrives; remove the folder if the master has all of it."""
        heard_at, before = time.monotonic(), -1
        while (left := self._left()) and time.monotonic() < heard_at + GIVE_UP_S:
            if left != before:
                heard_at, before = time.monotonic(), left
            gevent.sleep(LOOK_EVERY_S / 5)
        self.stop()
        if left:
            log.error("the master lacks %d bytes of this worker's record: %s keeps them", left, self.run.path)
        else:
            shutil.rmtree(self.run.path, ignore_errors=True)

    def stop(self) -> None:
        """Send nothing more."""
        self._greenlet.kill()

    def _left(self) -> int:
        return sum(size - self._there.get(name, 0) for name, size in self.sizes().items())

    def _carry(self) -> None:
        while True:
            for name, size in self.sizes().items():
                while (at := self._there.get(name, 0)) < size:
                    self._send_chunk(name, at, size)
            gevent.sleep(LOOK_EVERY_S)

    def _send_chunk(self, name: str, at: int, size: int) -> None:
        with (self.run.path / name).open("rb", buffering=0) as file:
            file.seek(at)
            chunk = file.read(CHUNK_BYTES)
        packed = pa.compress(chunk, codec=CODEC, asbytes=True)
        self._answer = AsyncResult()
        place = {"run": self._run_id, "file": name, "at": at, "size": size}
        with contextlib.suppress(RPCError):  # it is sent again
            self._send({**place, "length": len(chunk), "packed": packed})
        self._answer.wait(timeout=AGAIN_AFTER_S)
