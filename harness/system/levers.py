"""What of a system can be taken hold of to break it: its tables, its locks, faults of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from harness.system.statements import Statements


@dataclass(frozen=True)
class Levers(Statements):
    """What faults take hold of in a system's database, and the faults that only this system can have.

    What is left out, the faults that need it are not there for. Statements have their values as ``$1``.

    Parameters
    ----------
    tables : names of the tables that the system writes.
    items : name of the table of items, one row an item.
    state : name of its column with an item's state.
    tick_lock : key of the advisory lock that ticks run under: ``"7170"``, or of two parts ``"3,-7"``.
    sessions_name_pid : each session's ``application_name`` has the id of its process in it, as a word.
    lock_rows : locks the rows of ``$1`` items at most that are under way (``SELECT ... FOR UPDATE``).
    rows_fell_due : asked in the transaction that holds rows: whether one of them fell due since it began.
    make_due : makes ``$3`` items that fall due together in ``$2`` seconds; their marks begin with ``$1``.
    unmoved : how many of the items whose marks begin with ``$1`` are still as they were made.
    newest : mark of the newest item. What is made bears the prefix of the run that it is of.
    faults : kinds of faults of the system's own, subclasses of :class:`harness.faults.Fault`.
    rollbacks : ways in which a release of the system is taken back, each such a fault: drills practise them.
    """

    tables: tuple[str, ...] = ()
    items: str = ""
    state: str = ""
    tick_lock: str = ""
    sessions_name_pid: bool = False
    lock_rows: str = ""
    rows_fell_due: str = ""
    make_due: str = ""
    unmoved: str = ""
    newest: str = ""
    faults: tuple[type[Any], ...] = ()
    rollbacks: tuple[Any, ...] = ()


@runtime_checkable
class HasLevers(Protocol):
    """More of the system can be broken than its network, its processes and its database as a whole."""

    levers: Levers


def levers_of(system: type) -> Levers:
    """Return the levers of ``system``; those of a system without any are all left out."""
    return system.levers if isinstance(system, HasLevers) else Levers()
