"""``live.json`` in a run's folder: written by one process, read by others, which need no pandas for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.documents.base import parse_document
from harness.documents.live import Live
from harness.files import DocumentError, read_json, write_atomically

NAME: Final = "live.json"


def write_live(run: Path, document: Live) -> None:
    """Replace the document of the run at ``run``; a reader sees the old one or the new one.

    Raises
    ------
    OSError
        It can't be written.
    """
    write_atomically(run / NAME, document.model_dump_json() + "\n")


def read_live(run: Path) -> Live | None:
    """Return the document of the run at ``run``; None if there is none that can be shown."""
    path = run / NAME
    try:
        return parse_document(read_json(path), Live, path)
    except (OSError, DocumentError):
        return None
