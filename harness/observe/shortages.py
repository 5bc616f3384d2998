"""Records what processes of the harness run out of, so that nobody else is blamed for it."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.history import Row, now_ns
from harness.history.names import Reading, Shortage

#: How Go, libuv and Python word it.
_WORDS: Final = {
    what: re.compile(words, re.IGNORECASE)
    for what, words in (
        (Shortage.FILES, rb"too many open files|out of system resource"),
        (Shortage.PORTS, rb"cannot assign requested address|address not available"),
        (Shortage.MEMORY, rb"cannot allocate memory|no buffer space available|out of memory"),
    )
}


def shortage(actor: str, what: str, times: int = 1) -> Row:
    """Return the row that says that ``actor`` was ``what``, so often since its last such row."""
    return Row("resource", Reading.SHORTAGE, actor, start_ns=now_ns(), ok=False, error=what, value=times)


def is_out_of_files(error: OSError) -> bool:
    """Tell whether a call failed for want of descriptors."""
    return error.errno in {errno.EMFILE, errno.ENFILE}


def may_open_more(open_files: float) -> bool:
    """Tell whether this process has descriptors left, having ``open_files``."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or open_files < limit - 1


class LogOfShortages:
    """Reads what a part's log says that it ran out of, from when this was made.

    Parameters
    ----------
    actor : the part.
    path : its log; may not be there yet.
    """

    def __init__(self, actor: str, path: Path) -> None:
        self._actor = actor
        self._path = path
        self._read = path.stat().st_size if path.exists() else 0

    def rows(self) -> Iterator[Row]:
        """Yield a row for each thing that it ran out of since the last call."""
        try:
            with self._path.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(self._read)
                text = log.read(size - self._read)
        except OSError:
            return  # the next look reads on from here
        whole = text.rfind(b"\n") + 1
        self._read += whole
        for what, words in _WORDS.items():
            if times := len(words.findall(text, 0, whole)):
                yield shortage(self._actor, what, times)
