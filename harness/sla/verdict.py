"""The three-valued verdict, and how it follows from the rows of a report.

The report's writer and the gate both judge by these functions, so that a verdict edited by hand
does not survive the gate.

Precedence, worst first: a broken integrity row fails the run whatever else is doubtful (what the
database recorded twice was done twice, however busy the load generator was). A doubt about the
measurement silences the objectives it touches in both directions: neither a pass nor a fail that a
saturated generator produced is worth anything. Then a failed objective fails the run, then anything
inconclusive makes it inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

Verdict = Literal["pass", "fail", "inconclusive"]
#: Of an objective's row: what it is about is not there, by choice. It counts neither way.
RowVerdict = Literal["pass", "fail", "inconclusive", "not applicable"]
NOT_APPLICABLE: Final = "not applicable"

_SEVERITY: Final[Mapping[str, int]] = {"pass": 0, "inconclusive": 1, "fail": 2}

#: How report.json, which has no infinity, writes one.
INFINITY: Final = "infinity"


def worst(verdicts: Iterable[str]) -> Verdict:
    """Return the worst of ``verdicts``: fail before inconclusive before pass; pass if there are none.

    What is not applicable does not count.
    """
    found: Verdict = "pass"
    for verdict in verdicts:
        if verdict != NOT_APPLICABLE and _SEVERITY[verdict] > _SEVERITY[found]:
            found = verdict  # type: ignore[assignment]  # a key of _SEVERITY
    return found


def judge_interval(low: float, high: float, comparison: str, threshold: float) -> Verdict:
    """Return pass if the whole interval is on the right side of ``threshold``, fail if on the wrong one."""
    if comparison == ">":
        low, high, threshold = -high, -low, -threshold
    if high < threshold:
        return "pass"
    if low >= threshold:
        return "fail"
    return "inconclusive"


def number(value: float | str | None) -> float | None:
    """Return a number of report.json (``"infinity"`` for an infinite one, null for an unknown one)."""
    if value == INFINITY:
        return math.inf
    return None if value is None else float(value)


def judge_objective(row: Mapping[str, Any]) -> RowVerdict:
    """Return the verdict that an objective's row of report.json amounts to."""
    if row.get("absent") and row["samples"] == 0:
        return "not applicable"
    if row["doubts"] or row["samples"] == 0:
        return "inconclusive"
    ceiling = row["ceiling"]
    if ceiling is not None and ceiling["violations"] > 0:
        return "fail"
    low, high = (number(end) for end in row["interval"])
    if low is None or high is None:
        return "inconclusive"
    # Clocks may err either way. Lag only makes latencies longer: the truth may be lower, never higher.
    error, lag = row["clock_error"], row.get("lag_error", 0.0)
    found = judge_interval(low - error - lag, high + error, row["comparison"], float(row["threshold"]))
    if found == "pass" and ceiling is not None and _exceeds(ceiling):
        return "inconclusive"
    return found


def _exceeds(ceiling: Mapping[str, Any]) -> bool:
    """Whether the longest sample is over the ceiling, if only by what lag may have added to it."""
    longest = number(ceiling["measured"])
    return longest is not None and longest > ceiling["threshold"]


def judge_integrity(row: Mapping[str, Any]) -> Verdict:
    """Return the verdict of an integrity row: one violation fails, doubts or not."""
    if row["violations"]:
        return "fail"
    # Nothing was found where nothing was looked at.
    return "inconclusive" if row["doubts"] or not row["looked_at"] else "pass"


def judge_expectation(row: Mapping[str, Any]) -> Verdict:
    """Return what an expectation of a load's fault amounts to: a time that must be under its threshold."""
    measured, threshold = row["measured"], row["threshold"]
    if measured is None or threshold is None:
        # Never, or nobody can tell: no figure says which.
        return "fail" if row["verdict"] == "fail" else "inconclusive"
    return "pass" if measured < threshold else "fail"


def judge_fault(row: Mapping[str, Any]) -> Verdict:
    """Return what a fault's row amounts to.

    A fault that was on during the load itself: the worst of its expectations. A scenario's counts through
    the scenario, of which some may fail; but what must never happen fails the run here as anywhere.
    """
    if row["scenario"] is None:
        return worst(judge_expectation(expectation) for expectation in row["expectations"])
    cases = (judge_cases(one) for one in row["expectations"] if one.get("integrity"))
    return "fail" if "fail" in cases else "pass"


def judge_cases(row: Mapping[str, Any]) -> Verdict:
    """Return what an expectation amounts to that there are no cases of something."""
    return "fail" if row["measured"] else "inconclusive" if row["verdict"] == "inconclusive" else "pass"


def judge_report(report: Mapping[str, Any]) -> Verdict:
    """Return the verdict that the rows of a report amount to.

    Scenarios count through their objective; faults through the scenario that caused them, or by how they
    were recovered from. Broken integrity fails the run wherever it was seen. Where no objective is
    applicable, nothing was judged.
    """
    return worst(
        objective_verdicts(report["objectives"])
        + [judge_integrity(row) for row in report["integrity"]]
        + [judge_fault(row) for row in report["faults"]]
        + [worst(check["verdict"] for check in report["measurement"]["checks"])]
    )


def objective_verdicts(rows: Iterable[Mapping[str, Any]]) -> list[RowVerdict]:
    """Return what each objective's row counts as; where none is applicable, all are inconclusive."""
    found = [judge_objective(row) for row in rows]
    return ["inconclusive"] * len(found) if set(found) == {NOT_APPLICABLE} else found


def row_names(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the rows that a report's verdict follows from, by section.

    Faults are those of the load; those of scenarios count through their scenario.
    """
    return {
        "objectives": [row["name"] for row in report["objectives"]],
        "integrity": [row["name"] for row in report["integrity"]],
        "measurement": [check["name"] for check in report["measurement"]["checks"]],
        "faults": [fault["name"] for fault in report["faults"] if fault["scenario"] is None],
        "scenarios": [scenario["id"] for scenario in report["scenarios"]],
    }
