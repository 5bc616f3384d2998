"""SQL of the harness: it stands in ``.sql`` files beside whoever runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$\n", re.MULTILINE)


def statements(folder: Path) -> dict[str, str]:
    """Return the statement of each ``.sql`` file in ``folder``, by the file's name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.sql")}


def named_statements(path: Path) -> dict[str, str]:
    """Return the statements of one file by the names that stand above them: ``-- name: lock_games``."""
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
