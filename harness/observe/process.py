"""What every observer process is made of: a command line of JSON on stdin, a history, an orderly end.

Whoever starts an observer writes its :class:`Assignment` as the first line, then commands, and reads
reports (JSON lines) from its stdout. An observer ends when it is told to (``{"do": "stop"}``), on
SIGTERM, and when its stdin is closed: a starter that was killed leaves nobody behind. Ctrl-C is the
starter's business.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.history import HistoryWriter
from harness.observe.readings import OwnReadings
from harness.target import Target

log = logging.getLogger(__name__)

#: How often the loop is asked whether it is awake; its worst lateness is written each second.
_LAG_PROBE_S: Final = 0.02
#: A line from the starter: the subscriptions of one game, or an assignment.
_LINE_LIMIT: Final = 1 << 20


@dataclass(frozen=True)
class Assignment:
    """Who an observer is and whom it watches. Travels over a pipe: it holds the target's secrets."""

    name: str
    run_id: str
    history: Path
    target: Target = field(repr=False)
    #: What this kind of observer needs besides.
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_line(self) -> dict[str, Any]:
        """Return it as the first line of an observer's stdin."""
        return {
            "name": self.name,
            "run_id": self.run_id,
            "history": str(self.history),
            "target": self.target.environment(),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Assignment:
        """Read it back."""
        return cls(
            name=line["name"],
            run_id=line["run_id"],
            history=Path(line["history"]),
            target=Target.from_environment(line["target"]),
            settings=line["settings"],
        )


class Observer(ABC):
    """One observer process. A subclass says what is done at the start, on a command and at the end."""

    def __init__(self, assignment: Assignment, history: HistoryWriter, out: asyncio.WriteTransport) -> None:
        self.assignment = assignment
        self.history = history
        self.tasks = asyncio.TaskGroup()
        self._out = out

    @abstractmethod
    async def start(self) -> dict[str, Any]:
        """Begin to observe; what is returned is reported to the starter with ``ready``."""

    @abstractmethod
    async def command(self, command: Mapping[str, Any]) -> None:
        """Do what the starter asks; must not block for long."""

    @abstractmethod
    async def finish(self, *, within_s: float) -> dict[str, Any]:
        """Look once more and stop; what is returned is reported with ``stopped``."""

    def report(self, **message: Any) -> None:
        """Tell the starter something; never waits for it to listen."""
        if not self._out.is_closing():
            self._out.write(json.dumps(message).encode() + b"\n")


def run(kind: type[Observer]) -> None:
    """Be an observer of this kind until told to end."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(kind))
    else:
        uvloop.run(_serve(kind))
    # All is written. Arrow's threads can abort an interpreter that is taken down while they begin.
    sys.stderr.flush()
    os._exit(0)


async def _serve(kind: type[Observer]) -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    loop.add_signal_handler(signal.SIGTERM, stdin.feed_eof)
    first = await stdin.readline()
    if not first:
        return
    assignment = Assignment.from_line(json.loads(first))
    with HistoryWriter(assignment.history, assignment.name, assignment.run_id) as history:
        observer = kind(assignment, history, out)
        async with observer.tasks as tasks:
            own = tasks.create_task(_observe_itself(assignment.name, history))
            observer.report(ready=True, **await observer.start())
            within_s = await _obey(observer, stdin)
            final = await observer.finish(within_s=within_s)
            own.cancel()
        history.flush()
        if history.error is not None:
            final["history_error"] = str(history.error)
        observer.report(stopped=True, **final)
    await _flush(out)


async def _obey(observer: Observer, stdin: asyncio.StreamReader) -> float:
    """Carry out commands until told to stop; return how long the end may take."""
    while line := await stdin.readline():
        command = json.loads(line)
        if command["do"] == "stop":
            return float(command.get("within_s", 0.0))
        await observer.command(command)
    return 0.0


async def _observe_itself(name: str, history: HistoryWriter) -> None:
    readings = OwnReadings(name, history)
    next_row = time.monotonic() + 1.0
    while True:
        asked = time.monotonic()
        await asyncio.sleep(_LAG_PROBE_S)
        now = time.monotonic()
        readings.lagged(now - asked - _LAG_PROBE_S)
        if now >= next_row:
            readings.record()
            next_row = max(next_row + 1.0, now)


async def _flush(out: asyncio.WriteTransport) -> None:
    for _ in range(100):
        if out.is_closing() or out.get_write_buffer_size() == 0:
            return
        await asyncio.sleep(0.01)
