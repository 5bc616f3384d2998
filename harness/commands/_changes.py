"""What the commands share that say what became better or worse: their views and their exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.commands._errors import NoReportError
from harness.files import write_atomically

#: Of what changed, where it is not 0.
EXIT_CODES: Final = {"worse": 1, "can't tell": 3}


def write_view(path: Path | None, text: Callable[[], str]) -> None:
    """Write a view, if it was asked for.

    Raises
    ------
    NoReportError
        It can't be written.
    """
    if path is None:
        return
    try:
        write_atomically(path, text())
    except OSError as error:
        raise NoReportError(f"can't write a view: {error}") from error
