"""What is known of each checkpoint, from the record of a version so far: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.documents.rollout import Checkpoint
from harness.documents.rows import IntegrityRow, ObjectiveRow
from harness.documents.run import Run, Window
from harness.history import History
from harness.history.run import moment
from harness.judge import Evidence, evidence_of, judge
from harness.judge.drift import drift_row
from harness.judge.evidence import NS
from harness.judge.judgement import Judgement
from harness.judge.samples import Samples
from harness.sla import sequential, statistics
from harness.sla.policy import Objective, Policy

Booleans = NDArray[np.bool_]

#: Name of the row that says that alerts were looked at and none was raised.
NONE_RAISED: Final = "none"
#: What two versions suffer within so much of each other has one cause.
_SAME_S: Final = 3.0


def judged_so_far(history: History, about: Run, policy: Policy, since_ns: int, to_ns: int) -> Judgement:
    """Judge the record of a version: steady state is from when it got traffic to a moment, both Unix ns."""
    history = replace(history, files=[replace(file, cut_off=None) for file in history.files])
    steady = Window(name="steady", start_ns=since_ns, end_ns=max(to_ns, since_ns + 1))
    about = about.model_copy(update={"windows": (steady,)})
    return judge(evidence_of(history, about, policy), as_of=to_ns)


def checkpoints(
    found: Judgement, beside: Judgement | None = None, *, alerts: bool = True
) -> list[Checkpoint]:
    """Return what is known of each checkpoint of the policy.

    Parameters
    ----------
    beside : the same of the version beside it. What both suffer at the same time says nothing of either.
    alerts : whether the system has any.
    """
    policy = found.evidence.policy
    wanted = _objectives(policy)
    tested = [row for row in found.objectives if row.name in wanted]
    fails_at = max(len(tested), 1) / policy.rollout.false_alarms
    rows = [_share(row, wanted[row.name], found, beside, fails_at) for row in tested]
    others: dict[str, Callable[[Judgement], Checkpoint]] = {
        "integrity": _integrity, "drift": _drift, "alerts": partial(_alerts, told=alerts),
    }  # fmt: skip
    return rows + [other(found) for name, other in others.items() if name in policy.rollout.checkpoints]


def untested(policy: Policy) -> str | None:
    """Return which checkpoint no rollout tests, and why; None: each is tested, as far as there is traffic."""
    for name in policy.rollout.checkpoints:
        objective = policy.objectives.get(name)
        if objective is not None and (objective.profiles or objective.metric == "scenarios_passed"):
            why = f"of profile {objective.profiles[0]}" if objective.profiles else "with failure scenarios"
            return (
                f"rollout.checkpoints: {name!r} is judged in runs {why} alone; a rollout is none: remove it"
            )
    return None


def _objectives(policy: Policy) -> dict[str, Objective]:
    """Return the objectives that are checkpoints, by name; one that the policy has not is none."""
    named, groups = policy.objectives, policy.rollout.checkpoints
    return {
        name: one
        for name, one in named.items()
        if name in groups or ("performance" in groups and one.kind == "quantile")
    }


# --- shares --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Series:
    """Samples of a metric in the order of time, and what they are a share of: ticks, or seconds."""

    #: When each cluster was, in s.
    times: NDArray[np.float64]
    #: The share of samples in it that are bad for sure.
    shares: NDArray[np.float64]
    #: The cluster of each sample, and whether it may be bad.
    inside: NDArray[np.int64]
    maybe: Booleans


def _series(found: Judgement, objective: Objective) -> _Series | None:
    samples = found.samples.get(objective.metric)
    if samples is None or not len(samples.values):
        return None
    surely, maybe = _bad(samples, objective)
    numbers, inside = np.unique(samples.clusters, return_inverse=True)
    width_s = 1.0 if samples.cluster == "seconds" else found.evidence.tick_s
    ago_s = (numbers[-1] - numbers).astype(np.float64) * width_s
    return _Series(
        times=_end_ns(found.evidence) / NS - ago_s,
        shares=np.bincount(inside, weights=surely) / np.bincount(inside),
        inside=inside.astype(np.int64),
        maybe=maybe,
    )


def _share(
    row: ObjectiveRow, objective: Objective, found: Judgement, beside: Judgement | None, fails_at: float
) -> Checkpoint:
    confidence = found.evidence.policy.confidence_of(objective) or found.evidence.policy.confidence
    point = Checkpoint(
        name=row.name,
        title=row.title,
        kind="share",
        limit=_limit(objective),
        fails_at=fails_at,
        passes_at=1 / (1 - confidence),
        doubts=row.doubts,
        absent=row.absent,
        explanation=_promise(objective),
    )
    series = _series(found, objective)
    if series is None:
        return point
    if row.ceiling is not None and row.ceiling.violations and not row.doubts:
        told = f"{row.ceiling.violations} were over {row.ceiling.threshold:g} s, which none may be"
        update = {"kind": "never", "bad": row.ceiling.violations, "explanation": told}
        return point.model_copy(update=update)
    other = None if beside is None else _series(beside, objective)
    return point.model_copy(update=_tested(series, other, objective, point.limit, confidence))


def _limit(objective: Objective) -> float:
    """The share of samples that may be bad."""
    if objective.quantile is not None:
        return round(1 - objective.quantile, 9)
    return objective.threshold if objective.comparison == "<" else round(1 - objective.threshold, 9)


def _promise(objective: Objective) -> str:
    what = f"over {objective.threshold:g} s" if objective.quantile else "bad"
    return f"{what}: {_limit(objective) * 100:g} % at most"


def _tested(
    series: _Series, other: _Series | None, objective: Objective, limit: float, confidence: float
) -> dict[str, Any]:
    ours, theirs = _apart(series, other, limit)
    inside, maybe = series.inside[ours[series.inside]], series.maybe[ours[series.inside]]
    if not len(maybe):
        return {"doubts": ("whatever there was, the version beside it suffered at the same time",)}
    # The last tick or second may not be over yet.
    times, shares = series.times[ours][:-1], series.shares[ours][:-1]
    wealth = sequential.against(shares, limit)
    worse = sequential.against(shares, min(max(limit, theirs), 0.999))
    known = statistics.rate_estimate(maybe, confidence, inside, objective.assumed_icc)
    bad, effective = known.measured * known.effective, known.effective
    needed = sequential.samples_needed(known.measured, limit, confidence)
    return {
        "samples": len(maybe),
        "bad": int(np.count_nonzero(maybe)),
        "effective": round(effective, 1),
        "upper": sequential.upper_bound(bad, effective, confidence),
        "against": float(wealth.max(initial=1.0)),
        "worse": float(worse.max(initial=1.0)),
        "in_favour": float(sequential.in_favour(bad, effective, limit)),
        "needed": None if needed is None else int(np.ceil(needed * len(maybe) / effective)),
        "bad_since": _since(times, shares, wealth),
    }


def _apart(series: _Series, other: _Series | None, limit: float) -> tuple[Booleans, float]:
    """Return the clusters in which the other version kept its limit, and its share of bad ones over all."""
    if other is None:
        return np.ones(len(series.times), dtype=np.bool_), 0.0
    suffered = other.times[other.shares > limit]
    near = np.abs(series.times[:, None] - suffered[None, :]) <= _SAME_S
    alone: Booleans = np.logical_not(near.any(axis=1))
    return alone, float(other.maybe.mean())


def _bad(samples: Samples, objective: Objective) -> tuple[Booleans, Booleans]:
    """Return which samples are bad for sure, and which may be, with the errors of clocks and lag."""
    if objective.quantile is not None:
        values, clock = samples.values.astype(np.float64), samples.clock_error_s
        surely: Booleans = values > objective.threshold + clock + samples.lag_error_s
        maybe: Booleans = values >= objective.threshold - clock
        return surely, maybe
    hits: Booleans = samples.values.astype(np.bool_)
    bad: Booleans = hits if objective.comparison == "<" else ~hits
    either: Booleans = np.zeros(len(bad), dtype=np.bool_) if samples.undecided is None else samples.undecided
    return bad & ~either, bad | either


def _since(
    times: NDArray[np.float64], shares: NDArray[np.float64], wealth: NDArray[np.float64]
) -> str | None:
    """When it became bad: the first bad cluster after the evidence against it was least, before its peak."""
    if not shares.any():
        return None
    least = int(np.argmin(wealth[: int(np.argmax(wealth)) + 1]))
    bad = times[least:][shares[least:] > 0]
    return moment(int(bad[0] * NS)) if len(bad) else None


def _end_ns(evidence: Evidence) -> int:
    return evidence.windows[-1].end_ns if evidence.windows else evidence.span[1]


# --- what must never happen, or grow -------------------------------------------------------------------


def _integrity(found: Judgement) -> Checkpoint:
    rows = found.integrity
    broken = [row for row in rows if row.violations]
    return Checkpoint(
        name="integrity",
        title="Nothing lost, early, double, illegal or wrong",
        kind="never",
        samples=sum(row.looked_at for row in rows),
        bad=sum(row.violations for row in broken),
        doubts=tuple(
            f"{row.title.lower()}: {doubt}"
            for row in rows
            if row.verdict == "inconclusive"
            for doubt in row.doubts
        ),
        explanation="; ".join(map(_broken, broken)) or "no violation",
    )


def _broken(row: IntegrityRow) -> str:
    detail = row.examples[0].get("detail") or row.examples[0].get("what") if row.examples else None
    return f"{row.title.lower()} {row.violations}" + (f" ({detail})" if detail else "")


def _drift(found: Judgement) -> Checkpoint:
    """Something has grown by more than it may in an hour: intervals of a slope are not valid at all times."""
    evidence = found.evidence
    rows = [drift_row(name, one, evidence, found.checks) for name, one in evidence.policy.drift.items()]
    grown = [row for row in rows if row.verdict == "fail"]
    told = [
        f"{row.title.lower()}: {(row.measured or 0) * row.seconds / 3600:+.3g} {row.unit} in "
        f"{row.seconds:.0f} s, {row.limit:g} {row.unit} an hour at most"
        for row in grown
    ]
    return Checkpoint(
        name="drift",
        title="Nothing grows: memory, files, latencies",
        kind="growth",
        samples=len(rows),
        bad=len(grown),
        bad_since=moment(evidence.windows[0].start_ns) if grown and evidence.windows else None,
        explanation="; ".join(told) or "nothing has grown by more than it may in an hour",
    )


def _alerts(found: Judgement, *, told: bool) -> Checkpoint:
    rows = found.evidence.rows("alert")
    names: Sequence[str] = [str(name) for name in rows["name"]]
    raised = sorted({name for name in names if name != NONE_RAISED})
    first = next(_times(rows), None)
    return Checkpoint(
        name="alerts",
        title="No alert raised",
        kind="never",
        samples=len(rows),
        bad=len(raised),
        bad_since=None if first is None else moment(first),
        absent=None if told else "the system tells of no alerts",
        explanation=f"raised: {', '.join(raised)}" if raised else "none raised" if names else "none was told",
    )


def _times(rows: Any) -> Iterator[int]:
    for name, at in zip(rows["name"], rows["start_ns"], strict=True):
        if str(name) != NONE_RAISED:
            yield int(at)
