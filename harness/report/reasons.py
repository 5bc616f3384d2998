"""Why an objective is no pass: the sentence that its row ends with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from harness.documents.rows import CheckRow, ObjectiveRow
from harness.documents.words import Words
from harness.report.words import count
from harness.sla.units import format_quantity

if TYPE_CHECKING:
    from harness.judge import Evidence

#: Runs longer than this are nothing to advise.
_LONGEST_MIN: Final = 7 * 24 * 60
#: From this share of the machine on, other programs are named as a cause.
_BUSY_PERCENT: Final = 25.0


def with_reason(row: ObjectiveRow, checks: Iterable[CheckRow], evidence: Evidence) -> ObjectiveRow:
    """Return the row of an objective with its reason; the evidence tells how long a run would decide."""
    why = conclusion(row, evidence.run.words, checks, minutes=_minutes(row, evidence))
    return row.model_copy(update={"reason": why})


def _minutes(row: ObjectiveRow, evidence: Evidence) -> int | None:
    """Return how many minutes of steady state would give the samples that are needed, if any number would."""
    steady_ns = sum(window.end_ns - window.start_ns for window in evidence.windows if window.name == "steady")
    if not row.samples_needed or not steady_ns:
        return None
    return math.ceil(steady_ns / 60e9 * row.samples_needed / row.samples)


def conclusion(
    row: ObjectiveRow,
    words: Words,
    checks: Iterable[CheckRow] = (),
    *,
    minutes: int | None = None,
    counted: bool = True,
) -> str:
    """Return why an objective's row is no pass; nothing if it is one.

    Parameters
    ----------
    words : what the system calls its items.
    checks : of the measurement: one tells whether other programs kept the machine busy.
    minutes : how long a run would have to be for its samples to decide; None: not known, or for ever.
    counted : whether ``samples_needed`` was worked out for the threshold that the row has.
    """
    if row.verdict == "not applicable":
        return f"Not applicable: {row.absent}."
    if row.doubts:
        return f"Not judged: {'; '.join(row.doubts)}"
    if row.verdict == "fail":
        return _why_failed(row) + _cause(row, checks)
    if row.verdict == "pass":
        return ""
    why = _why_undecided(row, words, minutes, counted=counted)
    return why if row.undecided else why + _cause(row, checks)


def _cause(row: ObjectiveRow, checks: Iterable[CheckRow]) -> str:
    others = next((check.measured for check in checks if check.name == "machine"), None)
    if row.metric == "scenarios_passed" or others is None or others < _BUSY_PERCENT:
        return ""
    return f" Other programs used {others:.0f} % of this machine meanwhile, which may be why."


def _why_undecided(row: ObjectiveRow, words: Words, minutes: int | None, *, counted: bool) -> str:
    if row.metric == "scenarios_passed":
        low, high = (share or 0.0 for share in row.interval)
        return f"{count(round((high - low) / 100 * row.samples))} of {count(row.samples)} could not tell."
    if row.undecided:
        off = format_quantity(row.resolution, "s")
        return (
            f"{row.undecided} of them may as well be the other way round: the witness of moves knows their "
            f"times to {off} only."
        )
    if row.samples_needed:
        more = count(row.samples_needed - row.samples)
        return f"Too few samples to decide; about {more} more like these would{_advice(minutes)}."
    if in_the_way := _in_the_way(row, words):
        return in_the_way
    if not counted:
        return (
            "The interval contains the threshold; how many more samples would decide, the record tells: "
            "stormwatch report --set."
        )
    return "The interval contains the threshold, and no number of samples like these would decide."


def _advice(minutes: int | None) -> str:
    if minutes is None:
        return ""
    if minutes > _LONGEST_MIN:
        return ", which takes weeks"
    return f": a run of {minutes} min (--duration {minutes}min)"


def _in_the_way(row: ObjectiveRow, words: Words) -> str | None:
    """Return what no number of samples takes away: a longest sample, lag of the harness, unsure clocks."""
    if row.measured is None:
        return None
    lag, clock = (format_quantity(value, "s") for value in (row.lag_error, row.clock_error))
    low, high = row.measured - row.clock_error, row.measured + row.clock_error
    if row.lag_error and row.model_copy(update={"lag_error": 0.0}).verdict == "fail":
        return f"It is over, but not by more than the {lag} that lag of the harness may have added."
    if row.ceiling and row.model_copy(update={"ceiling": None}).verdict == "pass":
        longest, limit = (format_quantity(v, "s") for v in (row.ceiling.measured, row.ceiling.threshold))
        return f"The longest took {longest}, over {limit} by no more than lag of the harness may have added."
    if row.clock_error and high >= row.threshold > low:
        known = f"the clocks are known to {clock} only"
        if row.resolution > row.clock_error / 2:
            known = f"the witness of moves knows their times to {format_quantity(row.resolution, 's')} only"
        return (
            "The interval, widened by the clocks' error bound, contains the threshold; no number of samples "
            f"would decide, for {known}."
        )
    if row.lag_error and high >= row.threshold > low - row.lag_error:
        return (
            f"No number of samples would decide: lag of the harness may have added up to {lag} to "
            f"what was measured. Run it on a machine that is less busy, or with fewer {words.items}."
        )
    return None


def _why_failed(row: ObjectiveRow) -> str:
    if row.ceiling and row.ceiling.violations:
        return f"{row.ceiling.violations} took over {format_quantity(row.ceiling.threshold, 's')}."
    if row.confidence is None:
        return ""
    bound, end = ("at least", 0) if row.comparison == "<" else ("at most", 1)
    return (
        f"It is {bound} {format_quantity(row.interval[end], row.unit)} with {row.confidence:.0%} confidence."
    )
