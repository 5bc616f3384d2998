"""What the witness of moves can't tell: times finer than it looks, moves in between, when timers fall due."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.run import Run
from harness.judge.clocks import NS
from harness.sla.witnesses import Witness
from harness.system.witness import ApiWitness, PollWitness

if TYPE_CHECKING:
    from harness.judge.evidence import Evidence

#: Kinds of witnesses that look at states now and then.
_LOOKING: Final = frozenset({ApiWitness.kind, PollWitness.kind})


def looks_now_and_then(run: Run) -> bool:
    """Return whether moves may have happened unseen between two looks."""
    return _kind(run) in _LOOKING


def implied(run: Run, witnesses: Iterable[Witness]) -> frozenset[Witness]:
    """Return ``witnesses``, and those in doubt with them: the processes of players may look at items, too."""
    found = frozenset(witnesses)
    api = _kind(run) == ApiWitness.kind and Witness.SUBSCRIBERS in found
    return found | {Witness.DATABASE} if api else found


def _kind(run: Run) -> str | None:
    """Return the kind of the run's witness; None: its record does not tell."""
    witness = (run.system or {}).get("witness")
    kind = witness.get("kind") if isinstance(witness, dict) else None
    return kind if isinstance(kind, str) else None


def blur_ns(moves: pd.DataFrame) -> NDArray[np.int64]:
    """Return by how much the time of each move may be off, in ns: it was seen between two looks."""
    off_s: NDArray[np.float64] = moves["value"].fillna(0).to_numpy(dtype="float64")
    return np.ceil(off_s * NS).astype(np.int64)


def coarsest_ns(moves: pd.DataFrame) -> int:
    """Return by how much the time of any move may be off, in ns."""
    return int(blur_ns(moves).max(initial=0))


def never_due(evidence: Evidence) -> list[str]:
    """Return why nothing can be said of timers that fell due, if so: the witness does not tell when."""
    moved = evidence.transitions
    if moved.empty or len(evidence.overdue) or bool(moved["intended_ns"].notna().any()):
        return []
    return ["the witness does not tell when timers fall due (no due_at)"]


def known_to_ns(evidence: Evidence) -> float:
    """Return up to when all that was heard is of moves that the record has, if they were: Unix ns.

    While a run goes on, what is heard may be of a move that the witness has not read yet. What was heard
    before the last move that it has read was committed before that, too.
    """
    if evidence.run.finished_at is not None:
        return math.inf
    last_ns = evidence.transitions["committed_ns"].max()
    return -math.inf if pd.isna(last_ns) else float(last_ns) - (evidence.database_clock.bound_ns or 0)
