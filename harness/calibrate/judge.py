"""Whether what was reported is what was injected: samples to rows, three-valued.

A reported delay is the difference between the median under the delay and the median of the baselines before
and after it: what harness and system need anyway, the floor, is in both. The interval of the error is the
percentile bootstrap's (Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter 13), both samples
drawn again. A row passes when the whole interval lies within what is allowed, fails when all of it lies
outside, and is inconclusive in between: the machine was too busy, or the samples too few, to tell. On a
machine that was busy meanwhile a fail counts only where the quickest sample shows it too: whatever competes
for the CPU makes some samples late, a wrong figure all of them. The row of 0 ms compares every other baseline
with the rest by the same rule; what it shows is the machine's doing, so it never fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy import stats

from harness.calibrate.measure import Delayed, Findings, Lost, Measured, Seconds
from harness.calibrate.plan import (
    ALLOWED_S,
    ALLOWED_SHARE,
    BUSY_PERCENT,
    LOSSES,
    Plan,
    allowed_s,
)
from harness.documents.calibration import Allowed, Calibration
from harness.documents.shown import Calibrated
from harness.documents.verdict import Verdict
from harness.history import RunFolder
from harness.history.run import utc_now
from harness.sla.units import format_quantity

#: Fewer samples can't tell 2 ms from nothing.
FEWEST: Final = 10
#: Of the interval of each error.
CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 5_000
_SEED: Final = 1
_NONE: Final = np.array([], dtype=np.float64)


def judge(findings: Findings) -> list[Calibrated]:
    """Return the rows of a calibration: delays path by path, then losses."""
    rows = [row for measured in findings.paths for row in _delays(measured, findings.conditions)]
    rows += [_loss(lost) for lost in findings.losses]
    if not findings.doubts:
        return rows
    # What a measurement in doubt says is neither a pass nor a fail.
    return [_doubted(row, "the measurement itself is in doubt") for row in rows]


def busy(conditions: Mapping[str, float | None]) -> str:
    """Return how busy the machine was, in words; empty when it was not."""
    found = []
    machine, lag = conditions.get("machine_cpu_percent"), conditions.get("loop_lag_ms")
    if machine is not None and machine > BUSY_PERCENT:
        found.append(f"the machine's CPU was used to {machine:.0f} %")
    if lag is not None and lag > allowed_s(0) * 1000:
        found.append(f"an event loop of the harness ran {lag:.1f} ms late")
    return " and ".join(found)


# --- delays --------------------------------------------------------------------------------------------


def _delays(measured: Measured, conditions: Mapping[str, float | None]) -> list[Calibrated]:
    floors = measured.floors
    odd, even = (np.concatenate([_NONE, *floors[start::2]]) for start in (1, 0))
    resting = _row(measured, Delayed(0.0, odd, even), conditions)
    if resting.verdict == "fail":
        resting = _doubted(resting, f"The floor itself moved. {resting.reason}")
    return [resting, *(_row(measured, one, conditions) for one in measured.delayed)]


def _row(measured: Measured, one: Delayed, conditions: Mapping[str, float | None]) -> Calibrated:
    path = measured.path
    row = Calibrated(
        path=path.name,
        title=path.title,
        place=path.place,
        kind="delay",
        injected=one.injected_s,
        reported=None,
        error=None,
        interval=None,
        allowed=allowed_s(one.injected_s),
        samples=len(one.samples),
        verdict="inconclusive",
    )
    if min(len(one.samples), len(one.baseline)) < FEWEST:
        few = f"{len(one.samples)} samples under the delay, {len(one.baseline)} of the baseline"
        return _doubted(row, f"{few}: at least {FEWEST} are needed.")
    lost = int(np.isinf(one.samples).sum() + np.isinf(one.baseline).sum())
    if lost:
        # Whether it is the harness that lost an event, the rows of the losses say: they count all there were.
        return _doubted(row, f"{lost} of the samples never came, and nothing was lost on purpose.")
    return _compared(row, one, conditions)


def _compared(row: Calibrated, one: Delayed, conditions: Mapping[str, float | None]) -> Calibrated:
    floor = float(np.median(one.baseline))
    reported = float(np.median(one.samples)) - floor
    low, high = (end - one.injected_s for end in _interval(one.samples, one.baseline))
    found = _within(low, high, row.allowed)
    crowded = one.cpu_percent > BUSY_PERCENT
    because = busy({**conditions, "machine_cpu_percent": one.cpu_percent} if crowded else conditions)
    row = row.model_copy(
        update={
            "floor": floor,
            "reported": reported,
            "error": reported - one.injected_s,
            "interval": (low, high),
            "verdict": found,
            "reason": _why(found, low, high, row.allowed, because),
        }
    )
    quickest = float(one.samples.min() - one.baseline.min()) - one.injected_s
    if found == "fail" and crowded and abs(quickest) <= row.allowed:
        return _doubted(row, f"{row.reason} But {because}, and the quickest sample is as it should be.")
    return row


def _interval(samples: Seconds, baseline: Seconds) -> tuple[float, float]:
    """Return the interval that holds the difference of the medians."""

    def difference(a: Seconds, b: Seconds, axis: int) -> Seconds:
        return np.asarray(np.median(a, axis=axis) - np.median(b, axis=axis))

    found = stats.bootstrap(
        (samples, baseline),
        difference,
        n_resamples=_RESAMPLES,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        # The same record gives the same verdict.
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _within(low: float, high: float, allowed: float) -> Verdict:
    if -allowed <= low and high <= allowed:
        return "pass"
    return "fail" if low > allowed or high < -allowed else "inconclusive"


def _why(found: Verdict, low: float, high: float, allowed: float, because: str) -> str:
    if found == "pass":
        return ""
    span = f"{_signed(low)} to {_signed(high)}"
    limit = format_quantity(allowed, "s")
    if found == "fail":
        return f"The error is {span}; {limit} either way is allowed."
    why = because or "too few samples for how much they differ: give more with --repetitions"
    return f"The error is {span}, which does not tell whether it is within {limit}: {why}."


def _doubted(row: Calibrated, reason: str) -> Calibrated:
    return row.model_copy(update={"verdict": "inconclusive", "reason": reason})


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '−'}{format_quantity(abs(seconds), 's')}"


# --- losses ----------------------------------------------------------------------------------------------


def _loss(lost: Lost) -> Calibrated:
    injected = len(lost.injected)
    unseen, invented = lost.injected - lost.reported, lost.reported - lost.injected
    exact = not unseen and not invented and lost.cases == injected
    parts = [f"{lost.cases} of {injected} reported"]
    parts += [f"not seen: {_names(unseen)}"] if unseen else []
    parts += [f"reported of games that were left alone: {_names(invented)}"] if invented else []
    return Calibrated(
        path=lost.name,
        title=next(loss.title for loss in LOSSES if loss.name == lost.name),
        place="pubnub",
        kind="count",
        injected=float(injected),
        reported=float(lost.cases),
        error=float(lost.cases - injected),
        interval=None,
        allowed=0.0,
        samples=injected,
        verdict="pass" if exact else "fail",
        reason="" if exact else "; ".join(parts),
    )


def _names(games: frozenset[str]) -> str:
    shown = sorted(games)[:3]
    return ", ".join(shown) + (f" and {len(games) - 3} more" if len(games) > 3 else "")


def calibration(run: RunFolder, plan: Plan, findings: Findings) -> Calibration:
    """Judge what a calibration found and return its ``calibration.json``."""
    about = run.read()
    return Calibration(
        run=run.id,
        started_at=about.started_at or utc_now(),
        finished_at=about.finished_at or utc_now(),
        options={"delays_ms": list(plan.delays_ms), "repetitions": plan.repetitions},
        confidence=CONFIDENCE,
        allowed=Allowed(seconds=ALLOWED_S, share=ALLOWED_SHARE),
        rows=tuple(judge(findings)),
        doubts=tuple(findings.doubts),
        conditions=dict(findings.conditions),
        versions={name: str(version) for name, version in (about.versions or {}).items()},
        machine=about.machine or {},
    )
