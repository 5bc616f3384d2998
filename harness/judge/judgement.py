"""The one judge: every check, objective and integrity rule, judged once on the evidence of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from harness.documents.rows import CheckRow, DriftRow, IntegrityRow, ObjectiveRow
from harness.judge.drift import drift_row
from harness.judge.evidence import Evidence
from harness.judge.integrity import INTEGRITY
from harness.judge.measurement import MEASUREMENT
from harness.judge.record import complete_run
from harness.judge.rows import check_row, integrity_row, objective_row
from harness.judge.samples import Samples
from harness.sla.policy import Objective

#: Kinds of rows that are stamped by the database's clock, some of them or all.
_BY_DATABASE: Final = pa.array(["transition", "trigger", "publish", "timer"])


@dataclass(frozen=True)
class Judgement:
    """What the load of a run comes to. Faults are judged apart: only the end of their time shows."""

    #: What was looked at.
    evidence: Evidence
    #: Whether there was, or should have been, a load to judge.
    loaded: bool
    checks: tuple[CheckRow, ...]
    objectives: tuple[ObjectiveRow, ...]
    integrity: tuple[IntegrityRow, ...]
    #: Of the record as a whole only: it is about how a run goes on.
    drift: tuple[DriftRow, ...]
    #: Metric -> the samples that its objectives were judged by.
    samples: Mapping[str, Samples]


def judge(evidence: Evidence, *, as_of: int | None = None) -> Judgement:
    """Judge a run by its policy.

    Parameters
    ----------
    as_of : judge it as if it had ended then (Unix ns on our clock); None: the record is whole.
    """
    evidence = evidence if as_of is None else _as_if_ended(evidence, as_of)
    # Failure scenarios alone: there is no load to judge, and of the run only whether it came to its end.
    loaded = evidence.run.expects_load or evidence.table.num_rows > 0
    checks = tuple(check_row(check, evidence) for check in (MEASUREMENT if loaded else [complete_run]))
    judged = [
        objective_row(name, objective, evidence, checks)
        for name, objective in evidence.policy.objectives.items()
        if _applies(objective, evidence, loaded=loaded)
    ]
    return Judgement(
        evidence,
        loaded,
        checks,
        objectives=tuple(row for row, _ in judged),
        integrity=tuple(integrity_row(name, evidence, checks) for name in INTEGRITY if loaded),
        drift=tuple(
            drift_row(name, drift, evidence, checks)
            for name, drift in evidence.policy.drift.items()
            if loaded and as_of is None
        ),
        samples={row.metric: samples for row, samples in judged if samples is not None},
    )


def _applies(objective: Objective, evidence: Evidence, *, loaded: bool) -> bool:
    """Return whether an objective is one of this run: of its profile, and of what was run."""
    if not objective.applies_to(evidence.run.profile):
        return False
    # A load run alone has no scenarios to pass; the main job has, and says so in run.json.
    if objective.metric != "scenarios_passed":
        return loaded
    return bool(evidence.scenarios) or evidence.run.expects_scenarios


def _as_if_ended(evidence: Evidence, to_ns: int) -> Evidence:
    """Return the evidence up to a moment: without rows of later, and with windows that end there.

    Rows that are stamped by the database's clock stay: it may be another, and whoever looks for them looks
    at the windows.
    """
    windows = tuple(
        window.model_copy(update={"end_ns": min(window.end_ns or to_ns, to_ns)})
        for window in evidence.run.windows or ()
        if window.start_ns < to_ns
    )
    table = evidence.table
    at = pc.coalesce(table["end_ns"], table["start_ns"], table["intended_ns"])
    late = pc.fill_null(pc.greater(at, to_ns), fill_value=False)
    if pc.any(late).as_py():
        theirs = pc.is_in(table["kind"].cast(pa.string()), value_set=_BY_DATABASE)
        table = table.filter(pc.or_(theirs, pc.invert(late))).combine_chunks()
    return evidence.unseen(table=table, run=evidence.run.model_copy(update={"windows": windows}))
