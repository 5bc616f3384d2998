"""What comes of an expectation: a verdict, what was measured, and the rows that broke it.

An expectation is a small frozen value with a ``name`` and a ``judge(evidence, fault)``: pure, from the
record and the fault's window to a :class:`~harness.documents.rows.Finding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import pandas as pd

from harness.documents.base import Example
from harness.documents.rows import Finding
from harness.history.run import moment
from harness.history.witnesses import Doubt
from harness.judge.declared import WITNESSES_OF
from harness.judge.evidence import NS, Evidence, Window
from harness.judge.truth import coarsest_ns, implied
from harness.sla.witnesses import ALWAYS, STAMPED, Witness

T = TypeVar("T")

#: Examples kept with a finding: enough to look into, not a dump.
EXAMPLES: Final = 5


def guarded(check: Callable[[], T], crashed: Callable[[str], T]) -> T:
    """Return what a check finds; of one that crashes, what ``crashed`` makes of the reason.

    The one guard of all checks: a crash is inconclusive and costs no other row.
    """
    try:
        return check()
    except Exception as error:
        return crashed(f"the check crashed: {type(error).__name__}: {error}")


class Expectation(Protocol):
    """Something expected in, or after, the window of a fault."""

    @property
    def name(self) -> str:
        """One line, as it stands in the report."""

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        """Compare the record with what was expected."""


def applicable(expectations: Iterable[Expectation], absent: Collection[Witness]) -> list[Expectation]:
    """Return the expectations that a run can have which does without ``absent``.

    One that rests on a single record says so by an attribute ``needs``.
    """
    return [one for one in expectations if getattr(one, "needs", None) not in absent]


def judge_all(evidence: Evidence, fault: Window, expectations: Iterable[Expectation]) -> list[Finding]:
    """Judge each expectation; one that crashes, or rests on a witness in doubt, is inconclusive and says so.

    What must never happen judges its doubts itself: what was recorded twice was done twice.
    """
    doubts, off_s = evidence.doubts_since(fault.start_ns), coarsest_ns(evidence.transitions) / NS

    def judged(expectation: Expectation) -> Finding:
        # Frames of its own tell what it looks at.
        seen = evidence.unseen() if doubts or off_s else evidence
        finding = judge_one(seen, fault, expectation)
        finding = finding.model_copy(update={"name": evidence.run.words.spoken(finding.name)})
        if finding.integrity:
            return finding
        if "transition" in seen.looked_at:
            finding = _too_near(finding, off_s)
        return _doubted(finding, seen, doubts)

    return list(map(judged, expectations))


def judge_one(evidence: Evidence, fault: Window, expectation: Expectation) -> Finding:
    """Judge an expectation by the figures alone, whatever is in doubt; inconclusive if it crashes."""
    return guarded(partial(expectation.judge, evidence, fault), partial(crashed, expectation.name))


def crashed(name: str, why: str) -> Finding:
    """Return inconclusive: the check of that name crashed."""
    return Finding(name=name, verdict="inconclusive", explanation=why)


def _too_near(finding: Finding, off_s: float) -> Finding:
    """Return the finding, inconclusive where moves whose times are off by ``off_s`` may decide it."""
    if finding.unit != "s" or finding.measured is None or finding.threshold is None or not off_s:
        return finding
    if abs(finding.measured - finding.threshold) > off_s:
        return finding
    why = f"measured {finding.measured:.3g} s, and the witness knows when moves were to {off_s:.3g} s only"
    return finding.model_copy(update={"verdict": "inconclusive", "measured": None, "explanation": why})


def _doubted(finding: Finding, evidence: Evidence, doubts: list[Doubt]) -> Finding:
    """Return the finding, made inconclusive by ``doubts`` about what its judge looked at in ``evidence``."""
    witnesses = ALWAYS.union(*(WITNESSES_OF.get(kind, frozenset()) for kind in evidence.looked_at))
    if finding.unit == "s":
        witnesses = witnesses.union(*(STAMPED.get(witness, frozenset()) for witness in witnesses))
    reasons = dict.fromkeys(
        doubt.reason for doubt in doubts if implied(evidence.run, [doubt.witness]) & witnesses
    )
    if not reasons or finding.verdict == "inconclusive":
        return finding
    explanation = "; ".join(filter(None, [*reasons, finding.explanation]))
    # No figure: one that is within its threshold would say pass.
    return finding.model_copy(
        update={"verdict": "inconclusive", "measured": None, "explanation": explanation}
    )


def compare(
    name: str, measured: float, threshold: float, unit: str, explanation: str, examples: Sequence[Example]
) -> Finding:
    """Return pass for less than ``threshold``, else fail with ``examples``; infinite means never."""
    happened, passed = math.isfinite(measured), measured < threshold
    if not happened:
        explanation = f"never; {explanation}" if explanation else "never"
    return Finding(
        name=name,
        verdict="pass" if passed else "fail",
        measured=float(measured) if happened else None,
        threshold=threshold,
        unit=unit,
        explanation=explanation,
        examples=() if passed else tuple(examples),
    )


def none_of(evidence: Evidence, name: str, wrong: pd.DataFrame, unit: str, explanation: str) -> Finding:
    """Return pass if no row is ``wrong``, else fail with the first few of them."""
    return Finding(
        name=name,
        verdict="fail" if len(wrong) else "pass",
        measured=len(wrong),
        threshold=0.0,
        unit=unit,
        explanation=explanation,
        examples=examples_of(evidence, wrong),
    )


def unseen(name: str, threshold: float | None, unit: str, why: str) -> Finding:
    """Return inconclusive: there was nothing to judge by, and that is no pass."""
    why = f"not exercised: {why}"
    return Finding(name=name, verdict="inconclusive", threshold=threshold, unit=unit, explanation=why)


def examples_of(evidence: Evidence, rows: pd.DataFrame) -> tuple[Example, ...]:
    """Return the first few ``rows`` as plain values, times as RFC 3339."""
    examples = []
    for row in rows.head(EXAMPLES).to_dict("records"):
        example: Example = {}
        for key in ("name", "actor", "error"):
            if isinstance(value := row.get(key), str):
                example[key] = value
        for key in ("game", "event"):
            if (label := evidence.label(key, int(row.get(key, -1)))) is not None:
                example[key] = label
        for key in ("intended_ns", "start_ns", "committed_ns", "end_ns", "received_ns"):
            value = row.get(key)
            if value is not None and not pd.isna(value):
                example[key.removesuffix("_ns")] = moment(int(value))
        examples.append(example)
    return tuple(examples)


def during(rows: pd.DataFrame, column: str, window: Window) -> pd.DataFrame:
    """Return the rows whose ``column`` (a time, ns) lies in ``window``."""
    return rows[within(rows[column], window.start_ns, window.end_ns)]


def within(times: pd.Series[Any], start_ns: float, end_ns: float) -> pd.Series[bool]:
    """Return which of ``times`` (ns) lie in the half-open span; missing ones don't."""
    return ((times >= start_ns) & (times < end_ns)).fillna(value=False).astype(bool)


def seconds(times: pd.Series[Any], origin_ns: int) -> pd.Series[float]:
    """Return ``times`` (ns) as seconds since ``origin_ns``; NaN where there is none."""
    return (times - origin_ns).astype("Float64").astype("float64") / NS


def succeeded(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are known to have succeeded."""
    return rows["ok"].fillna(value=False).astype(bool)
