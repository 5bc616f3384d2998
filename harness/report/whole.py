"""A long run in parts, each recorded and judged by itself, as a whole: from the reports of its parts.

The history of a part may be gone by then. A quantile of the whole lies between the least and the largest of
its parts, and so do the ends of its interval; shares are put together. What a part fails, the whole fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from harness.documents.report import Measurement, Report
from harness.documents.rows import IntegrityRow, ObjectiveRow
from harness.documents.run import Run
from harness.documents.verdict import RowVerdict, worst
from harness.history import RunFolder
from harness.judge.drift import drift_row
from harness.judge.evidence import Evidence
from harness.report.gate import read_report
from harness.sla.statistics import clopper_pearson

_EXAMPLES: Final = 10
#: Folder of the parts in that of their run, and how the names of theirs begin; a number follows.
PARTS: Final = "parts"
PART: Final = "part-"


class _Row(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def verdict(self) -> RowVerdict: ...


Row = TypeVar("Row", bound=_Row)


def reports_of_parts(run: RunFolder) -> list[Report]:
    """Return the reports of a run's parts as they were judged, in their order; none: it has no parts.

    Raises
    ------
    DocumentError
        One can't be read.
    """
    folders = sorted(run.path.glob(f"{PARTS}/{PART}*"), key=lambda one: int(one.name.removeprefix(PART)))
    return [read_report(folder) for folder in folders if RunFolder(folder).report_json.exists()]


def whole(parts: Sequence[Report], evidence: Evidence) -> Report:
    """Return the report of the whole.

    Parameters
    ----------
    parts : reports of its parts so far, in their order, at least one.
    evidence : readings of all parts, with their steady windows: what grows from part to part is seen there.
    """
    newest = parts[-1]
    policy, about = evidence.policy, evidence.run
    drift = [drift_row(name, one, evidence, ()) for name, one in policy.drift.items()]
    counted = list(map(_counted, parts)) if len(parts) > 1 else parts
    by_part = {rows[0].name: rows for rows in _named(part.drift for part in parts)}
    lines = [f"Part {number}: {part.verdict}, {_told(part)}." for number, part in enumerate(parts, start=1)]
    return newest.model_copy(
        update={
            "run": newest.run.model_copy(update=_about(about)),
            "objectives": tuple(_objective(rows) for rows in _named(part.objectives for part in counted)),
            "integrity": tuple(_integrity(rows) for rows in _named(part.integrity for part in counted)),
            "drift": tuple(
                row if row.measured is not None else _worst_of(by_part[row.name]) for row in drift
            ),
            "faults": tuple(fault for part in parts for fault in part.faults),
            "measurement": Measurement(
                checks=tuple(_worst_of(rows) for rows in _named(part.measurement.checks for part in parts))
            ),
            "stages": (),
            "timeline": None,
            "distributions": (),
            "games": (),
            "notes": tuple(lines),
        }
    )


def _about(run: Run) -> dict[str, Any]:
    return {
        name: getattr(run, name)
        for name in ("id", "started_at", "finished_at", "windows", "interrupted", "command")
    }


def _counted(part: Report) -> Report:
    """Return a part as its rows count: of one that was ended early, those that nothing could save."""
    if not part.run.interrupted:
        return part
    fail = {
        name: tuple(row for row in rows if row.verdict == "fail")
        for name, rows in (("objectives", part.objectives), ("integrity", part.integrity))
    }
    return part.model_copy(update=fail)


def _told(part: Report) -> str:
    rows: list[_Row] = [*part.objectives, *part.integrity, *part.drift]
    wrong = [row.name for row in rows if row.verdict == "fail"]
    return f"failed: {', '.join(wrong)}" if wrong else "nothing failed"


def _named(parts: Iterable[Sequence[Row]]) -> list[list[Row]]:
    """Return the rows of all parts, those of one name together."""
    found: dict[str, list[Row]] = {}
    for rows in parts:
        for row in rows:
            found.setdefault(str(row.name), []).append(row)
    return list(found.values())


def _worst_of(rows: Sequence[Row]) -> Row:
    """Return the first of those with the worst verdict."""
    verdict = worst(row.verdict for row in rows)
    return next((row for row in rows if row.verdict == verdict), rows[0])


def _objective(rows: Sequence[ObjectiveRow]) -> ObjectiveRow:
    for number, row in enumerate(rows, start=1):
        if row.verdict == "fail":
            return row.model_copy(update={"explanation": f"In part {number}. {row.explanation}"})
    seen = [row for row in rows if row.samples]
    if not seen:
        return rows[-1]
    count, effective = sum(row.samples for row in seen), sum(row.effective_samples for row in seen)
    lows, highs = ([end for row in seen if (end := row.interval[side]) is not None] for side in (0, 1))
    measured = [row.measured for row in seen if row.measured is not None]
    interval: tuple[Any, Any] = (min(lows, default=None), max(highs, default=None))
    found = max(measured, default=None)
    first = seen[0]
    if first.kind == "rate" and not any(row.undecided for row in seen):
        share = sum((row.measured or 0.0) * row.samples for row in seen) / count
        assert first.confidence is not None
        ends = clopper_pearson(share / 100 * effective, effective, first.confidence)
        found, interval = share, (100 * ends[0], 100 * ends[1])
    ceilings = [row.ceiling for row in seen if row.ceiling is not None]
    return _worst_of(seen).model_copy(
        update={
            "measured": found,
            "interval": interval,
            "samples": count,
            "clusters": sum(row.clusters for row in seen),
            "effective_samples": effective,
            "design_effect": max(row.design_effect for row in seen),
            "samples_needed": None,
            "clock_error": max(row.clock_error for row in seen),
            "resolution": max(row.resolution for row in seen),
            "lag_error": max(row.lag_error for row in seen),
            "undecided": sum(row.undecided for row in seen),
            "ceiling": max(ceilings, key=lambda one: (one.violations, one.measured or 0.0), default=None),
            "doubts": tuple(dict.fromkeys(doubt for row in seen for doubt in row.doubts)),
            "reason": "",
        }
    )


def _integrity(rows: Sequence[IntegrityRow]) -> IntegrityRow:
    doubts = (doubt for row in rows if row.looked_at for doubt in row.doubts)
    examples = [example for row in rows for example in row.examples]
    return rows[-1].model_copy(
        update={
            "violations": sum(row.violations for row in rows),
            "looked_at": sum(row.looked_at for row in rows),
            "doubts": tuple(dict.fromkeys(doubts)),
            "examples": tuple(examples[:_EXAMPLES]),
        }
    )
