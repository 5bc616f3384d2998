"""The calibration that a report holds, put into words and small tables, the same in every view."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from harness.documents.shown import Calibrated, CalibrationShown
from harness.documents.verdict import Verdict, worst
from harness.report.words import MARKS, short_seconds
from harness.sla.units import format_quantity

#: What stands where there is none.
NONE: Final = (
    "Not calibrated here yet: `stormwatch calibrate` injects known delays and losses, and compares them with "
    "what is reported."
)

_MEANING: Final[Mapping[Verdict, str]] = {
    "pass": "what was injected is what was reported",
    "fail": "something else was reported than was injected",
    "inconclusive": "it could not be told whether what was injected was reported",
}


class Path(NamedTuple):
    """A path on which delays were injected: where, what it needs anyway, and the row of each delay."""

    title: str
    place: str
    floor: str
    #: None where that delay was not measured.
    delays: list[Calibrated | None]
    verdict: Verdict


def summary(calibration: CalibrationShown) -> str:
    """One sentence: when, where, and what came of it."""
    moment = datetime.fromisoformat(calibration.finished_at)
    where = "on this machine" if calibration.same_machine else "on another machine"
    verdict = calibration.verdict
    return f"Calibrated {moment:%Y-%m-%d %H:%M} UTC {where}: {MARKS[verdict]} {_MEANING[verdict]}."


def delays(calibration: CalibrationShown) -> list[float]:
    """The delays in seconds, in their order; 0 is the floor, which has a column of its own."""
    return sorted({row.injected for row in calibration.rows if row.kind == "delay"} - {0})


def paths(calibration: CalibrationShown) -> list[Path]:
    """A row for each path."""
    rows = [row for row in calibration.rows if row.kind == "delay"]
    found = []
    for name in dict.fromkeys(row.path for row in rows):
        mine = {row.injected: row for row in rows if row.path == name}
        first = next(iter(mine.values()))
        floor = milliseconds(mine[0].floor) if 0 in mine else "–"
        errors = [mine.get(delay) for delay in delays(calibration)]
        found.append(
            Path(first.title, first.place, floor, errors, worst(row.verdict for row in mine.values()))
        )
    return found


def losses(calibration: CalibrationShown) -> list[Calibrated]:
    """A row for each kind of loss."""
    return [row for row in calibration.rows if row.kind == "count"]


def complaints(calibration: CalibrationShown) -> list[str]:
    """Why each row that is no pass is none."""
    return [*calibration.doubts, *(complaint(row) for row in calibration.rows if row.verdict != "pass")]


def complaint(row: Calibrated) -> str:
    """Why a row is no pass."""
    return f"{row.title}, {figures(row)['injected']} at {row.place}: {row.reason}"


def figures(row: Calibrated) -> dict[str, str]:
    """Each figure of a row: ``500 ms``, ``501 ms``, ``+0.712 ms``, ``7.00 ms``."""
    if row.kind == "count":
        found = {"injected": row.injected, "reported": row.reported, "error": row.error}
        counts = {key: "–" if value is None else f"{value:g}" for key, value in found.items()}
        return counts | {"floor": "", "allowed": "0"}
    return {
        "floor": format_quantity(row.floor, "s"),
        "injected": short_seconds(row.injected) if row.injected else "0 ms",
        "reported": milliseconds(row.reported),
        "error": signed(row.error),
        "allowed": f"±{milliseconds(row.allowed)}",
    }


def milliseconds(value: float | None) -> str:
    """``500.71 ms``: hundredths, where the difference of two long times is what counts."""
    return "–" if value is None else f"{value * 1000:.2f} ms".replace("-", "−")


def signed(value: float | None) -> str:
    """``+0.71 ms``."""
    return "–" if value is None else f"{'−' if value < 0 else '+'}{abs(value) * 1000:.2f} ms"
