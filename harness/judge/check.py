"""One way in which the measurement could be wrong, and what it puts in doubt."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from harness.documents.rows import CheckRow
from harness.history.witnesses import Witness
from harness.judge.integrity import INTEGRITY
from harness.sla.metrics import METRICS
from harness.sla.witnesses import ALWAYS

#: In doubt when nothing in particular is.
RUN: Final = frozenset({Witness.RUN})


def checked(
    name: str,
    title: str,
    ok: bool,
    measured: float | None,
    unit: str,
    limit: float | None,
    explanation: str,
    doubts: Collection[Witness],
) -> CheckRow:
    """Return what a check found; ``doubts`` are the witnesses that are in doubt when it is not ``ok``."""
    return CheckRow(
        name=name,
        title=title,
        verdict="pass" if ok else "inconclusive",
        measured=None if measured is None or math.isnan(measured) else float(measured),
        unit=unit,
        limit=limit,
        explanation=explanation,
        witnesses=tuple(sorted(doubts)),
        touches=tuple(touched(doubts)),
    )


def touched(witnesses: Collection[Witness]) -> list[str]:
    """Return the metrics and integrity rows that rest on one of ``witnesses``; ``*``: all do."""
    if ALWAYS & set(witnesses):
        return ["*"]
    declared = {name: metric.rests_on for name, metric in METRICS.items()}
    declared |= {name: integrity.rests_on for name, integrity in INTEGRITY.items()}
    return [name for name, rests_on in declared.items() if rests_on & set(witnesses)]
