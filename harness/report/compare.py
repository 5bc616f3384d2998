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
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.documents.rows import ObjectiveRow
from harness.documents.run import Run
from harness.history import RunFolder, read_history
from harness.judge import Samples, evidence_of, judge
from harness.report.markdown import code, table, text
from harness.report.scenarios import read_all_scenarios
from harness.report.words import quantile_name
from harness.sla import statistics
from harness.sla.policy import Objective, Policy
from harness.sla.units import format_quantity

#: Between "same" and "can't tell" (in a trend): nothing that the scatter of runs would not explain.
Change = Literal["better", "worse", "same", "no change seen", "can't tell", "not applicable"]

#: How a change looks, as verdicts do.
LOOKS: Final[Mapping[Change, str]] = {
    "better": "pass", "same": "pass", "worse": "fail", "can't tell": "inconclusive",
    "no change seen": "pass", "not applicable": "not applicable",
}  # fmt: skip

MARKS: Final[Mapping[Change, str]] = {
    "better": "✅", "same": "✅", "worse": "❌", "can't tell": "❔", "not applicable": "➖",
    "no change seen": "✅",
}  # fmt: skip

#: Resamplings of a bootstrap.
RESAMPLES: Final = 2000

#: Different values that a quantile is looked up among; so many samples or fewer are compared exactly.
_GRID: Final = 4096

#: Options of a run that must agree for a comparison to mean anything.
LOAD: Final = ("games", "players", "tick_s", "lengths", "sync_s")


class CompareError(Exception):
    """Two runs can't be compared; the message says why and the way out."""


@dataclass(frozen=True)
class Side:
    """One run of a comparison."""

    id: str
    about: Run
    #: Rows of its report by objective.
    rows: Mapping[str, ObjectiveRow]
    #: Metric -> the samples that those were judged by.
    samples: Mapping[str, Samples]


@dataclass(frozen=True)
class ComparedRow:
    """One objective of two runs. Seconds, or percent."""

    title: str
    quantile: float | None
    unit: str
    effect: Literal["ratio", "difference"]
    #: By how much it may differ and still be the same: as a fraction of a ratio, in points of a difference.
    limit: float
    base: float | None = None
    head: float | None = None
    value: float | None = None
    interval: tuple[float, float] = (math.nan, math.nan)
    change: Change = "can't tell"
    reason: str = ""

    def effect_in_words(self) -> tuple[str, str]:
        """Return the effect and its interval: ``× 1.04``, ``× 0.98 to × 1.11``; ``+0.02 points``."""
        if self.value is None:
            return "–", "–"
        low, high = self.interval
        if self.effect == "ratio":
            return f"× {self.value:.3g}", f"× {low:.3g} to × {high:.3g}"
        return f"{self.value:+.3g} points", f"{low:+.3g} to {high:+.3g} points"

    def sides_in_words(self) -> tuple[str, str]:
        """Return what each side measured: ``p95 48 ms``."""
        name = f"{quantile_name(self.quantile)} " if self.quantile else ""
        base, head = (f"{name}{format_quantity(value, self.unit)}" for value in (self.base, self.head))
        return base, head


@dataclass(frozen=True)
class Comparison:
    """Two runs, objective by objective."""

    base: str
    head: str
    #: In what was run they differ.
    differing: list[str]
    tolerance: float
    confidence: float
    #: Objective -> its row.
    rows: Mapping[str, ComparedRow]

    @property
    def change(self) -> Change:
        """The worst of all rows."""
        order: tuple[Change, ...] = ("worse", "can't tell", "better", "same")
        counted = (row.change for row in self.rows.values() if row.change != "not applicable")
        return min(counted, key=order.index, default="can't tell")


def load_side(run: RunFolder, policy: Policy) -> Side:
    """Read and judge one run.

    Raises
    ------
    DocumentError, HistoryError
        It can't be read.
    """
    about = run.read()
    history = read_history(run.history, of_run=about.id)
    found = judge(evidence_of(history, about, policy, read_all_scenarios(run)))
    return Side(run.id, about, {row.name: row for row in found.objectives}, found.samples)


def differences(base: Run, head: Run) -> list[str]:
    """Return what makes two runs (their run.json) incomparable."""
    found = []
    if base.profile != head.profile:
        found.append(f"profile {base.profile} and {head.profile}")
    here, there = (target_name(about.target or {}) for about in (base, head))
    if here != there:
        found.append(f"target {here} and {there}")
    mine, theirs = (about.options or {} for about in (base, head))
    return found + [
        f"{name} {mine.get(name)} and {theirs.get(name)}"
        for name in LOAD
        if mine.get(name) != theirs.get(name)
    ]


def target_name(target: Mapping[str, Any]) -> str:
    """Return what a run took place on: ``embedded``, or the service's address."""
    # A local stack has another port each time.
    return str(target["origin"]) if target.get("origin") == "embedded" else str(target.get("service_url"))


def compare(base: Side, head: Side, policy: Policy, tolerance: float, *, anyway: bool = False) -> Comparison:
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
    if base.about.id == head.about.id:
        raise CompareError(f"{base.id} is compared with itself: name two runs")
    differing = differences(base.about, head.about)
    if differing and not anyway:
        raise CompareError(
            f"{base.id} and {head.id} differ in {'; '.join(differing)}: what is worse need not come from the "
            "service then; compare them with --anyway"
        )
    rows = {
        name: _row(name, objective, (base, head), confidence, tolerance)
        for name, objective in policy.objectives.items()
        if (confidence := policy.confidence_of(objective)) is not None
        and all(objective.applies_to(side.about.profile) for side in (base, head))
    }
    return Comparison(base.id, head.id, differing, tolerance, policy.confidence, rows)


def _row(
    name: str, objective: Objective, sides: tuple[Side, Side], confidence: float, tolerance: float
) -> ComparedRow:
    row = ComparedRow(
        title=objective.title,
        quantile=objective.quantile,
        unit=objective.unit,
        effect="ratio" if objective.kind == "quantile" else "difference",
        limit=tolerance,
    )
    judged = [(side.id, side.rows[name]) for side in sides if name in side.rows]
    for id, one in judged:
        if one.verdict == "not applicable":
            return replace(row, change="not applicable", reason=f"{id}: {one.absent}")
    if doubts := [f"{id}: {doubt}" for id, one in judged for doubt in one.doubts]:
        return replace(row, reason="; ".join(doubts))
    before, after = (side.samples.get(objective.metric) for side in sides)
    if before is None or after is None:
        return row
    if objective.quantile is not None:
        return _ratio(row, before, after, objective.quantile, confidence)
    return _difference(row, before, after, objective, confidence)


def _ratio(row: ComparedRow, before: Samples, after: Samples, q: float, confidence: float) -> ComparedRow:
    base, head = (statistics.quantile(np.sort(one.values.astype(np.float64)), q) for one in (before, after))
    row = replace(row, base=_finite(base), head=_finite(head))
    if math.isinf(base) or math.isinf(head) or base <= 0:
        endless: Change = (
            "worse" if base < head == math.inf else "better" if head < base == math.inf else "can't tell"
        )
        return replace(row, change=endless, reason=f"{quantile_name(q)} is never reached on one side")
    random = np.random.default_rng(0)  # the same runs give the same comparison
    ratios = bootstrap_quantiles(after, q, random) / bootstrap_quantiles(before, q, random)
    tail = (1 - confidence) / 2
    low, high = (float(np.quantile(ratios, end)) for end in (tail, 1 - tail))
    change = change_between(low, high, 1 / (1 + row.limit), 1 + row.limit)
    return replace(row, value=head / base, interval=(low, high), change=change)


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
    row: ComparedRow, before: Samples, after: Samples, objective: Objective, confidence: float
) -> ComparedRow:
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
    limit = row.limit * (objective.threshold if failed else 1 - objective.threshold)
    return replace(
        row,
        base=100 * (base.measured if failed else 1 - base.measured),
        head=100 * (head.measured if failed else 1 - head.measured),
        value=value * 100,
        interval=(low * 100, high * 100),
        limit=limit * 100,
        change=change_between(low, high, -limit, limit),
    )


def change_between(low: float, high: float, least: float, most: float) -> Change:
    """Return what an interval of an effect says, where ``least`` to ``most`` is the same."""
    if low > most:
        return "worse"
    if high < least:
        return "better"
    return "same" if least <= low and high <= most else "can't tell"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def comparison_markdown(comparison: Comparison) -> str:
    """Return the Markdown view of a comparison."""
    rows = comparison.rows.values()
    lines = [
        f"## Stormwatch: {comparison.change}",
        "",
        f"{code(comparison.head)} against {code(comparison.base)}, tolerance {comparison.tolerance:.0%}.",
        "",
        *table(
            "objective|base|head|change|interval|",
            [
                (
                    text(row.title),
                    *row.sides_in_words(),
                    *row.effect_in_words(),
                    f"{MARKS[row.change]} {row.change}",
                )
                for row in rows
            ],
        ),
        "",
        *(f"- {text(row.title)}: {text(row.reason)}" for row in rows if row.reason),
    ]
    return "\n".join(lines).rstrip() + "\n"
