"""The HTML page of a report: one file that opens offline, drawn from report.json alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from harness.documents.report import Report
from harness.documents.rows import Fault
from harness.documents.words import begin
from harness.report import calibration, validation, words
from harness.report.charts import PANELS, Panel, Spec, bundle, change, charts, config, over_releases
from harness.report.compare import LOOKS, Comparison
from harness.report.trend import Trend
from harness.sla.units import format_quantity

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_html(report: Report) -> str:
    """Return the page."""
    drawn = charts(report)
    places = ["timeline", *(f"scenario-{index}" for index in range(len(report.scenarios)))]
    return _page(
        "report",
        drawn,
        report=report,
        run=report.run,
        words=words,
        system=report.run.words,
        begin=begin,
        calibration=calibration,
        validation=validation,
        drawn=drawn,
        panels={place: _panels(place, drawn) for place in places},
        faults=_by_scenario(report),
        # What did not pass is read first.
        scenarios=sorted(enumerate(report.scenarios), key=lambda one: one[1].outcome == "passed"),
        titles={row.metric: row.title for row in report.objectives},
    )


def render_comparison(comparison: Comparison) -> str:
    """Return the page of a comparison."""
    drawn = {name: change(row) for name, row in comparison.rows.items() if row.value is not None}
    return _page("comparison", drawn, comparison=comparison, looks=LOOKS)


def render_trend(trend: Trend) -> str:
    """Return the page of a trend."""
    drawn = {one.name: over_releases(one, trend) for one in trend.series if any(one.rows)}
    return _page("trend", drawn, trend=trend, looks=LOOKS, drawn=drawn)


def _page(name: str, specs: Mapping[str, Spec], **values: Any) -> str:
    """Return a page with its charts."""
    scripts = {
        "specs": script_json(specs), "config": script_json(config()), "bundle": script_text(bundle()),
    }  # fmt: skip
    return _environment().get_template(f"{name}.html.jinja").render(values | scripts)


def script_json(document: Any) -> Markup:
    """Return a document as JSON that can't end the script element it stands in."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704 - escaped here


def script_text(text: str) -> Markup:
    """Return a script that can't end the element it stands in."""
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))  # noqa: S704 - ours, escaped here


def _panels(place: str, drawn: Mapping[str, Spec]) -> list[Panel]:
    """The panels of the timeline at ``place`` that have something to show."""
    return [panel for panel in PANELS if f"{place}-{panel.key}" in drawn]


def _by_scenario(report: Report) -> dict[str | None, list[tuple[int, Fault]]]:
    """The faults of each scenario, with their numbers; under None those that no scenario has."""
    scenarios = {row.id for row in report.scenarios}
    found: dict[str | None, list[tuple[int, Fault]]] = defaultdict(list)
    for index, fault in enumerate(report.faults):
        found[fault.scenario if fault.scenario in scenarios else None].append((index, fault))
    return found


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "quantity": format_quantity,
        "count": words.count,
        "clock": _clock,
        "signed_ms": _signed_ms,
        "time_of_day": _time_of_day,
    }
    return environment


def _clock(moment: str | None) -> str:
    """``2026-11-23 21:00:00 UTC``."""
    return "–" if moment is None else f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC"


def _time_of_day(moment: str | None) -> str:
    """``21:00:00``."""
    return "–" if moment is None else f"{datetime.fromisoformat(moment):%H:%M:%S}"


def _signed_ms(later: float | None, earlier: float | None) -> str:
    """``+38 ms``: how long after."""
    if later is None or earlier is None:
        return "–"
    return f"{later - earlier:+.0f} ms"
