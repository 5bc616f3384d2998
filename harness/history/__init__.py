"""The record of a run: who did or saw what, when. Nothing here judges.

Names are loaded by whoever takes them: most of what knows a name of a row reads and writes no Arrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harness.history.names import KINDS, Kind
    from harness.history.reader import History, HistoryError, HistoryFile, HistoryReader, read_history
    from harness.history.row import Row
    from harness.history.run import RunFolder, create_run, now_ns, open_run
    from harness.history.schema import SCHEMA
    from harness.history.witnesses import Doubt, Witness
    from harness.history.writer import HistoryWriter

#: Module -> what is taken from it.
_MODULES: Final = {
    "names": ("KINDS", "Kind"),
    "reader": ("History", "HistoryError", "HistoryFile", "HistoryReader", "read_history"),
    "run": ("RunFolder", "create_run", "now_ns", "open_run"),
    "row": ("Row",),
    "schema": ("SCHEMA",),
    "witnesses": ("Doubt", "Witness"),
    "writer": ("HistoryWriter",),
}

__all__ = [
    "KINDS",
    "SCHEMA",
    "Doubt",
    "History",
    "HistoryError",
    "HistoryFile",
    "HistoryReader",
    "HistoryWriter",
    "Kind",
    "Row",
    "RunFolder",
    "Witness",
    "create_run",
    "now_ns",
    "open_run",
    "read_history",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"harness.history.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
