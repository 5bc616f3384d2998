"""Objectives over many releases: which release moved which of them, by how much, and how sure that is.

A series is cut where its level changes: least squares with a price for each cut (Killick et al., PELT,
2012), by the library ruptures. (Apache Otava is made for this, but pins an old numpy and brings BigQuery,
Slack and gRPC along.) Each cut, and the newest release whatever was cut, is then judged as two runs are
compared (:mod:`harness.report.compare`). The interval of the change is the wider of two: the reports' own
(MOVER, as there), and Student's of the scatter from run to run, which those can't see; its level is shared
among the objectives, and of earlier changes among the releases too (Bonferroni). What changes by more than
the tolerance counts, if its interval leaves no change out. Below ``_SCATTER`` reports nothing is known of
the scatter: the tolerance stands for it, and the whole interval must lie beyond it.

Simulated with nine objectives: of 20 releases alike, the newest is called worse in 2 % of trends, be runs 5 %
or 15 % apart. Where they are 5 % apart, one slower by 30 % is found in 87 % of trends as the newest, and
nearly always a few releases later.

Latencies are compared by their ratio, and below 0.5 % of what is promised they count as that; shares by the
difference of what failed, in points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.documents.report import Report
from harness.documents.rows import ObjectiveRow
from harness.documents.verdict import NOT_APPLICABLE
from harness.report.compare import MARKS, Change, ComparedRow, change_between
from harness.report.markdown import table, text

#: Reports from which on their scatter is looked at, and earlier changes are looked for.
_SCATTER: Final = 5
#: Squared standard deviations that a cut must explain, for each e-fold of the length.
_PRICE: Final = 3.0
#: Of a promised latency: what is below counts as that.
_FLOOR: Final = 0.005


@dataclass(frozen=True)
class Release:
    """One report of a trend."""

    label: str
    at: str
    report: Report


@dataclass(frozen=True)
class Moved:
    """What a release did to an objective, against the level before."""

    #: Its place among all releases.
    release: int
    label: str
    row: ComparedRow

    def __str__(self) -> str:
        (effect, interval), (base, head) = self.row.effect_in_words(), self.row.sides_in_words()
        return f"{self.row.change} since {self.label}: {effect} ({interval}), {base} before, {head} since"


@dataclass(frozen=True)
class Series:
    """One objective over the releases."""

    name: str
    title: str
    #: Of each release; None: its report has no such row.
    rows: Sequence[ObjectiveRow | None]
    #: What moved it for certain, oldest first.
    moved: Sequence[Moved]
    newest: Moved


@dataclass(frozen=True)
class Trend:
    """All objectives over the releases, oldest first."""

    releases: Sequence[Release]
    series: Sequence[Series]
    tolerance: float
    confidence: float
    #: The first release of those that decide.
    since: int
    #: What is left out, and what can't be told.
    notes: Sequence[str]

    @property
    def change(self) -> Change:
        """What the newest releases did: the worst of it, and "can't tell" only where nothing can be told."""
        told = {one.newest.row.change for one in self.series}
        told |= {
            one.row.change for series in self.series for one in series.moved if one.release >= self.since
        }
        order: tuple[Change, ...] = ("worse", "better", "same", "no change seen")
        return next((one for one in order if one in told), "can't tell")

    @property
    def cells(self) -> list[tuple[str, str, str, str, Change]]:
        """A line of words for each objective: title, the newest, its change, the interval, what that is."""
        rows = [(one.title, one.newest.row) for one in self.series]
        return [(title, row.sides_in_words()[1], *row.effect_in_words(), row.change) for title, row in rows]

    @property
    def lines(self) -> list[str]:
        """What moved, what can't be told, what is left out, and what was looked at."""
        moved = [f"{one.title}: {moved}" for one in self.series for moved in one.moved]
        rows = [one.newest.row for one in self.series]
        reasons = [f"{row.title}: {row.reason}" for row in rows if row.reason]
        before = len(self.releases) - 1
        looked = f"{self.releases[-1].label}, with {before} before it, tolerance {self.tolerance:.0%}"
        return [*moved, *reasons, *self.notes, looked]


def trend_of(
    releases: Sequence[Release], tolerance: float, *, newest: int = 1, notes: Sequence[str] = ()
) -> Trend:
    """Return the trend of reports that can be compared, oldest first.

    Parameters
    ----------
    tolerance : by how much (a fraction) a latency may differ and still be the same; for shares, the
        fraction of what the promise allows to fail.
    newest : how many of the newest releases decide what the trend says.
    """
    latest = releases[-1].report
    level = 1 - (1 - latest.policy.confidence) / len(latest.objectives)
    series = [_series(row, releases, tolerance, level) for row in latest.objectives]
    if len(releases) < _SCATTER:
        few = f"with fewer than {_SCATTER} reports it can't be told how much runs of one release differ"
        notes = [*notes, f"{few} (their own intervals decide), nor which earlier release moved what"]
    since = len(releases) - newest
    return Trend(releases, series, tolerance, latest.policy.confidence, since, notes)


# --- one objective -------------------------------------------------------------------------------------


def _series(last: ObjectiveRow, releases: Sequence[Release], tolerance: float, level: float) -> Series:
    rows = [_row_like(last, one.report) for one in releases]
    usable = [(place, row) for place, row in enumerate(rows) if row and _usable(row)]
    newest = ComparedRow(
        last.title, last.quantile, last.unit, "ratio" if last.unit == "s" else "difference", tolerance
    )
    moved: list[Moved] = []
    if last.verdict == NOT_APPLICABLE:
        newest = replace(newest, change="not applicable", reason=last.absent or "")
    elif not _usable(last):
        newest = replace(newest, reason="; ".join(last.doubts) or "nothing was measured")
    elif len(usable) < 2:
        newest = replace(newest, reason="no earlier report measured it")
    else:
        levels = _Levels.of([row for _, row in usable], newest, level)
        cuts, end = levels.certain_cuts(), len(usable) - 1
        places = [usable[at][0] for at in cuts]
        moved = [
            Moved(place, releases[place].label, levels.compared(cuts, at))
            for place, at in zip(places, cuts, strict=True)
        ]
        newest = levels.compared(sorted({*cuts, end}), end)
    final = Moved(len(releases) - 1, releases[-1].label, newest)
    return Series(last.name, last.title, rows, moved, final)


def _row_like(last: ObjectiveRow, report: Report) -> ObjectiveRow | None:
    """Return a report's row of what ``last`` measures; another quantile is another objective."""
    wanted = (last.name, last.metric, last.quantile, last.unit)
    rows = report.objectives
    return next((row for row in rows if (row.name, row.metric, row.quantile, row.unit) == wanted), None)


def _usable(row: ObjectiveRow) -> bool:
    return row.samples > 0 and not row.doubts and row.measured is not None and math.isfinite(row.measured)


@dataclass(frozen=True)
class _Levels:
    """What was measured of an objective: logarithms of seconds, or percent that failed. More is worse."""

    rows: Sequence[ObjectiveRow]
    blank: ComparedRow
    #: Confidence of its intervals.
    level: float
    #: Within it, up or down, is the same.
    limit: float
    y: NDArray[np.float64]
    #: Standard errors by the reports' own intervals; infinite: not bounded.
    down: NDArray[np.float64]
    up: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[ObjectiveRow], blank: ComparedRow, level: float) -> _Levels:
        last = rows[-1]
        failed = last.unit == "%" and last.comparison == ">"

        def scaled(value: float | None, unknown: float) -> float:
            if value is None or math.isinf(value):
                return unknown
            if last.unit == "s":
                return math.log(max(value, _FLOOR * last.threshold))
            return 100 - value if failed else value

        found = []
        for row in rows:
            low, high = row.interval if row.confidence is not None else (row.measured, row.measured)
            low = None if low is None else low - row.clock_error - row.lag_error
            high = None if high is None else high + row.clock_error
            z = _reach(row.confidence or level)
            y, ends = scaled(row.measured, math.nan), (high, low) if failed else (low, high)
            found.append((y, (y - scaled(ends[0], -math.inf)) / z, (scaled(ends[1], math.inf) - y) / z))
        limit = math.log1p(blank.limit)
        if last.unit == "%":
            limit = blank.limit * (100 - last.threshold if failed else last.threshold)
        y, down, up = np.array(found).T
        return cls(rows, blank, level, limit, y, np.maximum(down, 0), np.maximum(up, 0))

    def certain_cuts(self) -> list[int]:
        """Return where the level changes for certain; the newest is looked at whatever was cut."""
        cuts = sorted({*self._cuts(), len(self.y) - 1})
        while uncertain := [at for at in cuts if self._change(cuts, at) not in {"worse", "better"}]:
            effects = {at: self._effect(cuts, at) for at in uncertain}
            cuts.remove(min(effects, key=lambda at: abs(effects[at][0]) / (effects[at][1] or math.inf)))
        return cuts

    def _cuts(self) -> list[int]:
        try:
            from ruptures import KernelCPD
        except ImportError:  # it can't be had for this Python yet
            return []
        if len(self.y) < _SCATTER:
            return []
        # A change of level moves one difference of neighbours, and their median hardly.
        noise = 1.4826 * float(np.median(np.abs(np.diff(self.y)))) / math.sqrt(2)
        scaled = self.y / max(noise, self.limit / _PRICE, 1e-9)
        found = KernelCPD(kernel="linear", min_size=1).fit(scaled.reshape(-1, 1))
        return [int(at) for at in found.predict(pen=_PRICE * math.log(len(scaled)))[:-1]]

    def _effect(self, cuts: Sequence[int], at: int) -> tuple[float, float, float]:
        """Return the change of level at one of the cuts, and how far its interval reaches down and up."""
        ends = [0, *cuts, len(self.y)]
        place = ends.index(at)
        before, after = slice(ends[place - 1], at), slice(at, ends[place + 1])
        # The newest is one place, earlier ones are as many as there are reports.
        level = self.level if at == len(self.y) - 1 else 1 - (1 - self.level) / len(self.y)
        seen, freedom = 0.0, len(self.y) - len(ends) + 1
        if self._scatter_known(cuts):
            within = sum(float(np.sum((part - part.mean()) ** 2)) for part in np.split(self.y, cuts))
            shares = sum(1 / (one.stop - one.start) for one in (before, after))
            seen = _reach(level, freedom) * math.sqrt(within / freedom * shares)
        z = _reach(level)
        own = [
            z * math.hypot(_error(head[after]), _error(base[before]))
            for head, base in ((self.down, self.up), (self.up, self.down))
        ]
        # An open interval of one report says nothing where the scatter of all is known.
        down, up = (seen if seen and math.isinf(one) else max(seen, one) for one in own)
        return float(self.y[after].mean() - self.y[before].mean()), down, up

    def _change(self, cuts: Sequence[int], at: int) -> Change:
        value, down, up = self._effect(cuts, at)
        found = change_between(value - down, value + up, -self.limit, self.limit)
        if not self._scatter_known(cuts) or found == "same" or math.isinf(max(down, up)):
            return found
        certain = abs(value) > self.limit and not -up <= value <= down
        return ("worse" if value > 0 else "better") if certain else "no change seen"

    def _scatter_known(self, cuts: Sequence[int]) -> bool:
        return len(self.y) >= max(_SCATTER, len(cuts) + 3)

    def compared(self, cuts: Sequence[int], at: int) -> ComparedRow:
        """Return what happened at one of the cuts, in the units of the objective."""
        ends = [0, *cuts, len(self.rows)]
        place = ends.index(at)
        base, head = (
            float(np.median([row.measured for row in part if row.measured is not None]))
            for part in (self.rows[ends[place - 1] : at], self.rows[at : ends[place + 1]])
        )
        value, down, up = self._effect(cuts, at)
        ratio = self.blank.effect == "ratio"
        shown = [math.exp(one) if ratio else one for one in (value, value - down, value + up)]
        change, reason = self._change(cuts, at), ""
        if change == "can't tell":
            least = max(down, up) + self.limit
            words = f"× {math.exp(least):.3g}" if ratio else f"{least:.2g} points"
            reason = (
                f"a change of less than {words} would not show" if math.isfinite(least) else "too few samples"
            )
        return replace(
            self.blank, base=base, head=head, value=shown[0], interval=(shown[1], shown[2]), change=change,
            reason=reason, limit=self.blank.limit if ratio else self.limit,
        )  # fmt: skip


@cache
def _reach(level: float, freedom: float = math.inf) -> float:
    """How many standard errors an interval reaches to either side: Student's, or the normal one."""
    return float(stats.t.ppf((1 + level) / 2, freedom))


def _error(errors: NDArray[np.float64]) -> float:
    """The standard error of a mean."""
    return float(np.sqrt(np.sum(errors**2)) / len(errors))


# --- views ---------------------------------------------------------------------------------------------


def trend_markdown(trend: Trend) -> str:
    """Return the Markdown view of a trend."""
    cells = [(*map(text, words), f"{MARKS[change]} {change}") for *words, change in trend.cells]
    lines = [f"- {text(line)}" for line in trend.lines]
    parts = [f"## Stormwatch trend: {trend.change}", "", *lines, ""]
    return "\n".join([*parts, *table("objective|newest|change|interval|", cells)]) + "\n"


def trend_document(trend: Trend) -> dict[str, Any]:
    """Return a trend as plain values: seconds, percent and points; a latency's change is a ratio."""
    kept = {"measured", "interval", "samples", "verdict", "doubts"}
    return vars(trend) | {
        "change": trend.change,
        "releases": [
            {"label": one.label, "run": one.report.run.id, "at": one.at, "verdict": one.report.verdict}
            for one in trend.releases
        ],
        "series": [
            vars(one) | {"rows": [row and row.model_dump(mode="json", include=kept) for row in one.rows]}
            for one in trend.series
        ],
    }
