"""The charts of a report, as Vega-Lite specifications over its data.

Colours are CSS variables of the page, so that a chart follows the page from light to dark to paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal, NamedTuple

import platformdirs
import vl_convert

from harness.files import write_atomically
from harness.sla.verdict import number

Spec = dict[str, Any]

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

_COLOURS: Final = [f"var(--series-{n})" for n in range(1, 6)]

#: What holds for every chart; the page hands it to Vega-Embed once.
CONFIG: Final[Spec] = {
    "autosize": {"type": "fit-x", "contains": "padding"},
    # The place of a chart on the page says what it shows; its marks have nothing to add to that.
    "mark": {"aria": False},
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "aria": False,
        "labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "gridColor": "var(--line)",
        "domainColor": "var(--line)", "tickColor": "var(--line)",
        "labelFontSize": 11, "titleFontWeight": "normal",
    },
    "legend": {
        "aria": False,
        "labelColor": "var(--ink)", "titleColor": "var(--quiet)", "orient": "top", "title": None, "offset": 2,
        "labelFontSize": 11, "columns": {"expr": "max(1, floor(width / 120))"},
    },
    "text": {"color": "var(--ink)"},
    "range": {"category": _COLOURS},
}  # fmt: skip


def charts(report: Mapping[str, Any]) -> dict[str, Spec]:
    """Return every chart of a report by the id of its place on the page."""
    found = {f"objective-{row['name']}": objective(row) for row in report["objectives"] if _drawable(row)}
    found |= timelines(report)
    thresholds = {row["metric"]: row["threshold"] for row in report["objectives"]}
    for one in report["distributions"]:
        found[f"distribution-{one['metric']}"] = distribution(one, thresholds.get(one["metric"]))
    if any(stage["samples"] for stage in report["stages"]):
        found["stages"] = stages(report)
    for index, game in enumerate(report["games"]):
        found[f"game-{index}"] = strip(game)
    return found


def used(row: Mapping[str, Any], value: float | str | None) -> float | None:
    """Return how much of what an objective allows ``value`` uses up: 1 is the threshold itself."""
    plain = number(value)
    if plain is None:
        return None
    if row["comparison"] == "<":
        return plain / row["threshold"] if row["threshold"] else None
    top = 100.0 if row["unit"] == "%" else 0.0
    return (top - plain) / (top - row["threshold"]) if top != row["threshold"] else None


def _drawable(row: Mapping[str, Any]) -> bool:
    return row["samples"] > 0 and used(row, row["measured"]) is not None


def objective(row: Mapping[str, Any]) -> Spec:
    """One objective: its interval against what it may use up."""
    most = 10.0
    measured = min(used(row, row["measured"]) or 0.0, most)
    ends = [used(row, end) for end in row["interval"]]
    low, high = sorted(min(max(end if end is not None else measured, 0.0), most) for end in ends)
    colour = f"var(--{row['verdict']})"
    scale = {"type": "symlog", "constant": 0.02, "domain": [0, most], "nice": False}
    axis = {
        "values": [0, 0.01, 0.1, 1, 10],
        "labelExpr": "datum.value == 1 ? 'promise' : datum.value == 10 ? '×10' : format(datum.value, '~%')",
        "title": None, "grid": False, "domain": False, "ticks": False, "labelPadding": 3,
        "labelFlush": True,
    }  # fmt: skip
    return {
        "width": "container",
        "height": 18,
        "data": {"values": [{"low": low, "high": high, "measured": measured, "promise": 1}]},
        "encoding": {"x": {"type": "quantitative", "scale": scale, "axis": axis}},
        "layer": [
            {
                "mark": {"type": "rect", "color": "var(--band)"},
                "encoding": {"x": {"datum": 0}, "x2": {"datum": 1}},
            },
            {
                "mark": {"type": "bar", "height": 8, "color": colour, "opacity": 0.45, "minBandSize": 2},
                "encoding": {"x": {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "tick", "thickness": 3, "size": 16, "color": colour},
                "encoding": {"x": {"field": "measured"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": "var(--ink)"},
                "encoding": {"x": {"field": "promise"}},
            },
        ],
    }


def timelines(report: Mapping[str, Any]) -> dict[str, Spec]:
    """The panels of the run's timeline and of each scenario's, one chart each, with the faults shaded."""
    found: dict[str, Spec] = {}
    if line := report["timeline"]:
        shades = [
            {"from": window["start_ms"], "to": window["end_ms"], "what": window["name"]}
            for window in line["windows"]
            if window["name"] != "steady"
        ]
        found |= _timeline("timeline", line, PANELS, shades, _windows(report, None, line))
    for index, scenario in enumerate(report["scenarios"]):
        if line := scenario.get("timeline"):
            faults = _windows(report, scenario["id"], line)
            found |= _timeline(f"scenario-{index}", line, SCENARIO_PANELS, [], faults)
    return found


def _windows(report: Mapping[str, Any], scenario: str | None, line: Mapping[str, Any]) -> list[Spec]:
    """When the faults of a scenario, or of the load itself, lasted, and where their cards are."""
    return [
        {
            "from": _ms(fault["started_at"]),
            "to": _ms(fault["ended_at"]) if fault["ended_at"] else _end_ms(line),
            "what": fault["name"],
            "url": f"#fault-{index}",
        }
        for index, fault in enumerate(report["faults"])
        if fault["scenario"] == scenario and fault["started_at"]
    ]


def _timeline(
    place: str, line: Mapping[str, Any], panels: Iterable[Panel], shades: list[Spec], faults: list[Spec]
) -> dict[str, Spec]:
    found = {}
    for panel in panels:
        series = [
            one
            for one in line["series"]
            if one["panel"] == panel.key and any(_shown(value, panel) for value in one["values"])
        ]
        if series:
            found[f"{place}-{panel.key}"] = _panel(panel, line, series, shades, faults)
    return found


def _shown(value: float | None, panel: Panel) -> bool:
    # A logarithmic axis has no 0.
    return value is not None and (value > 0 or panel.axis != "seconds")


def _panel(
    panel: Panel,
    line: Mapping[str, Any],
    series: list[Mapping[str, Any]],
    shades: list[Spec],
    faults: list[Spec],
) -> Spec:
    time = {
        "field": "t", "type": "temporal", "title": None,
        "scale": {"domain": [line["start_ms"], _end_ms(line)], "type": "utc"},
        "axis": {
            "format": "%H:%M:%S", "grid": False, "labelFlush": True, "labelOverlap": True,
            "labelSeparation": 8,
        },
    }  # fmt: skip
    columns = [
        {"s": one["title"], "v": [value if _shown(value, panel) else None for value in one["values"]]}
        for one in series
    ]
    values = [value for column in columns for value in column["v"] if value is not None]
    band = {"x": {"field": "from", "type": "temporal"}, "x2": {"field": "to"}, "tooltip": {"field": "what"}}
    mark: Spec = {"type": "line", "strokeWidth": 1.6, "tooltip": True, "clip": True}
    if panel.axis == "breaker":
        mark["interpolate"] = "step-after"
    # Times follow from the places of the values: a page holds tens of thousands of them.
    transform: list[Spec] = [
        {"flatten": ["v"]},
        {"window": [{"op": "row_number", "as": "i"}], "groupby": ["s"]},
        {"calculate": f"{line['start_ms']} + (datum.i - 1) * {line['bin_s'] * 1000}", "as": "t"},
    ]
    if line["bins"] <= _MOST_POINTS:
        # A line ends where nothing was measured; what stands alone between two gaps is seen as its point.
        mark["point"] = {"size": 14}
    else:
        transform.append({"filter": "isValid(datum.v)"})
    layers: list[Spec] = [
        {
            "data": {"values": shades},
            "mark": {"type": "rect", "color": "var(--band)", "clip": True},
            "encoding": band,
        },
        {
            "data": {"values": faults},
            # With an edge, so that one that is short against the run is seen too.
            "mark": {
                "type": "rect", "clip": True, "cursor": "pointer", "color": "var(--fail)",
                "fillOpacity": 0.2, "stroke": "var(--fail)", "strokeOpacity": 0.5,
            },
            "encoding": band | {"href": {"field": "url"}},
        },
        {
            "data": {"values": columns},
            "transform": transform,
            "mark": mark,
            "encoding": {
                "x": time,
                "y": {"field": "v", "type": "quantitative"} | _y(panel, min(values), max(values)),
                # One line needs no legend: its panel's heading says what it is.
                "color": {"field": "s", "type": "nominal", "sort": None}
                | ({"legend": None} if len(series) == 1 else {}),
            },
        },
    ]  # fmt: skip
    return {"width": "container", "height": 60 if panel.axis == "breaker" else 110, "layer": layers}


def _y(panel: Panel, low: float, high: float) -> Spec:
    """The y axis of a panel, as wide as those of the others, and its scale."""
    axis: Spec = {"title": None, "minExtent": 60, "maxExtent": 60, "tickCount": 4}
    if panel.axis == "breaker":
        labels = "['closed', 'half-open', 'open'][datum.value]"
        return {"axis": axis | {"values": [0, 1, 2], "labelExpr": labels}, "scale": {"domain": [0, 2]}}
    if panel.axis == "number":
        return {"axis": axis, "scale": {"nice": True}}
    ticks = _log_ticks(low, high)
    scale = {"type": "log", "nice": False, "domain": [ticks[0], ticks[-1]]}
    return {"axis": axis | {"labelExpr": _SECONDS, "values": ticks}, "scale": scale}


def _end_ms(line: Mapping[str, Any]) -> int:
    end: int = line["start_ms"] + line["bins"] * line["bin_s"] * 1000
    return end


def distribution(one: Mapping[str, Any], threshold: float | None) -> Spec:
    """A histogram on logarithmic axes, with its quantiles and the promise."""
    bins = [{"from": low, "to": high, "n": count} for low, high, count in one["bins"]]
    marks = [{"at": value, "what": name} for name, value in one["quantiles"].items() if value is not None]
    highest = max([threshold or 0.0, *(row["to"] for row in bins)])
    lowest = min([row["from"] for row in bins], default=1e-3)
    scale = {"type": "log", "domain": [lowest, highest * 1.1], "nice": False}
    axis = {
        "title": None, "labelExpr": _SECONDS, "grid": False, "labelOverlap": True,
        "values": _log_ticks(lowest, highest),
    }  # fmt: skip
    layers: list[Spec] = [
        {
            "data": {"values": bins},
            "mark": {"type": "rect", "color": _COLOURS[0], "tooltip": True},
            "encoding": {
                "x": {"field": "from", "type": "quantitative", "scale": scale, "axis": axis},
                "x2": {"field": "to"},
                "y2": {"datum": 0},
                "y": {
                    "field": "n", "type": "quantitative", "scale": {"type": "symlog"}, "title": None,
                    "axis": {"tickCount": 4, "format": "~s", "minExtent": 36},
                },
            },
        },
        {
            "data": {"values": marks},
            "mark": {"type": "rule", "color": "var(--quiet)", "strokeDash": [3, 3]},
            "encoding": {"x": {"field": "at", "type": "quantitative"}, "tooltip": {"field": "what"}},
        },
    ]  # fmt: skip
    if threshold is not None:
        layers.append(
            {
                "data": {"values": [{"at": threshold}]},
                "mark": {"type": "rule", "color": "var(--fail)", "strokeWidth": 2},
                "encoding": {"x": {"field": "at", "type": "quantitative"}},
            }
        )
    return {"width": "container", "height": 130, "layer": layers}


def stages(report: Mapping[str, Any]) -> Spec:
    """Where the time goes: median and 95th percentile of each stage."""
    values = [
        {"stage": stage["title"], "q": q, "v": stage[q]}
        for stage in report["stages"]
        for q in ("p95", "p50")
        if stage[q] is not None
    ]
    return {
        "width": "container",
        "height": {"step": 26},
        "data": {"values": values},
        "mark": {"type": "bar", "height": 14, "tooltip": True},
        "encoding": {
            "y": {
                "field": "stage", "type": "nominal", "sort": None, "title": None,
                "axis": {"labelLimit": 150},
            },
            "x": {
                "field": "v", "type": "quantitative", "stack": None, "title": None,
                "axis": {"labelExpr": _SECONDS, "tickCount": 5},
            },
            "color": {
                "field": "q", "type": "nominal",
                "scale": {"domain": ["p50", "p95"], "range": [_COLOURS[0], "var(--band-strong)"]},
            },
        },
    }  # fmt: skip


def strip(game: Mapping[str, Any]) -> Spec:
    """One game: when it was due, when it moved, when each player heard of it."""
    heard = [
        {"t": d["received_ms"] / 1000, "player": d["player"], "what": "received", "event": d["seq"]}
        for d in game["deliveries"]
        if d["received_ms"] is not None
    ]
    missed = [
        {"t": d["committed_ms"] / 1000, "player": d["player"], "what": "never received", "event": d["seq"]}
        for d in game["deliveries"]
        if d["received_ms"] is None and d["committed_ms"] is not None
    ]
    moves = [
        {"t": move[key] / 1000, "what": f"{move['move']} {word}", "kind": word}
        for move in game["moves"]
        for key, word in (("due_ms", "due"), ("moved_ms", "moved"))
        if move[key] is not None
    ]
    x = {
        "field": "t", "type": "quantitative", "title": "seconds into the game",
        "axis": {"grid": False}, "scale": {"zero": False},
    }  # fmt: skip
    outcomes = ["received", "never received"]
    y = {"field": "player", "type": "nominal", "title": None, "axis": {"minExtent": 56}}
    return {
        "width": "container",
        "height": {"step": 22},
        "layer": [
            {
                "data": {"values": moves},
                "mark": {"type": "rule", "tooltip": {"content": "data"}},
                "encoding": {
                    "x": x,
                    "strokeDash": {
                        "field": "kind", "type": "nominal", "legend": None,
                        "scale": {"domain": ["moved", "due"], "range": [[1, 0], [3, 3]]},
                    },
                    "color": {"value": "var(--quiet)"},
                },
            },
            {
                "data": {"values": heard + missed},
                "mark": {
                    "type": "point", "filled": True, "size": 55, "opacity": 1,
                    "tooltip": {"content": "data"},
                },
                "encoding": {
                    "x": x,
                    "y": y,
                    "shape": {
                        "field": "what", "type": "nominal", "legend": None,
                        "scale": {"domain": outcomes, "range": ["circle", "cross"]},
                    },
                    "color": {
                        "field": "what", "type": "nominal", "legend": None,
                        "scale": {"domain": outcomes, "range": [_COLOURS[0], "var(--fail)"]},
                    },
                },
            },
        ],
    }  # fmt: skip


def change(row: Mapping[str, Any]) -> Spec:
    """One objective of a comparison: the interval of its change, in tolerances."""

    def place(value: float) -> float:
        if row["effect"] == "ratio":
            value = math.log(value) / math.log1p(row["limit"]) if value > 0 else -_MOST_TOLERANCES
        else:
            value = value / row["limit"]
        return min(max(value, -_MOST_TOLERANCES), _MOST_TOLERANCES)

    low, high = (place(end) for end in row["interval"])
    looks = {"better": "pass", "same": "pass", "worse": "fail"}.get(row["change"], "inconclusive")
    scale = {"domain": [-_MOST_TOLERANCES, _MOST_TOLERANCES], "nice": False}
    axis = {
        "values": [-3, 0, 3], "title": None, "grid": False, "domain": False, "ticks": False,
        "labelExpr": "datum.value == 0 ? 'unchanged' : datum.value < 0 ? 'better' : 'worse'",
    }  # fmt: skip
    return {
        "width": "container",
        "height": 18,
        "data": {"values": [{"low": low, "high": high, "value": place(row["value"])}]},
        "encoding": {"x": {"type": "quantitative", "scale": scale, "axis": axis}},
        "layer": [
            {
                "mark": {"type": "rect", "color": "var(--band)"},
                "encoding": {"x": {"datum": -1}, "x2": {"datum": 1}},
            },
            {
                "mark": {"type": "bar", "height": 8, "color": f"var(--{looks})", "opacity": 0.45},
                "encoding": {"x": {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "tick", "thickness": 3, "size": 16, "color": f"var(--{looks})"},
                "encoding": {"x": {"field": "value"}},
            },
            {
                "mark": {"type": "rule", "color": "var(--ink)"},
                "encoding": {"x": {"datum": 0}},
            },
        ],
    }


@cache
def bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script for a page that opens offline.

    Making it takes two seconds, so it is kept in the user's cache.
    """
    name = f"vega-{vl_convert.get_vega_version()}-{metadata.version('vl-convert-python')}.js"
    path = platformdirs.user_cache_path("stormwatch") / name
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
