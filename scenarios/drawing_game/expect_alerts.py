"""What may be expected of alerts: raised in time on every channel, resolved once, and silent otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from harness.documents.rows import Finding
from harness.judge import Evidence, Window
from harness.judge.findings import compare, examples_of, none_of, seconds, succeeded, unseen, within
from scenarios.drawing_game.alerts import SERVICE


@dataclass(frozen=True)
class AlertRaised:
    """The alert is raised soon after the fault begins, on every channel of its rule, and /alerts says so."""

    rule: str
    channels: tuple[str, ...]
    within_s: float

    @property
    def name(self) -> str:
        return f'alert "{self.rule}" reaches {" and ".join(self.channels)} within {self.within_s:g} s'

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = _of(evidence, self.rule, fault.start_ns)
        raised = rows[_is_raised(rows)]
        times = _first(raised, (*self.channels, SERVICE), fault.start_ns)
        explanation = ", ".join(f"{who} after {_said(after)}" for who, after in times.items())
        return compare(self.name, max(times.values()), self.within_s, "s", explanation, [])


@dataclass(frozen=True)
class AlertResolved:
    """The alert is resolved soon after the fault's end, on every channel of its rule, and /alerts says so."""

    rule: str
    channels: tuple[str, ...]
    within_s: float

    @property
    def name(self) -> str:
        who = " and ".join(self.channels)
        return f'alert "{self.rule}" is resolved on {who} within {self.within_s:g} s of its end'

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = _of(evidence, self.rule, fault.start_ns)
        times: dict[str, float] = {}
        for who in (*self.channels, SERVICE):
            told = rows[(rows["actor"] == who).to_numpy()]
            raised = told[_is_raised(told)]
            if raised.empty:
                return unseen(self.name, self.within_s, "s", f"it was not raised on {who}")
            after = told[succeeded(told) & (told["end_ns"] > raised["end_ns"].max()).to_numpy(dtype=bool)]
            times |= _first(after, (who,), fault.end_ns)
        explanation = ", ".join(f"{who} after {_said(after)}" for who, after in times.items())
        return compare(self.name, max(times.values()), self.within_s, "s", explanation, [])


@dataclass(frozen=True)
class AlertOnce:
    """Each channel hears once that the alert is raised and, after that, once that it is resolved."""

    rule: str
    channels: tuple[str, ...]

    @property
    def name(self) -> str:
        return f'alert "{self.rule}" is told once as raised and once as resolved'

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = _of(evidence, self.rule, fault.start_ns)
        wrong = 0
        told: list[str] = []
        for channel in self.channels:
            heard = rows[(rows["actor"] == channel).to_numpy()]
            words = ["raised" if raised else "resolved" for raised in _is_raised(heard)]
            told.append(f"{channel}: {', '.join(words) or 'nothing'}")
            wrong += words != ["raised", "resolved"]
        explanation = "; ".join(told)
        notices = rows[rows["actor"].isin(self.channels).to_numpy()]
        return Finding(
            name=self.name,
            verdict="fail" if wrong else "pass",
            measured=wrong,
            threshold=0.0,
            unit="channels",
            explanation=explanation,
            examples=examples_of(evidence, notices) if wrong else (),
        )


@dataclass(frozen=True)
class AlertsSilentBefore:
    """No alert is raised in the steady state before the fault."""

    for_s: float = 2.0

    @property
    def name(self) -> str:
        return f"no alert is raised in the {self.for_s:g} s before it"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.rows("alert")
        begin_ns = fault.start_ns - int(self.for_s * 1e9)
        rows = rows[within(rows["end_ns"], begin_ns, fault.start_ns)]
        looks = rows[(rows["actor"] == SERVICE).to_numpy()]
        seen_s = float(seconds(looks["end_ns"], begin_ns).max()) if len(looks) else 0.0
        began_s = float(seconds(looks["end_ns"], begin_ns).min()) if len(looks) else math.inf
        if seen_s - began_s < self.for_s / 2:
            return unseen(self.name, 0.0, "alerts", "/alerts was not looked at before it")
        return none_of(evidence, self.name, rows[_is_raised(rows)], "alerts", f"{len(looks)} readings")


@dataclass(frozen=True)
class AlertsSilent:
    """These alerts are not raised: what is broken is none of their business."""

    rules: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"no alert {' or '.join(self.rules)} from its begin on"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.rows("alert")
        rows = rows[within(rows["end_ns"], fault.start_ns, math.inf)]
        unknown = rows[rows["ok"].isna()]
        rows = rows[rows["name"].isin(self.rules).to_numpy()]
        looks = rows[(rows["actor"] == SERVICE).to_numpy()]
        if set(looks["name"].astype(str)) != set(self.rules):
            return unseen(self.name, 0.0, "alerts", "/alerts does not know all of them")
        wrong = pd.concat([rows[_is_raised(rows)], unknown])
        return none_of(evidence, self.name, wrong, "alerts", f"{len(looks)} readings")


def _of(evidence: Evidence, rule: str, since_ns: int) -> pd.DataFrame:
    rows = evidence.rows("alert")
    rows = rows[(rows["name"] == rule).to_numpy() & within(rows["end_ns"], since_ns, math.inf).to_numpy()]
    return rows.sort_values("end_ns", kind="stable")


def _is_raised(rows: pd.DataFrame) -> pd.Series[bool]:
    return (~rows["ok"].fillna(value=True)).astype(bool)


def _first(rows: pd.DataFrame, actors: tuple[str, ...], origin_ns: int) -> dict[str, float]:
    """Return the seconds from ``origin_ns`` to each actor's first row; infinite where there is none."""
    found = {}
    for actor in actors:
        times = seconds(rows["end_ns"][(rows["actor"] == actor).to_numpy()], origin_ns)
        found[actor] = float(times.min()) if len(times) else math.inf
    return found


def _said(after_s: float) -> str:
    return f"{after_s:.1f} s" if math.isfinite(after_s) else "never"
