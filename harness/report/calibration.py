"""The calibration that a report holds, put into words and small tables, the same in every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from harness.report.words import MARKS, calibrated, milliseconds, short_seconds
from harness.sla.verdict import worst

#: What stands where there is none.
NONE: Final = (
    "Not calibrated here yet: `stormwatch calibrate` injects known delays and losses, and compares them with "
    "what is reported."
)

_MEANING: Final[Mapping[str, str]] = {
    "pass": "what was injected is what was reported",
    "fail": "something else was reported than was injected",
    "inconclusive": "it could not be told whether what was injected was reported",
}


def summary(calibration: Mapping[str, Any]) -> str:
    """One sentence: when, where, and what came of it."""
    moment = datetime.fromisoformat(calibration["finished_at"])
    where = "on this machine" if calibration["same_machine"] else "on another machine"
    verdict = calibration["verdict"]
    return f"Calibrated {moment:%Y-%m-%d %H:%M} UTC {where}: {MARKS[verdict]} {_MEANING[verdict]}."


def injected(calibration: Mapping[str, Any]) -> list[str]:
    """Headings of the delays, in their order; 0 is the floor, which has a column of its own."""
    return [short_seconds(delay) for delay in _delays(calibration)]


def paths(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each path: ``title``, ``place``, ``floor``, the ``errors`` of its delays, the worst verdict.

    Each of ``errors`` is ``{error, verdict}``; the error is None where that delay was not measured.
    """
    rows = [row for row in calibration["rows"] if row["kind"] == "delay"]
    found = []
    for name in dict.fromkeys(row["path"] for row in rows):
        mine = {row["injected"]: row for row in rows if row["path"] == name}
        first = next(iter(mine.values()))
        found.append(
            {
                "title": first["title"],
                "place": first["place"],
                "floor": milliseconds(mine[0]["floor"]) if 0 in mine else "–",
                "errors": [_error(mine.get(delay)) for delay in _delays(calibration)],
                "verdict": worst(row["verdict"] for row in mine.values()),
            }
        )
    return found


def losses(calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each kind of loss: ``title``, ``injected``, ``reported``, ``verdict``."""
    return [
        {"title": row["title"], "verdict": row["verdict"], **_counts(row)}
        for row in calibration["rows"]
        if row["kind"] == "count"
    ]


def complaints(calibration: Mapping[str, Any]) -> list[str]:
    """Why each row that is no pass is none."""
    return [
        *calibration["doubts"],
        *(
            f"{row['title']}, {calibrated(row)['injected']} at {row['place']}: {row['reason']}"
            for row in calibration["rows"]
            if row["verdict"] != "pass"
        ),
    ]


def _delays(calibration: Mapping[str, Any]) -> Sequence[float]:
    return sorted({row["injected"] for row in calibration["rows"] if row["kind"] == "delay"} - {0})


def _error(row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"error": None, "verdict": "inconclusive"}
    return {"error": calibrated(row)["error"], "verdict": row["verdict"]}


def _counts(row: Mapping[str, Any]) -> dict[str, str]:
    figures = calibrated(row)
    return {key: figures[key] for key in ("injected", "reported")}
