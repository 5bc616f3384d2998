"""How figures of a report are put into words, the same in every view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.sla.units import format_quantity
from harness.sla.verdict import number

MARKS: Final[Mapping[str, str]] = {"pass": "✓", "fail": "✗", "inconclusive": "?"}

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
