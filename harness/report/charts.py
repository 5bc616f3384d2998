"""The charts of a report, as Vega-Lite specifications: those of ``templates/charts`` over its data.

Colours are CSS variables of the page, so that a chart follows the page from light to dark to paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import vl_convert

from harness.documents.report import Report
from harness.documents.rows import ObjectiveRow
from harness.documents.shown import Distribution, Game, Series, Stage, Timeline
from harness.files import read_json, user_cache, write_atomically
from harness.report.compare import LOOKS, ComparedRow
from harness.report.trend import Series as Objective
from harness.report.trend import Trend
from harness.report.words import measured

Spec = dict[str, Any]

#: Where the specifications lie; what is called ``$name`` in them is filled in.
_SPECS: Final = Path(__file__).parent / "templates" / "charts"

#: Axis labels for seconds: 5 ms, 2 s.
_SECONDS: Final = (
    "datum.value < 1 ? format(datum.value * 1000, '~g') + ' ms' : format(datum.value, '~g') + ' s'"
)


class Panel(NamedTuple):
    """One chart of a timeline."""

    key: str
    title: str
    #: How its y axis reads: ``seconds`` is logarithmic.
    axis: Literal["seconds", "number", "breaker"] = "number"


#: The panels of a run's timeline, in their order.
PANELS: Final = (
    Panel("latency", "Broadcast latency, commit to subscriber", "seconds"),
    Panel("monitor", "Timer monitoring execution", "seconds"),
    Panel("http", "Requests to the service", "seconds"),
    Panel("throughput", "Throughput, per second"),
    Panel("errors", "Failed requests, per second"),
    Panel("outbox", "Events waiting in the outbox"),
    Panel("pool", "Database connections"),
    Panel("breaker", "Circuit breaker", "breaker"),
)

#: Those that say how a scenario's fault showed and passed.
SCENARIO_PANELS: Final = tuple(
    panel for panel in PANELS if panel.key in {"latency", "outbox", "pool", "breaker"}
)

#: Bins of a timeline up to which its points are drawn too.
_MOST_POINTS: Final = 60

#: How many tolerances to either side a comparison shows.
_MOST_TOLERANCES: Final = 5.0

#: How many times what it may use up an objective shows.
_MOST_USED: Final = 10.0


def config() -> Spec:
    """Return what holds for every chart; the page hands it to Vega-Embed once."""
    return _filled("config")


def _filled(name: str, **values: Any) -> Spec:
    """Return a specification with its names filled in; what is filled with ``...`` is left out."""

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            filled = {key: fill(value) for key, value in part.items()}
            return {key: value for key, value in filled.items() if value is not ...}
        if isinstance(part, list):
            return [value for value in map(fill, part) if value not in (..., {})]
        return values[part[1:]] if isinstance(part, str) and part.startswith("$") else part

    found: Spec = fill(_spec(name))
    return found


@cache
def _spec(name: str) -> Spec:
    found: Spec = read_json(_SPECS / f"{name}.json")
    return found


def charts(report: Report) -> dict[str, Spec]:
    """Return every chart of a report by the id of its place on the page."""
    found = {f"objective-{row.name}": objective(row) for row in report.objectives if _drawable(row)}
    found |= timelines(report)
    thresholds = {row.metric: row.threshold for row in report.objectives}
    for one in report.distributions:
        found[f"distribution-{one.metric}"] = distribution(one, thresholds.get(one.metric))
    if any(stage.samples for stage in report.stages):
        found["stages"] = stages(report.stages)
    for index, game in enumerate(report.games):
        found[f"game-{index}"] = strip(game)
    return found


def used(row: ObjectiveRow, value: float | None) -> float | None:
    """Return how much of what an objective allows ``value`` uses up: 1 is the threshold itself."""
    if value is None:
        return None
    if row.comparison == "<":
        return value / row.threshold if row.threshold else None
    top = 100.0 if row.unit == "%" else 0.0
    return (top - value) / (top - row.threshold) if top != row.threshold else None


def _drawable(row: ObjectiveRow) -> bool:
    return row.samples > 0 and used(row, row.measured) is not None


def objective(row: ObjectiveRow) -> Spec:
    """One objective: its interval against what it may use up."""
    measured = min(used(row, row.measured) or 0.0, _MOST_USED)
    ends = [used(row, end) for end in row.interval]
    low, high = sorted(min(max(measured if end is None else end, 0.0), _MOST_USED) for end in ends)
    return _filled(
        "objective", low=low, high=high, measured=measured, most=_MOST_USED, colour=f"var(--{row.verdict})"
    )


# --- timelines -----------------------------------------------------------------------------------------


def timelines(report: Report) -> dict[str, Spec]:
    """The panels of the run's timeline and of each scenario's, one chart each, with the faults shaded."""
    found: dict[str, Spec] = {}
    if line := report.timeline:
        shades = [
            {"from": window.start_ms, "to": window.end_ms, "what": window.name}
            for window in line.windows
            if window.name != "steady"
        ]
        found |= _timeline("timeline", line, PANELS, shades, _windows(report, None, line))
    for index, scenario in enumerate(report.scenarios):
        if line := scenario.timeline:
            faults = _windows(report, scenario.id, line)
            found |= _timeline(f"scenario-{index}", line, SCENARIO_PANELS, [], faults)
    return found


def _windows(report: Report, scenario: str | None, line: Timeline) -> list[Spec]:
    """When the faults of a scenario, or of the load itself, lasted, and where their cards are."""
    return [
        {
            "from": _ms(fault.started_at),
            "to": _ms(fault.ended_at) if fault.ended_at else line.end_ms,
            "what": fault.name,
            "url": f"#fault-{index}",
        }
        for index, fault in enumerate(report.faults)
        if fault.scenario == scenario and fault.started_at
    ]


def _timeline(
    place: str, line: Timeline, panels: Iterable[Panel], shades: list[Spec], faults: list[Spec]
) -> dict[str, Spec]:
    found = {}
    for panel in panels:
        series = [
            one
            for one in line.series
            if one.panel == panel.key and any(_shown(value, panel) for value in one.values)
        ]
        if series:
            found[f"{place}-{panel.key}"] = _panel(panel, line, series, shades, faults)
    return found


def _shown(value: float | None, panel: Panel) -> bool:
    # A logarithmic axis has no 0.
    return value is not None and (value > 0 or panel.axis != "seconds")


def _panel(
    panel: Panel, line: Timeline, series: list[Series], shades: list[Spec], faults: list[Spec]
) -> Spec:
    shown = {one.title: [v if _shown(v, panel) else None for v in one.values] for one in series}
    values = [value for column in shown.values() for value in column if value is not None]
    # A line ends where nothing was measured; what stands alone between two gaps is seen as its point.
    few = line.bins <= _MOST_POINTS
    return _filled(
        "panel",
        height=60 if panel.axis == "breaker" else 110,
        shades=shades,
        faults=faults,
        columns=[{"s": title, "v": column} for title, column in shown.items()],
        # Times follow from the places of the values: a page holds tens of thousands of them.
        time=f"{line.start_ms} + (datum.i - 1) * {line.bin_s * 1000}",
        kept=... if few else "isValid(datum.v)",
        points={"size": 14} if few else ...,
        interpolate="step-after" if panel.axis == "breaker" else ...,
        span=[line.start_ms, line.end_ms],
        # One line needs no legend: its panel's heading says what it is.
        legend=None if len(series) == 1 else ...,
        **_y(panel, min(values), max(values)),
    )


def _y(panel: Panel, low: float, high: float) -> Spec:
    """The ticks, labels and scale of a panel's y axis."""
    if panel.axis == "breaker":
        labels = "['closed', 'half-open', 'open'][datum.value]"
        return {"ticks": [0, 1, 2], "labels": labels, "scale": {"domain": [0, 2]}}
    if panel.axis == "number":
        return {"ticks": ..., "labels": ..., "scale": {"nice": True}}
    ticks = _log_ticks(low, high)
    scale = {"type": "log", "nice": False, "domain": [ticks[0], ticks[-1]]}
    return {"ticks": ticks, "labels": _SECONDS, "scale": scale}


# --- the rest ------------------------------------------------------------------------------------------


def distribution(one: Distribution, threshold: float | None) -> Spec:
    """A histogram on logarithmic axes, with its quantiles and the promise."""
    highest = max([threshold or 0.0, *(high for _, high, _ in one.bins)])
    lowest = min([low for low, _, _ in one.bins], default=1e-3)
    return _filled(
        "distribution",
        bins=[{"from": low, "to": high, "n": count} for low, high, count in one.bins],
        quantiles=[{"at": value, "what": name} for name, value in one.quantiles.items() if value is not None],
        promised=[] if threshold is None else [{"at": threshold}],
        span=[lowest, highest * 1.1],
        ticks=_log_ticks(lowest, highest),
        seconds=_SECONDS,
    )


def stages(rows: Iterable[Stage]) -> Spec:
    """Where the time goes: median and 95th percentile of each stage."""
    figures = [(stage, q, v) for stage in rows for q, v in (("p95", stage.p95), ("p50", stage.p50))]
    values = [{"stage": stage.title, "q": q, "v": v} for stage, q, v in figures if v is not None]
    return _filled("stages", values=values, seconds=_SECONDS)


def strip(game: Game) -> Spec:
    """One game: when it was due, when it moved, when each player heard of it."""
    timed = [
        (one, one.received_ms, "received")
        if one.received_ms is not None
        else (one, one.committed_ms, "never received")
        for one in game.deliveries
    ]
    events = [
        {"t": at_ms / 1000, "player": one.player, "what": what, "event": one.seq}
        for one, at_ms, what in sorted(timed, key=lambda entry: entry[2], reverse=True)
        if at_ms is not None
    ]
    moves = [
        {"t": at_ms / 1000, "what": f"{move.move} {word}", "kind": word}
        for move in game.moves
        for at_ms, word in ((move.due_ms, "due"), (move.moved_ms, "moved"))
        if at_ms is not None
    ]
    return _filled("game", moves=moves, events=events)


def change(row: ComparedRow) -> Spec:
    """One objective of a comparison: the interval of its change, in tolerances."""

    def place(value: float) -> float:
        if row.effect == "ratio":
            value = math.log(value) / math.log1p(row.limit) if value > 0 else -_MOST_TOLERANCES
        else:
            value = value / row.limit
        return min(max(value, -_MOST_TOLERANCES), _MOST_TOLERANCES)

    value, low, high = (place(one or 0.0) for one in (row.value, *row.interval))
    return _filled(
        "change",
        low=low,
        high=high,
        value=value,
        least=-_MOST_TOLERANCES,
        most=_MOST_TOLERANCES,
        colour=f"var(--{LOOKS[row.change]})",
    )


def over_releases(series: Objective, trend: Trend) -> Spec:
    """One objective of a trend: each report's interval, and the releases that moved it."""
    colours = {"pass": "var(--series-1)", "fail": "var(--fail)"}
    points: list[Spec] = [{"release": release.label} for release in trend.releases]
    for point, row in zip(points, series.rows, strict=True):
        if row is not None and row.measured is not None and math.isfinite(row.measured):
            ends = (row.measured if end is None or math.isinf(end) else end for end in row.interval)
            point |= dict(zip(("low", "high"), ends, strict=True))
            point |= {"measured": row.measured, "said": measured(row), "verdict": row.verdict}
            point["colour"] = colours.get(row.verdict, "var(--inconclusive)")
    moved = [
        {"release": one.label, "said": str(one), "colour": f"var(--{LOOKS[one.row.change]})"}
        for one in series.moved
    ]
    labels = _SECONDS if series.newest.row.unit == "s" else "format(datum.value, '.4~g') + ' %'"
    order = [release.label for release in trend.releases]
    return _filled("trend", points=points, moved=moved, labels=labels, order=order)


@cache
def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script for a page that opens offline.

    Making it takes two seconds, so it is kept in the user's cache.
    """
    name = f"vega-{vl_convert.get_vega_version()}-{metadata.version('vl-convert-python')}.js"
    path = user_cache() / "vega" / name
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, script)
    except OSError:
        pass  # A cache that can't be written costs two seconds each time, not the report.
    return script


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 3, 10, 30 ... from below ``low`` to above ``high``; only powers of ten where that is plenty."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, max(last, first + 1) + 1)
    steps = (1, 3) if len(decades) <= 4 else (1,)
    ticks = [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]
    lowest = max(tick for tick in ticks if tick <= low * 1.000001)
    highest = min(tick for tick in ticks if tick >= high * 0.999999)
    return [tick for tick in ticks if lowest <= tick <= max(highest, lowest * 3)]


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
