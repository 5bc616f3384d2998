"""The rows of a report: each objective, integrity rule and check, judged on the evidence.

A check that crashes makes its row inconclusive, and says so; it costs no other row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.documents.rows import Ceiling, CheckRow, IntegrityRow, ObjectiveRow
from harness.history.witnesses import Witness
from harness.judge.check import RUN, checked
from harness.judge.declared import without
from harness.judge.evidence import Evidence
from harness.judge.findings import guarded
from harness.judge.integrity import INTEGRITY
from harness.judge.metrics import METRICS
from harness.judge.samples import Census, Samples
from harness.sla import statistics
from harness.sla.metrics import METRICS as DECLARED
from harness.sla.policy import Objective
from harness.sla.units import format_limited, format_quantity

# --- measurement ---------------------------------------------------------------------------------------


def check_row(check: Callable[[Evidence], CheckRow], evidence: Evidence) -> CheckRow:
    """Return what a check of the measurement comes to."""
    title = (check.__doc__ or check.__name__).partition("\n")[0]

    def unknown(why: str) -> CheckRow:
        return checked(check.__name__, title, False, None, "", None, why, RUN)

    return guarded(lambda: check(evidence), unknown)


def doubts_of(checks: Iterable[CheckRow], name: str) -> list[str]:
    """Return what the checks that are no pass say against a metric or an integrity row."""
    return [
        f"“{check.title}” does not hold: {format_limited(check.measured, check.unit, check.limit)}. "
        f"{check.explanation}"
        for check in checks
        if check.verdict != "pass" and check.doubts(name)
    ]


# --- objectives ----------------------------------------------------------------------------------------


def objective_row(
    name: str, objective: Objective, evidence: Evidence, checks: Sequence[CheckRow]
) -> tuple[ObjectiveRow, Samples | None]:
    """Return the row of an objective, and the samples that it was judged by."""
    row = ObjectiveRow(
        name=name,
        title=objective.title,
        metric=objective.metric,
        kind=objective.kind,
        quantile=objective.quantile,
        unit=objective.unit,
        comparison=objective.comparison,
        threshold=scaled(objective.threshold, objective.unit),
        source=objective.source,
        confidence=evidence.policy.confidence_of(objective),
        assumed_icc=objective.assumed_icc if objective.kind == "rate" else None,
        absent=without(DECLARED[objective.metric].rests_on, evidence.absent)
        or evidence.policy.left_out(name, evidence.run.profile),
    )
    if row.absent:
        return row, None

    def measured() -> tuple[ObjectiveRow, Samples | None]:
        found = METRICS[objective.metric](evidence)
        if isinstance(found, Census):
            return _counted(row, found), None
        return _estimated(row, objective, found), found

    judged, samples = guarded(measured, lambda why: (row.model_copy(update={"doubts": (why,)}), None))
    doubts = (*judged.doubts, *doubts_of(checks, objective.metric))
    return judged.model_copy(update={"doubts": doubts}), samples


def _counted(row: ObjectiveRow, census: Census) -> ObjectiveRow:
    found: dict[str, Any] = {
        "doubts": tuple(census.doubts),
        "samples": census.total,
        "clusters": census.total,
        "effective_samples": float(census.total),
        "worst": tuple(census.worst),
        "explanation": census.definition,
    }
    if census.total:
        share = 100 * census.good / census.total
        # No sampling error: the ends differ only by what is undecided.
        found |= {
            "measured": share,
            "interval": (share, 100 * (census.good + census.undecided) / census.total),
        }
    return row.model_copy(update=found)


def _estimated(row: ObjectiveRow, objective: Objective, samples: Samples) -> ObjectiveRow:
    notes = [f"{note[0].upper()}{note[1:]}." for note in samples.notes]
    row = row.model_copy(
        update={
            "doubts": tuple(samples.doubts),
            "samples": len(samples.values),
            "worst": tuple(samples.worst),
            "explanation": " ".join([samples.definition, *notes]),
        }
    )
    if not len(samples.values):
        if samples.absent:
            return row.model_copy(update={"absent": samples.absent})
        return row.model_copy(update={"doubts": (*row.doubts, "nothing was measured in the steady state")})
    by = _by_quantile if objective.quantile is not None else _by_rate
    estimate, row, needed = by(row, objective, samples)
    low = 0.0 if estimate.low == -math.inf else estimate.low
    low, measured, high = (scaled(value, row.unit) for value in (low, estimate.measured, estimate.high))
    row = row.model_copy(
        update={
            "measured": measured,
            "interval": (low, high),
            "clusters": estimate.clusters,
            "effective_samples": round(estimate.effective, 1),
            "design_effect": round(estimate.design_effect, 3),
        }
    )
    return _explained(row, estimate, samples, needed)


def _explained(
    row: ObjectiveRow, estimate: statistics.Estimate, samples: Samples, needed: float | None
) -> ObjectiveRow:
    found: dict[str, Any] = {}
    if needed is not None and row.model_copy(update={"doubts": ()}).verdict == "inconclusive":
        total = math.ceil(needed * estimate.samples / estimate.effective)
        found["samples_needed"] = total if total > estimate.samples else None
    if estimate.clusters < estimate.samples:
        found["explanation"] = (
            f"{row.explanation} The {estimate.samples} samples come in {estimate.clusters} {samples.cluster} "
            f"and are worth {estimate.effective:.0f} independent ones."
        )
    return row.model_copy(update=found)


_Judged = tuple[statistics.Estimate, ObjectiveRow, float | None]


def _by_quantile(row: ObjectiveRow, objective: Objective, samples: Samples) -> _Judged:
    assert objective.quantile is not None
    assert row.confidence is not None
    values = samples.values.astype(np.float64)
    found: dict[str, Any] = {
        "clock_error": samples.clock_error_s,
        "resolution": samples.resolution_s,
        "lag_error": samples.lag_error_s,
    }
    if samples.lag_error_s:
        found["explanation"] = (
            f"{row.explanation} Lag of the harness may have added up to "
            f"{format_quantity(samples.lag_error_s, 's')} (the worst of a second, in 99 % of them), and took "
            "none away: a fail must be one without it too."
        )
    if objective.ceiling is not None:
        elapsed = values if samples.elapsed is None else samples.elapsed
        found["ceiling"] = Ceiling(
            threshold=objective.ceiling,
            violations=int(np.count_nonzero(elapsed - samples.lag_error_s > objective.ceiling)),
            measured=float(elapsed.max()) if len(elapsed) else None,
        )
    estimate = statistics.quantile_estimate(values, objective.quantile, row.confidence, samples.clusters)
    return estimate, row.model_copy(update=found), _needed(values, objective, samples, row.confidence)


def _by_rate(row: ObjectiveRow, objective: Objective, samples: Samples) -> _Judged:
    assert row.confidence is not None
    hits = samples.values.astype(np.bool_)
    if samples.undecided is not None and samples.undecided.any():
        return _by_rate_either_way(row, objective, samples, samples.undecided)
    estimate = statistics.rate_estimate(hits, row.confidence, samples.clusters, objective.assumed_icc)
    needed = statistics.samples_needed(estimate.measured, objective.threshold, row.confidence)
    if estimate.measured not in (0.0, 1.0):
        return estimate, row, needed
    bearable = statistics.bearable_icc(
        estimate.measured, objective.threshold, samples.clusters, row.confidence
    )
    if bearable is None:
        return estimate, row, needed
    explanation = (
        f"{row.explanation} With not one failure, nothing tells how failures would cluster: an intra-cluster "
        f"correlation of {objective.assumed_icc:g} is assumed, and the verdict would hold up to "
        f"{bearable:.2g}."
    )
    return estimate, row.model_copy(update={"explanation": explanation}), needed


def _by_rate_either_way(
    row: ObjectiveRow, objective: Objective, samples: Samples, undecided: NDArray[np.bool_]
) -> _Judged:
    """Judge a rate of which some samples may as well be the other way round: for all that they may be."""
    assert row.confidence is not None
    hits = samples.values.astype(np.bool_)
    low, high = (
        statistics.rate_estimate(values, row.confidence, samples.clusters, objective.assumed_icc)
        for values in (hits & ~undecided, hits | undecided)
    )
    found = {"undecided": int(np.count_nonzero(undecided)), "resolution": samples.resolution_s}
    return replace(low, measured=high.measured, high=high.high), row.model_copy(update=found), None


def _needed(
    values: NDArray[np.float64], objective: Objective, samples: Samples, confidence: float
) -> float | None:
    """Return how many samples like these would decide, clocks and lag granted; None: no number would."""
    assert objective.quantile is not None
    # For a pass those within the threshold less the clocks' error have to be enough; for a fail those within
    # the threshold plus what clocks and lag may have added have to be too few.
    passing = objective.threshold - samples.clock_error_s
    failing = objective.threshold + samples.clock_error_s + samples.lag_error_s
    for limit, decides in ((passing, np.greater), (failing, np.less)):
        within = float(np.count_nonzero(values < limit)) / len(values)
        if decides(within, objective.quantile):
            return statistics.samples_needed(within, objective.quantile, confidence)
    return None


def scaled(value: float, unit: str) -> float:
    """Return a figure in the unit of its row: seconds, or percent of a fraction."""
    # 0.999 * 100 is 99.9 only after rounding; twelve digits are far below any sample's resolution.
    return value if unit == "s" else round(value * 100, 12)


# --- integrity -----------------------------------------------------------------------------------------


def integrity_row(name: str, evidence: Evidence, checks: Sequence[CheckRow]) -> IntegrityRow:
    """Return the row of something that must never happen."""
    integrity = INTEGRITY[name]
    shaken = {Witness(one) for check in checks if check.verdict != "pass" for one in check.witnesses}
    row = IntegrityRow(name=name, title=integrity.title)

    def looked() -> IntegrityRow:
        found = integrity.look(evidence, shaken)
        unseen = [] if found.looked_at or found.absent else [f"no {integrity.cases} were recorded"]
        return IntegrityRow(
            name=name,
            title=integrity.title,
            violations=int(found.violations),
            looked_at=int(found.looked_at),
            explanation=found.definition,
            examples=tuple(found.examples),
            doubts=(*found.doubts, *unseen),
            absent=found.absent or None,
        )

    found = guarded(looked, lambda why: row.model_copy(update={"doubts": (why,)}))
    return found.model_copy(update={"doubts": (*found.doubts, *doubts_of(checks, name))})
