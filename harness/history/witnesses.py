"""Who can tell what happened in a run, and the doubts about them: typed, and kept in ``run.json``.

Whoever drives, breaks or observes says what it could not see, and judges nothing::

    folder.doubt(Doubt(Witness.DATABASE, "the database could not be read at the end: timeout"))
    folder.doubt(*doubts(f"worker {name} left without closing its record", *WORKER))
    folder.doubt(*doubts_about("observer-3", "observer-3 ran out of open files"))   # by the process's name
    folder.doubt(Doubt(Witness.PATHS, "toxiproxy-server ran out of open files (1,024)"))

A process that keeps its own list (``list[Doubt]``) writes it with :meth:`Doubt.entry` and reads it with
:func:`read_doubts`. Which objectives and integrity rows a doubt makes inconclusive follows from what those
declare that they rest on (``harness/judge``); ``Witness.RUN`` is in all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from harness.history import names
from harness.history.names import Writer
from harness.sla.witnesses import Witness

__all__ = ["WORKER", "Doubt", "Witness", "doubts", "doubts_about", "read_doubts", "witnesses_of"]

#: What a worker's processes record: its players' and its subscribers' rows.
WORKER: Final = (Witness.PLAYERS, Witness.SUBSCRIBERS)

#: Writer of a history file (a pattern) -> what its rows are. Any other: the run as a whole.
_RECORDS: Final = (
    (re.compile(Writer.CRON), (Witness.CRON,)),
    (re.compile(f"{Writer.LOAD}|{names.WORKER.pattern}"), (Witness.PLAYERS,)),
    (names.OBSERVER, (Witness.SUBSCRIBERS,)),
    (re.compile(Writer.WATCH), (Witness.DATABASE, Witness.HEALTH)),
    # Not writers: processes of ours that stand between the others.
    (re.compile(r"toxiproxy(-\d+)?|pubnub"), (Witness.PATHS,)),
)


@dataclass(frozen=True)
class Doubt:
    """A witness that is missing, or can't be trusted, and why: one sentence that names the thing."""

    witness: Witness
    reason: str
    #: The doubt holds until this writer's whole history is in the run's folder; empty: whatever is there.
    writer: str = ""

    def entry(self) -> dict[str, str]:
        """Return it as it stands in ``run.json`` and travels between processes."""
        until = {"writer": self.writer} if self.writer else {}
        return {"witness": self.witness.value, "reason": self.reason, **until}


def doubts(reason: str, *witnesses: Witness) -> list[Doubt]:
    """Return the same doubt about each of ``witnesses``."""
    return [Doubt(witness, reason) for witness in witnesses]


def witnesses_of(writer: str) -> tuple[Witness, ...]:
    """Return what the history file of ``writer`` (``load-2``, ``observer-1``, ``cron``) is the record of."""
    return next((found for name, found in _RECORDS if name.fullmatch(writer)), (Witness.RUN,))


def doubts_about(writer: str, reason: str) -> list[Doubt]:
    """Return the doubts about the rows of the process that writes the history of this name."""
    return doubts(reason, *witnesses_of(writer))


def read_doubts(entries: Any) -> list[Doubt]:
    """Read what :meth:`Doubt.entry` made; whatever is not of that shape doubts the whole run."""
    return [_read(entry) for entry in entries or ()]


def _read(entry: Any) -> Doubt:
    if isinstance(entry, dict) and entry.get("witness") in set(Witness):
        return Doubt(Witness(entry["witness"]), str(entry.get("reason")), str(entry.get("writer", "")))
    reason = entry.get("reason", entry) if isinstance(entry, dict) else entry
    return Doubt(Witness.RUN, str(reason))
