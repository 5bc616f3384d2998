"""How figures of a report are put into words, the same in every view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from harness.documents.base import INFINITY, Example
from harness.documents.rows import CheckRow, DriftRow, Fault, Finding, ObjectiveRow, ScenarioRow
from harness.documents.verdict import Verdict, worst
from harness.documents.words import Words
from harness.sla.units import format_limited, format_quantity

MARKS: Final[Mapping[str, str]] = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not applicable": "–"}
#: How verdicts look in a terminal.
STYLES: Final[Mapping[str, str]] = {
    "pass": "green", "fail": "bold red", "inconclusive": "yellow", "not applicable": "dim",
}  # fmt: skip

#: What a verdict of the whole run means, in a sentence.
MEANING: Final[Mapping[str, str]] = {
    "pass": "Every promise was kept, and there is enough evidence to say so.",
    "fail": "A promise was broken.",
    "inconclusive": "There is not enough trustworthy evidence to say pass or fail.",
}


def measured(row: ObjectiveRow) -> str:
    """``p95 48.3 ms`` or ``99.98 %``."""
    value = format_quantity(row.measured, row.unit)
    return f"{quantile_name(row.quantile)} {value}" if row.quantile and row.measured is not None else value


def interval(row: ObjectiveRow) -> str:
    """``47.8 ms to 48.7 ms``; a census has none."""
    if row.measured is None:
        return "–"
    if row.confidence is None:
        return "exact"
    low, high = (format_quantity(end, row.unit) for end in row.interval)
    return f"{low} to {high}" if low != high else low


def target(row: ObjectiveRow) -> str:
    """``< 2 s``."""
    value = f"{row.threshold:g} %" if row.unit == "%" else short_seconds(row.threshold)
    text = f"{row.comparison} {value}"
    return f"{text}, none over {short_seconds(row.ceiling.threshold)}" if row.ceiling else text


def short_seconds(value: float) -> str:
    """``2 s``, ``500 ms``."""
    return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"


def reason(row: ObjectiveRow) -> str:
    """An objective's figures, and why it is no pass."""
    if row.verdict == "not applicable":
        return row.reason
    figures = "not measured" if row.measured is None else f"{measured(row)} ({interval(row)})"
    return f"{figures}, promised {target(row)}. {row.reason}".rstrip()


def quantile_name(q: float) -> str:
    """``p95``, ``p99.9``."""
    return f"p{q * 100:g}"


def count(value: float) -> str:
    """Thousands set apart: ``31 204``."""
    return f"{value:,.0f}".replace(",", "\u202f")


def limited(row: CheckRow) -> str:
    """A measurement check's figure against its limit: ``33 % (limit 90 %)``."""
    return format_limited(row.measured, row.unit, row.limit)


def grows(row: DriftRow) -> str:
    """``+12.3 MB an hour (service-1)``."""
    if row.measured is None:
        return "–"
    whose = f" ({row.actor})" if row.actor else ""
    return f"{growth(row.measured, row.unit)} an hour{whose}"


def growth_interval(row: DriftRow) -> str:
    """``-3 MB to +27 MB``."""
    low, high = row.interval
    return "–" if low is None or high is None else f"{growth(low, row.unit)} to {growth(high, row.unit)}"


def growth_reason(row: DriftRow) -> str:
    """Why a row of what must not grow is no pass; nothing if it is one."""
    if row.doubts:
        return f"Not judged: {'; '.join(row.doubts)}"
    if row.measured is None:
        return "Nothing of it was recorded for long enough in the steady state."
    if row.verdict == "fail":
        return f"It grows by {growth_interval(row)} an hour, and may by {growth(row.limit, row.unit)}."
    if row.verdict == "pass":
        return ""
    if row.needed_s is None:
        return "It grows by just what it may."
    minutes = math.ceil(row.needed_s / 60)
    return f"Too short to tell: a run of {count(minutes)} min would (--duration {minutes}min)."


def growth(value: float, unit: str) -> str:
    """``+3.2 MB``, ``-1.20 ms``."""
    size = abs(value)
    figure = (
        format_quantity(size, unit)
        if unit == "s"
        else f"{count(size) if size >= 100 else f'{size:.2g}'} {unit}"
    )
    return f"{'+' if value > 0 else '-' if value < 0 else ''}{figure}"


def share(value: float | None) -> str:
    """A fraction as ``12.5 %``."""
    return "–" if value is None else f"{value * 100:.3g} %"


# --- faults and scenarios ------------------------------------------------------------------------------


def fault_verdict(fault: Fault) -> Verdict:
    """What the expectations of a fault come to, whatever they mean for the run."""
    return worst(row.verdict for row in fault.expectations)


def expected(row: Finding) -> str:
    """What came of an expectation: ``measured 16, threshold 20 (12 readings)``."""
    text = f"measured {'nothing' if row.measured is None else _figure(row.measured, row.unit)}"
    if row.threshold is not None:
        limit = short_seconds(row.threshold) if row.unit == "s" else _figure(row.threshold, "")
        text += f", threshold {limit}"
    return f"{text} ({row.explanation})" if row.explanation else text


def named(entry: Example, words: Words) -> Example:
    """A row, with its item under what the system calls one: ``lot``."""
    return {words.item if key == "game" else key: value for key, value in entry.items()}


def place(entry: Example, words: Words) -> dict[str, str]:
    """Whom a row is about: the item, the event, the actor, as far as it tells."""
    found = named(entry, words)
    return {key: str(found[key]) for key in (words.item, "event", "actor") if key in found}


def example(entry: Example, system: Words) -> str:
    """A row that broke an expectation: ``tick, actor cron, start 21:21:08.162``."""
    entry = named(entry, system)
    words = [str(entry["name"])] if "name" in entry else []
    words += [f"{key} {_time_of_day(str(value))}" for key, value in entry.items() if key != "name"]
    return ", ".join(words)


def example_value(value: float | str | None) -> str:
    """How long one of the worst took."""
    return format_quantity(math.inf if value == INFINITY else None if value is None else float(value), "s")


def message(scenario: ScenarioRow) -> str:
    """What a scenario said, without the command that the report has beside it."""
    lines = (scenario.message or "").splitlines()
    return "\n".join(line for line in lines if line != f"again: {scenario.command}").strip()


def summary(scenario: ScenarioRow, faults: Sequence[Fault]) -> str:
    """A scenario in a few words: ``9.3 s · 1 fault · 20 of 21 as expected``."""
    found = [] if scenario.seconds is None else [f"{scenario.seconds:.1f} s"]
    if faults:
        found.append("1 fault" if len(faults) == 1 else f"{len(faults)} faults")
    if every := sum(len(fault.expectations) for fault in faults):
        found.append(f"{every - sum(len(fault.unmet) for fault in faults)} of {every} as expected")
    return " · ".join(found)


#: The time of day in an RFC 3339 time.
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT([\d:.]+)(?:Z|[+-]\d\d:\d\d)$")


def _time_of_day(text: str) -> str:
    return found[1] if (found := _TIME.match(text)) else text


def _figure(value: float, unit: str) -> str:
    """A figure in the units of expectations, large ones with their thousands set apart."""
    large = abs(value) >= 10_000 and unit not in {"s", "%"}
    return f"{count(value)} {unit}".rstrip() if large else format_quantity(value, unit)
