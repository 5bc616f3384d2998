"""The record of a run: who did or saw what, when. Nothing here judges."""

from harness.history.names import KINDS, Kind
from harness.history.reader import History, HistoryError, HistoryFile, HistoryReader, read_history
from harness.history.run import RunFolder, create_run, now_ns, open_run
from harness.history.schema import SCHEMA, Row
from harness.history.witnesses import Doubt, Witness
from harness.history.writer import HistoryWriter

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
