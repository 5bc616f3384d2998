"""What a master has of the record of a worker that can't see its run folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from harness.files import create
from harness.history import HistoryError, HistoryReader, RunFolder
from harness.history.witnesses import Doubt, witnesses_of
from harness.load.carry import CHUNK_BYTES, CODEC

#: What a worker may send: histories and logs of its own processes.
_FILE: Final = re.compile(r"history/(?P<writer>[a-z]+-\d+)-\d+\.arrow|logs/(?P<log>[a-z]+-\d+)\.log")


class GarbageError(ValueError):
    """What a worker sent is no part of its record; the message says why."""


class Received:
    """What the master has of one worker's files, in the run's folder.

    Parameters
    ----------
    run : the run's folder.
    writers : those who write a history for the worker.
    """

    def __init__(self, run: RunFolder, writers: Collection[str]) -> None:
        self._run = run
        self._writers = writers
        #: Name of a file -> how much of it is there, and how large it is at the worker's, as far as is known.
        self._have: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        #: When anything arrived, in the history's time and that of waiting; None: nothing has.
        self.heard_ns: int | None = None
        self.heard_at = 0.0

    def is_of_this_run(self, data: Mapping[str, Any]) -> bool:
        """Whether a chunk is of this run's record, and not what was left of the run before."""
        return bool(data["run"] == self._run.id)

    def take(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Append a chunk to its file; return the answer to it.

        Raises
        ------
        GarbageError
            It is none.
        OSError
            It can't be written: the worker will send it again.
        """
        name, at, chunk = self._read(data)
        have = self._have.get(name)
        if have is None:
            os.close(create(self._run.path / name, os.O_EXCL))
            have = self._have[name] = 0
        if at <= have < at + len(chunk):
            with (self._run.path / name).open("r+b", buffering=0) as file:
                file.seek(have)
                have += file.write(chunk[have - at :])
            self._have[name] = have
        self.heard_ns, self.heard_at = time.time_ns(), time.monotonic()
        return {"run": self._run.id, "file": name, "have": have}

    def _read(self, data: Mapping[str, Any]) -> tuple[str, int, bytes]:
        try:
            name, at, size, length = data["file"], data["at"], data["size"], data["length"]
            if not ((known := _FILE.fullmatch(name)) and (known["writer"] or known["log"]) in self._writers):
                raise GarbageError(f"{name!a} is no file of its own")
            if not (0 <= at <= size and 0 < length <= CHUNK_BYTES):
                raise GarbageError(f"{length} bytes at {at} of {size} make no chunk")
            chunk = pa.decompress(data["packed"], decompressed_size=length, codec=CODEC, asbytes=True)
        except (KeyError, TypeError, pa.ArrowException, OSError) as error:
            raise GarbageError(f"a chunk of its record can't be read ({type(error).__name__})") from error
        self._sizes[name] = max(size, self._sizes.get(name, 0))
        return name, at, chunk

    def missing(self, sizes: Mapping[str, int], kept: str) -> list[Doubt]:
        """Return what is missing of the histories that the worker closed.

        Parameters
        ----------
        sizes : name -> bytes of each file, as the worker told at its end.
        kept : where the worker keeps them.
        """
        return [doubt for name, size in sizes.items() for doubt in self._short(name, size, kept)]

    def _short(self, name: str, size: int, kept: str) -> Iterator[Doubt]:
        known, have = _FILE.fullmatch(name), self._have.get(name, 0)
        if known is None or (writer := known["writer"]) is None or have >= size:
            return
        reason = (
            f"{size - have:,} of {size:,} bytes of {writer}'s history did not arrive: they are in {kept}, "
            "which `stormwatch report RUN FOLDER` takes in"
        )
        for witness in witnesses_of(writer):
            yield Doubt(witness, reason, writer)

    def lost(self, ended_ns: int) -> str:
        """Say how much is missing, at least, of a worker that left; empty: it sent nothing here."""
        if self.heard_ns is None:
            return ""
        behind = sum(size - self._have.get(name, 0) for name, size in self._sizes.items())
        known = f", and {behind:,} bytes of before are missing" if behind else ""
        return f": nothing of its record came in the last {(ended_ns - self.heard_ns) / 1e9:.1f} s{known}"

    def put_aside(self) -> list[Doubt]:
        """Put files that are no histories out of the way of the others; return what is missing for it."""
        found = []
        for name in [name for name in self._have if name.startswith("history/")]:
            path = self._run.path / name
            try:
                HistoryReader(self._run.history, path.name, mapped=True).look()
            except HistoryError as error:
                aside = self._run.logs / f"{path.name}.damaged"
                path.replace(aside)
                writer = path.stem.rpartition("-")[0]
                reason = f"what {writer} sent is no history, and was put aside as logs/{aside.name}: {error}"
                found += [Doubt(witness, reason) for witness in witnesses_of(writer)]
        return found
