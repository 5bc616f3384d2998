"""``live.json`` in a run's folder: written by one process, read by others, which need no pandas for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from harness.files import DocumentError, read_json, write_atomically

SCHEMA: Final = "stormwatch.live/1"
NAME: Final = "live.json"


def write_live(run: Path, document: dict[str, Any]) -> None:
    """Replace the document of the run at ``run``; a reader sees the old one or the new one.

    Raises
    ------
    OSError
        It can't be written.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_atomically(run / NAME, text + "\n")


def read_live(run: Path) -> dict[str, Any] | None:
    """Return the document of the run at ``run``; None if there is none that can be shown."""
    try:
        document = read_json(run / NAME)
    except (OSError, DocumentError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None
