"""Compares two runs, objective by objective: how much better or worse, and how sure that is.

Latencies are compared by the ratio of their quantiles, with a bootstrap over clusters (ticks), so that
the deliveries of one tick do not pass for independent evidence (Davison and Hinkley, *Bootstrap Methods
and their Application*, section 3.8). Shares are compared by the difference of their failures, with
the interval that follows from the two exact ones (Zou and Donner's MOVER, 2008): it also holds when one
side or both had no failure at all, where a bootstrap would be certain of it.

The judgement is one of equivalence: worse and better mean beyond the tolerance with the whole interval,
the same means within it with the whole interval. Everything else can't be told from these runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.history import RunFolder, read_history
from harness.judge import METRICS, Evidence, Samples, evidence_of
from harness.report.build import judge
from harness.report.markdown import code, text
from harness.report.scenarios import read_all_scenarios
from harness.report.words import quantile_name
from harness.sla import statistics
from harness.sla.policy import Objective, Policy
from harness.sla.units import format_quantity

SCHEMA: Final = "stormwatch.comparison/1"

Change = Literal["better", "worse", "same", "can't tell", "not applicable"]

#: Resamplings of a bootstrap.
RESAMPLES: Final = 2000

#: Different values that a quantile is looked up among; so many samples or fewer are compared exactly.
_GRID: Final = 4096

#: Options of a run that must agree for a comparison to mean anything.
_LOAD: Final = ("games", "players", "tick_s", "briefing_s", "drawing_s", "voting_s", "sync_s")


class CompareError(Exception):
    """Two runs can't be compared; the message says why and the way out."""


@dataclass(frozen=True)
class Side:
    """One run of a comparison."""

    id: str
    about: Mapping[str, Any]
    evidence: Evidence
    #: Rows of its report by objective.
    rows: Mapping[str, Mapping[str, Any]]


def load_side(run: RunFolder, policy: Policy) -> Side:
    """Read and judge one run.

    Raises
    ------
    RunFolderError, HistoryError
        It can't be read.
    """
    about = run.read()
    evidence = evidence_of(
        read_history(run.history, of_run=about.get("id")), about, policy, read_all_scenarios(run)
    )
    report = judge(evidence, run.id)
    return Side(run.id, about, evidence, {row["name"]: row for row in report["objectives"]})


def differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return what makes two runs (their run.json) incomparable."""
    found = []
    if base.get("profile") != head.get("profile"):
        found.append(f"profile {base.get('profile')} and {head.get('profile')}")
    here, there = (_place(about.get("target") or {}) for about in (base, head))
    if here != there:
        found.append(f"target {here} and {there}")
    mine, theirs = (about.get("options") or {} for about in (base, head))
    found += [
        f"{name} {mine.get(name)} and {theirs.get(name)}"
        for name in _LOAD
        if mine.get(name) != theirs.get(name)
    ]
    return found


def _place(target: Mapping[str, Any]) -> str:
    # A local stack has another port each time.
    return str(target["origin"]) if target.get("origin") == "embedded" else str(target.get("service_url"))


def compare(
    base: Side, head: Side, policy: Policy, tolerance: float, *, anyway: bool = False
) -> dict[str, Any]:
    """Return the comparison of two runs.

    Parameters
    ----------
    tolerance : by how much (a fraction) a latency may differ and still be the same; for shares, the
        fraction of what the promise allows to fail.
    anyway : compare runs of different profiles, targets or loads too.

    Raises
    ------
    CompareError
        The runs differ in what was run or on what.
    """
    if base.about.get("id", base.id) == head.about.get("id", head.id):
        raise CompareError(f"{base.id} is compared with itself: name two runs")
    differing = differences(base.about, head.about)
    if differing and not anyway:
        raise CompareError(
            f"{base.id} and {head.id} differ in {'; '.join(differing)}: what is worse need not come from the "
            "service then; compare them with --anyway"
        )
    rows = [
        _row(name, objective, base, head, confidence, tolerance)
        for name, objective in policy.objectives.items()
        if (confidence := policy.confidence_of(objective)) is not None
        and all(objective.applies_to(side.about.get("profile")) for side in (base, head))
    ]
    return {
        "schema": SCHEMA,
        "base": base.id,
        "head": head.id,
        "differing": differing,
        "tolerance": tolerance,
        "confidence": policy.confidence,
        "change": _overall(rows),
        "objectives": rows,
    }


def _overall(rows: list[dict[str, Any]]) -> Change:
    order: tuple[Change, ...] = ("worse", "can't tell", "better", "same")
    counted = (row["change"] for row in rows if row["change"] != "not applicable")
    return min(counted, key=order.index, default="can't tell")


def _row(
    name: str, objective: Objective, base: Side, head: Side, confidence: float, tolerance: float
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "title": objective.title,
        "kind": objective.kind,
        "quantile": objective.quantile,
        "unit": objective.unit,
        "base": None,
        "head": None,
        "effect": "ratio" if objective.kind == "quantile" else "difference",
        "value": None,
        "interval": [None, None],
        "limit": tolerance,
        "change": "can't tell",
        "reason": "",
    }
    for side in (base, head):
        if reason := side.rows.get(name, {}).get("absent"):
            return row | {"change": "not applicable", "reason": f"{side.id}: {reason}"}
    doubts = [
        f"{side.id}: {doubt}" for side in (base, head) for doubt in side.rows.get(name, {}).get("doubts", [])
    ]
    if doubts:
        return row | {"reason": "; ".join(doubts)}
    before, after = (METRICS[objective.metric](side.evidence) for side in (base, head))
    if not isinstance(before, Samples) or not isinstance(after, Samples):
        return row
    if objective.quantile is not None:
        return row | _ratio(before, after, objective.quantile, confidence, tolerance)
    allowed = 1 - objective.threshold if objective.comparison == ">" else objective.threshold
    return row | _difference(before, after, objective, confidence, tolerance * allowed)


def _ratio(before: Samples, after: Samples, q: float, confidence: float, tolerance: float) -> dict[str, Any]:
    base = statistics.quantile(np.sort(before.values.astype(np.float64)), q)
    head = statistics.quantile(np.sort(after.values.astype(np.float64)), q)
    found: dict[str, Any] = {"base": _finite(base), "head": _finite(head)}
    if math.isinf(base) or math.isinf(head) or base <= 0:
        change: Change = (
            "worse" if base < head == math.inf else "better" if head < base == math.inf else "can't tell"
        )
        return found | {"change": change, "reason": f"{quantile_name(q)} is never reached on one side"}
    random = np.random.default_rng(0)  # the same runs give the same comparison
    ratios = bootstrap_quantiles(after, q, random) / bootstrap_quantiles(before, q, random)
    tail = (1 - confidence) / 2
    low, high = (float(np.quantile(ratios, end)) for end in (tail, 1 - tail))
    return found | {
        "value": head / base,
        "interval": [low, high],
        "change": _change(low, high, 1 / (1 + tolerance), 1 + tolerance),
    }


def bootstrap_quantiles(
    samples: Samples, q: float, random: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return quantile ``q`` of each of many resamplings of whole clusters."""
    values = samples.values.astype(np.float64)
    clusters = np.unique(samples.clusters, return_inverse=True)[1]
    groups = int(clusters.max()) + 1
    ordered = np.sort(values)
    ranks = np.unique(np.linspace(0, len(ordered) - 1, min(_GRID, len(ordered))).round().astype(np.int64))
    grid = np.unique(ordered[ranks])
    places = np.searchsorted(grid, values)
    cells = np.bincount(clusters * len(grid) + places, minlength=groups * len(grid))
    counts = cells.reshape(groups, len(grid)).astype(np.float64)
    found = np.empty(resamples)
    for start in range(0, resamples, 200):
        weights = random.multinomial(groups, np.full(groups, 1 / groups), size=200)
        below = np.cumsum(weights.astype(np.float64) @ counts, axis=1)
        reached = below >= q * below[:, -1:] - 1e-9
        found[start : start + 200] = grid[np.argmax(reached, axis=1)]
    return found


def _difference(
    before: Samples, after: Samples, objective: Objective, confidence: float, limit: float
) -> dict[str, Any]:
    # Of failures, whichever way round the objective counts: more is worse.
    failed = objective.comparison == "<"
    base, head = (
        statistics.rate_estimate(
            samples.values.astype(np.bool_) == failed, confidence, samples.clusters, objective.assumed_icc
        )
        for samples in (before, after)
    )
    value = head.measured - base.measured
    low = value - math.hypot(head.measured - head.low, base.high - base.measured)
    high = value + math.hypot(head.high - head.measured, base.measured - base.low)
    shown = (base.measured, head.measured) if failed else (1 - base.measured, 1 - head.measured)
    return {
        "base": shown[0] * 100,
        "head": shown[1] * 100,
        "value": value * 100,
        "interval": [low * 100, high * 100],
        "limit": limit * 100,
        "change": _change(low, high, -limit, limit),
    }


def _change(low: float, high: float, least: float, most: float) -> Change:
    if low > most:
        return "worse"
    if high < least:
        return "better"
    if least <= low and high <= most:
        return "same"
    return "can't tell"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- views ---------------------------------------------------------------------------------------------


def effect_in_words(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the effect and its interval: ``× 1.04``, ``× 0.98 to × 1.11``; ``+0.02 points``."""
    if row["value"] is None:
        return "–", "–"
    low, high = row["interval"]
    if row["effect"] == "ratio":
        return f"× {row['value']:.3g}", f"× {low:.3g} to × {high:.3g}"
    return f"{row['value']:+.3g} points", f"{low:+.3g} to {high:+.3g} points"


def side_in_words(row: Mapping[str, Any], side: str) -> str:
    """Return what one side measured: ``p95 48 ms``."""
    value = format_quantity(row[side], row["unit"])
    return f"{quantile_name(row['quantile'])} {value}" if row["quantile"] else value


def comparison_markdown(document: Mapping[str, Any]) -> str:
    """Return the Markdown view of a comparison."""
    lines = [
        f"## Stormwatch: {document['change']}",
        "",
        f"{code(document['head'])} against {code(document['base'])}, tolerance {document['tolerance']:.0%}.",
        "",
        "| objective | base | head | change | interval | |",
        "|---|---|---|---|---|---|",
    ]
    for row in document["objectives"]:
        value, interval = effect_in_words(row)
        lines.append(
            f"| {text(row['title'])} | {side_in_words(row, 'base')} | {side_in_words(row, 'head')} | {value} "
            f"| {interval} | {_MARKS[row['change']]} {row['change']} |"
        )
    lines += [
        "",
        *(
            f"- {text(row['title'])}: {text(row['reason'])}"
            for row in document["objectives"]
            if row["reason"]
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


_MARKS: Final[Mapping[str, str]] = {
    "better": "✅",
    "same": "✅",
    "worse": "❌",
    "can't tell": "❔",
    "not applicable": "➖",
}
