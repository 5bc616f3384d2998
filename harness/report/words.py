"""How figures of a report are put into words, the same in every view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.sla.units import format_quantity
from harness.sla.verdict import number

MARKS: Final[Mapping[str, str]] = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not applicable": "–"}

#: What a verdict of the whole run means, in a sentence.
MEANING: Final[Mapping[str, str]] = {
    "pass": "Every promise was kept, and there is enough evidence to say so.",
    "fail": "A promise was broken.",
    "inconclusive": "There is not enough trustworthy evidence to say pass or fail.",
}


def measured(row: Mapping[str, Any]) -> str:
    """``p95 48.3 ms`` or ``99.98 %``."""
    if row["measured"] is None:
        return "–"
    value = format_quantity(number(row["measured"]), row["unit"])
    return f"{quantile_name(row['quantile'])} {value}" if row["quantile"] else value


def interval(row: Mapping[str, Any]) -> str:
    """``47.8 ms to 48.7 ms``; a census has none."""
    if row["measured"] is None:
        return "–"
    if row["confidence"] is None:
        return "exact"
    low, high = (format_quantity(number(end), row["unit"]) for end in row["interval"])
    return f"{low} to {high}" if low != high else low


def target(row: Mapping[str, Any]) -> str:
    """``< 2.00 s``."""
    value = f"{row['threshold']:g} %" if row["unit"] == "%" else short_seconds(row["threshold"])
    text = f"{row['comparison']} {value}"
    return f"{text}, none over {short_seconds(row['ceiling']['threshold'])}" if row["ceiling"] else text


def short_seconds(value: float) -> str:
    """``2 s``, ``500 ms``."""
    return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"


def reason(row: Mapping[str, Any]) -> str:
    """An objective's figures, and why it is no pass."""
    if row["verdict"] == "not applicable":
        return str(row["reason"])
    if row["measured"] is None:
        return f"not measured, promised {target(row)}. {row['reason']}".rstrip()
    return f"{measured(row)} ({interval(row)}), promised {target(row)}. {row['reason']}".rstrip()


def quantile_name(q: float) -> str:
    """``p95``, ``p99.9``."""
    return f"p{q * 100:g}"


def count(value: float) -> str:
    """Thousands set apart: ``31 204``."""
    return f"{value:,.0f}".replace(",", "\u202f")


def limited(row: Mapping[str, Any]) -> str:
    """A measurement check's figure against its limit: ``33 % (limit 90 %)``."""
    if row["unit"] in {"", "missing", "cut off", "rows"}:
        return "–" if row["measured"] is None else f"{row['measured']:g} {row['unit']}"
    value = format_quantity(number(row["measured"]), row["unit"])
    if row["limit"] is None or row["measured"] is None:
        return value
    return f"{value} (limit {format_quantity(row['limit'], row['unit'])})"


def share(value: float | None) -> str:
    """A fraction as ``12.5 %``."""
    return "–" if value is None else f"{value * 100:.3g} %"


# --- faults and scenarios ------------------------------------------------------------------------------


def not_met(fault: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The expectations of a fault that are no pass."""
    return [row for row in fault["expectations"] if row["verdict"] != "pass"]


def decisive(fault: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The expectations of a fault that make the run no pass: of a scenario's, only broken integrity does."""
    unmet = not_met(fault)
    if fault["scenario"] is None:
        return unmet
    return [row for row in unmet if row.get("integrity") and row["verdict"] == "fail"]


def broken_in_scenarios(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The faults of scenarios under which something happened that must never happen."""
    return [fault for fault in report["faults"] if fault["scenario"] is not None and decisive(fault)]


def fault_verdict(fault: Mapping[str, Any]) -> str:
    """What the expectations of a fault come to: fail before inconclusive before pass."""
    found = {row["verdict"] for row in not_met(fault)}
    return "fail" if "fail" in found else "inconclusive" if found else "pass"


def faults_of_load(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The faults that were on during the load itself: no scenario's outcome speaks for them."""
    return [fault for fault in report["faults"] if fault["scenario"] is None]


def scenarios_not_passed(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The scenarios that did not pass, whatever else became of them."""
    return [row for row in report["scenarios"] if row["outcome"] != "passed"]


def expected(row: Mapping[str, Any]) -> str:
    """What came of an expectation: ``measured 16, threshold 20 (12 readings)``."""
    unit = row.get("unit") or ""
    value = number(row["measured"])
    text = f"measured {'nothing' if value is None else _figure(value, unit)}"
    if row["threshold"] is not None:
        limit = row["threshold"]
        text += f", threshold {short_seconds(limit) if unit == 's' else _figure(limit, '')}"
    return f"{text} ({row['explanation']})" if row.get("explanation") else text


def example(entry: Mapping[str, Any]) -> str:
    """A row that broke an expectation: ``tick, actor cron, start 21:21:08.162``."""
    words = [str(entry["name"])] if "name" in entry else []
    words += [f"{key} {_time_of_day(str(value))}" for key, value in entry.items() if key != "name"]
    return ", ".join(words)


def message(scenario: Mapping[str, Any]) -> str:
    """What a scenario said, without the command that the report has beside it."""
    lines = (scenario["message"] or "").splitlines()
    return "\n".join(line for line in lines if line != f"again: {scenario['command']}").strip()


def summary(scenario: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> str:
    """A scenario in a few words: ``9.3 s · 1 fault · 20 of 21 as expected``."""
    found = [] if scenario["seconds"] is None else [f"{scenario['seconds']:.1f} s"]
    if faults:
        found.append("1 fault" if len(faults) == 1 else f"{len(faults)} faults")
    if every := sum(len(fault["expectations"]) for fault in faults):
        found.append(f"{every - sum(len(not_met(fault)) for fault in faults)} of {every} as expected")
    return " · ".join(found)


def _time_of_day(text: str) -> str:
    return found[1] if (found := _TIME.match(text)) else text


#: The time of day in an RFC 3339 time.
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT([\d:.]+)(?:Z|[+-]\d\d:\d\d)$")


def _figure(value: float, unit: str) -> str:
    """A figure in the units of expectations, large ones with their thousands set apart."""
    large = abs(value) >= 10_000 and math.isfinite(value) and unit not in {"s", "%"}
    return f"{count(value)} {unit}".rstrip() if large else format_quantity(value, unit)


# --- calibration ---------------------------------------------------------------------------------------


def calibrated(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of a calibration, each of its figures: ``500 ms``, ``501 ms``, ``+0.712 ms``, ``7.00 ms``."""
    if row["kind"] == "count":
        keys = ("injected", "reported", "error")
        figures = {key: "–" if row[key] is None else f"{row[key]:g}" for key in keys}
        return figures | {"floor": "", "interval": "exact", "allowed": "0"}
    span = "–" if row["interval"] is None else " to ".join(signed(end) for end in row["interval"])
    return {
        "floor": format_quantity(row["floor"], "s"),
        "injected": short_seconds(row["injected"]) if row["injected"] else "0 ms",
        "reported": milliseconds(row["reported"]),
        "error": signed(row["error"]),
        "interval": span,
        "allowed": f"±{milliseconds(row['allowed'])}",
    }


def milliseconds(value: float | None) -> str:
    """``500.71 ms``: hundredths, where the difference of two long times is what counts."""
    return "–" if value is None else f"{value * 1000:.2f} ms".replace("-", "−")


def signed(value: float | None) -> str:
    """``+0.71 ms``."""
    return "–" if value is None else f"{'−' if value < 0 else '+'}{abs(value) * 1000:.2f} ms"
