"""Takes the record that a worker kept into the folder of the run that it is of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from harness.files import DocumentError, create, read_json
from harness.history.run import RunFolder, open_run

#: Bytes that are compared at once.
_PIECE: Final = 1 << 20


def take_in(run: RunFolder, path: Path) -> list[str]:
    """Copy the histories of a worker's folder into ``run``; return the names of those that were new.

    Of a history that is there in part, the rest is added.

    Raises
    ------
    DocumentError
        There is no such folder, it is another run's, or a history differs from what is there.
    OSError
        It can't be copied.
    """
    kept = open_run(path)
    if read_json(kept.path / "run.json").get("of_run") != run.id:
        raise DocumentError(f"it is no worker's record of run {run.id}", kept.path)
    return [theirs.name for theirs in sorted(kept.history.glob("*.arrow")) if _append(theirs, run.history)]


def _append(theirs: Path, history: Path) -> bool:
    """Add to the file of that name what it lacks; return whether that was anything."""
    ours = history / theirs.name
    with theirs.open("rb") as source, os.fdopen(create(ours, os.O_APPEND), "ab") as sink:
        with ours.open("rb") as there:
            while piece := there.read(_PIECE):
                same = source.read(len(piece))
                if not piece.startswith(same):
                    raise DocumentError(f"it differs from {ours}, which is there already", theirs)
        before = ours.stat().st_size
        shutil.copyfileobj(source, sink)
        return sink.tell() > before
