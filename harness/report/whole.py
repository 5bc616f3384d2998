"""A long run in parts, each recorded and judged by itself, as a whole: from the reports of its parts.

The history of a part may be gone by then. A quantile of the whole lies between the least and the largest of
its parts, and so do the ends of its interval; shares are put together. What a part fails, the whole fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from harness.documents.report import Measurement, Report
from harness.documents.rows import CheckRow, IntegrityRow, ObjectiveRow
from harness.documents.run import Run
from harness.documents.verdict import RowVerdict, worst
from harness.history import RunFolder
from harness.history.witnesses import read_doubts
from harness.judge.check import RUN, checked
from harness.judge.drift import drift_row
from harness.judge.evidence import Evidence
from harness.judge.record import complete_run
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


def parts_of(run: RunFolder) -> tuple[list[RunFolder], list[str]]:
    """Return the parts of a run that have a report, in their order, and the names of those that have none.

    Both are empty: it was not played in parts.
    """
    named = {f"{PART}{number + 1}" for number in range(run.read().parts or 0)}
    named |= {folder.name for folder in run.path.glob(f"{PARTS}/{PART}*")}
    folders = [
        RunFolder(run.path / PARTS / name) for name in sorted(named, key=lambda one: int(one[len(PART) :]))
    ]
    judged = [folder for folder in folders if folder.report_json.exists()]
    return judged, [folder.id for folder in folders if folder not in judged]


def whole(parts: Sequence[Report], evidence: Evidence, missing: Sequence[str] = ()) -> Report:
    """Return the report of the whole.

    Parameters
    ----------
    parts : reports of its parts so far, in their order, at least one.
    evidence : readings of all parts, with their steady windows: what grows from part to part is seen there.
    missing : parts that were to be played and have no report.
    """
    newest = parts[-1]
    policy, about = evidence.policy, evidence.run
    drift = [drift_row(name, one, evidence, ()) for name, one in policy.drift.items()]
    promised = [
        [_placed(number, row) for row in part.objectives] for number, part in enumerate(parts, start=1)
    ]
    never = [part.integrity for part in parts]
    checks = [(_complete(evidence, missing),), *(part.measurement.checks for part in parts)]
    by_part = {rows[0].name: rows for rows in _named(part.drift for part in parts)}
    lines = [f"Part {number}: {part.verdict}, {_told(part)}." for number, part in enumerate(parts, start=1)]
    return newest.model_copy(
        update={
            "run": newest.run.model_copy(update=_about(about)),
            "objectives": tuple(_objective(rows) for rows in _counted(parts, promised)),
            "integrity": tuple(_integrity(rows) for rows in _counted(parts, never)),
            "drift": tuple(
                row if row.measured is not None else _worst_of(by_part.get(row.name, [row])) for row in drift
            ),
            "faults": tuple(fault for part in parts for fault in part.faults),
            "measurement": Measurement(checks=tuple(map(_worst_of, _named(checks)))),
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


def _complete(evidence: Evidence, missing: Sequence[str]) -> CheckRow:
    """Return whether all parts were played to their end, and nothing is said against the run itself."""
    row = complete_run(evidence)
    said = [row.explanation] if row.verdict != "pass" else []
    said += [f"No report is there of {', '.join(missing)}."] if missing else []
    said += [f"{doubt.reason}." for doubt in read_doubts(evidence.run.missing)]
    if not said:
        return row
    return checked(row.name, row.title, False, None, "", None, " ".join(said), RUN)


def _counted(parts: Sequence[Report], rows: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Return the rows of parts that count, those of one name together.

    Of a part that was ended early these are what nothing could save, unless no other part tells.
    """
    open_ones = {
        id(row)
        for part, of_part in zip(parts, rows, strict=True)
        if part.run.interrupted
        for row in of_part
        if row.verdict != "fail"
    }
    return [[row for row in named if id(row) not in open_ones] or named for named in _named(rows)]


def _placed(number: int, row: ObjectiveRow) -> ObjectiveRow:
    """Return a row of a part; one that failed says in which."""
    if row.verdict != "fail":
        return row
    return row.model_copy(update={"explanation": f"In part {number}. {row.explanation}"})


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
    if (failed := next((row for row in rows if row.verdict == "fail"), None)) is not None:
        return failed
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
