"""The three-valued verdict, and the fourth state of a row.

Precedence, worst first: a broken integrity row fails the run whatever else is doubtful (what the
database recorded twice was done twice, however busy the load generator was). A doubt about the
measurement silences the objectives it touches in both directions: neither a pass nor a fail that a
saturated generator produced is worth anything. Then a failed objective fails the run, then anything
inconclusive makes it inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

Verdict = Literal["pass", "fail", "inconclusive"]
#: Of an objective's row: what it is about is not there, by choice. It counts neither way.
RowVerdict = Literal["pass", "fail", "inconclusive", "not applicable"]
NOT_APPLICABLE: Final = "not applicable"


def worst(verdicts: Iterable[RowVerdict]) -> Verdict:
    """Return the worst of ``verdicts``: fail before inconclusive before pass; pass if there are none.

    What is not applicable does not count.
    """
    found = set(verdicts)
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


def judge_interval(low: float, high: float, comparison: str, threshold: float) -> Verdict:
    """Return pass if the whole interval is on the right side of ``threshold``, fail if on the wrong one."""
    if comparison == ">":
        low, high, threshold = -high, -low, -threshold
    if high < threshold:
        return "pass"
    if low >= threshold:
        return "fail"
    return "inconclusive"
