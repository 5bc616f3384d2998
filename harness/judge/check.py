"""One way in which the measurement could be wrong, and what it puts in doubt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.documents.rows import CheckRow
from harness.history.witnesses import Witness
from harness.judge.integrity import INTEGRITY
from harness.sla.metrics import METRICS
from harness.sla.witnesses import ALWAYS

#: In doubt when nothing in particular is.
RUN: Final = frozenset({Witness.RUN})


@dataclass(frozen=True)
class Check:
    """One way in which the measurement could be wrong."""

    name: str
    title: str
    ok: bool
    measured: float | None
    unit: str
    limit: float | None
    explanation: str
    #: Witnesses that are in doubt when it is not ok.
    doubts: frozenset[Witness]

    def row(self) -> CheckRow:
        """Return it as a row of report.json."""
        return CheckRow(
            name=self.name,
            title=self.title,
            verdict="pass" if self.ok else "inconclusive",
            measured=None if self.measured is None or np.isnan(self.measured) else float(self.measured),
            unit=self.unit,
            limit=self.limit,
            explanation=self.explanation,
            witnesses=tuple(sorted(self.doubts)),
            touches=tuple(touched(self.doubts)),
        )


def touched(witnesses: Collection[Witness]) -> list[str]:
    """Return the metrics and integrity rows that rest on one of ``witnesses``; ``*``: all do."""
    if ALWAYS & set(witnesses):
        return ["*"]
    declared = {name: metric.rests_on for name, metric in METRICS.items()}
    declared |= {name: integrity.rests_on for name, integrity in INTEGRITY.items()}
    return [name for name, rests_on in declared.items() if rests_on & set(witnesses)]
