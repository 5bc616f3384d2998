"""What an experiment may expect of a service while something is broken, and of its recovery.

An expectation is a small frozen value with a ``name`` and a ``judge(evidence, fault)``: pure, from the
record and the fault's window to a :class:`Finding`. To add one, write a class like those below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pandas as pd

from harness.checks import INTEGRITY, Evidence, Window
from harness.sla.verdict import Verdict

NS: Final = 1_000_000_000

#: Readings that tell the level before a fault: in a record that others share, no more than the time between.
BEFORE: Final = 5

#: Examples kept with a finding: enough to look into, not a dump.
EXAMPLES: Final = 5


@dataclass(frozen=True)
class Finding:
    """What came of one expectation."""

    name: str
    verdict: Verdict
    #: None: it never happened, or nothing was there to measure; the explanation says which.
    measured: float | None
    threshold: float | None
    unit: str = ""
    explanation: str = ""
    #: The rows that broke it: games, events and times.
    examples: list[dict[str, Any]] = field(default_factory=list)


class Expectation(Protocol):
    """Something expected in, or after, the window of a fault."""

    @property
    def name(self) -> str:
        """One line, as it stands in the report."""

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        """Compare the record with what was expected."""


def within(times: pd.Series[Any], start_ns: float, end_ns: float) -> pd.Series[bool]:
    """Return which of ``times`` (ns) lie in the half-open span; missing ones don't."""
    return ((times >= start_ns) & (times < end_ns)).fillna(value=False).astype(bool)


def seconds(times: pd.Series[Any], origin_ns: int) -> pd.Series[float]:
    """Return ``times`` (ns) as seconds since ``origin_ns``; NaN where there is none."""
    return (times - origin_ns).astype("Float64").astype("float64") / NS


def latency_s(rows: pd.DataFrame) -> pd.Series[float]:
    """Return end less intended (or less start), in seconds; infinite for what failed or never ended."""
    since = rows["intended_ns"].fillna(rows["start_ns"])
    taken = (rows["end_ns"] - since).astype("Float64").astype("float64") / NS
    return taken.where(succeeded(rows) & taken.notna(), math.inf)


def succeeded(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are known to have succeeded."""
    return rows["ok"].fillna(value=False).astype(bool)


@dataclass(frozen=True)
class MonitorP95:
    """Cron's ticks are answered in time at the 95th percentile, from schedule to answer.

    A tick that failed or never came back counts as infinitely late. The quantile is an order
    statistic (no interpolation), so that it is a latency that was measured.
    """

    under_s: float = 5.0

    @property
    def name(self) -> str:
        return f"timer monitoring p95 < {self.under_s:g} s while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        ticks = during(evidence.ticks, "origin_ns", fault)
        if ticks.empty:
            return unseen(self.name, self.under_s, "s", "no tick of cron was due while it lasted")
        latency = latency_s(ticks)
        measured = float(latency.sort_values().iloc[math.ceil(0.95 * len(latency)) - 1])
        late = ticks[latency >= self.under_s]
        examples = examples_of(evidence, late)
        return compare(self.name, measured, self.under_s, "s", f"{len(ticks)} ticks", examples)


@dataclass(frozen=True)
class TimersOnTime:
    """Games that fall due while the fault lasts move within ``within_s`` of it, and never before."""

    within_s: float

    @property
    def name(self) -> str:
        return f"every game moves within {self.within_s:g} s of its expiry while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        # What falls due in the last moments may rightly move after the end.
        window = Window(fault.name, fault.start_ns, fault.end_ns - int(self.within_s * NS))
        moved = during(evidence.transitions, "intended_ns", window)
        stuck = during(evidence.overdue, "intended_ns", window)
        total = len(moved) + len(stuck)
        if total == 0:
            return unseen(self.name, 0.0, "games", "no game fell due while it lasted")
        lateness = seconds(moved["start_ns"] - moved["intended_ns"], 0)
        wrong = moved[~lateness.between(0, self.within_s)]
        return none_of(evidence, self.name, pd.concat([wrong, stuck]), "games", f"{total} expiries")


@dataclass(frozen=True)
class QuickAnswers:
    """No request hangs: each one sent while the fault lasts is answered or refused in time."""

    within_s: float = 11.0

    @property
    def name(self) -> str:
        return f"every request is answered or refused within {self.within_s:g} s"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = during(_calls(evidence), "start_ns", fault)
        if calls.empty:
            return unseen(self.name, self.within_s, "s", "no request was sent while it lasted")
        taken = seconds(calls["end_ns"] - calls["start_ns"], 0).fillna(math.inf)
        slow = calls[taken >= self.within_s]
        examples = examples_of(evidence, slow)
        return compare(self.name, float(taken.max()), self.within_s, "s", f"{len(calls)} requests", examples)


@dataclass(frozen=True)
class RefusesClearly:
    """Some requests fail while the fault lasts, and only in the ways agreed on."""

    allowed: tuple[str, ...] = ("http 503",)

    @property
    def name(self) -> str:
        return f"what can't be served is refused with {' or '.join(self.allowed)}"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = during(_calls(evidence), "start_ns", fault)
        failed = calls[~succeeded(calls)]
        if failed.empty:
            return unseen(self.name, 0.0, "unclear errors", "no request failed: the fault was not felt")
        counts = failed["error"].astype("string").value_counts()
        explanation = ", ".join(f"{count} × {error}" for error, count in counts.items())
        unclear = failed[~failed["error"].isin(self.allowed)]
        return none_of(evidence, self.name, unclear, "unclear errors", explanation)


@dataclass(frozen=True)
class NobodyFails:
    """No player's request fails while the fault lasts: it is not in the way of their calls."""

    @property
    def name(self) -> str:
        return "no player's request fails while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = during(evidence.rows("http"), "start_ns", fault)
        if calls.empty:
            return unseen(self.name, 0.0, "failures", "no request was sent while it lasted")
        return none_of(evidence, self.name, calls[~succeeded(calls)], "failures", f"{len(calls)} requests")


@dataclass(frozen=True)
class Silence:
    """Nothing gets through while the fault lasts: the proof that there was a fault at all."""

    grace_s: float = 1.0

    @property
    def name(self) -> str:
        return "no event reaches a player while it lasts (the fault took)"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        window = Window(fault.name, fault.start_ns + int(self.grace_s * NS), fault.end_ns)
        moved = during(evidence.transitions, "committed_ns", window)
        if moved.empty:
            return unseen(self.name, 0.0, "events", "no game moved while it lasted")
        heard = during(evidence.messages, "end_ns", window)
        return none_of(evidence, self.name, heard, "events", f"{len(moved)} events were to be heard of")


@dataclass(frozen=True)
class HealthNames:
    """/health turns unhealthy and names the part, soon after the fault begins."""

    part: str
    within_s: float = 5.0

    @property
    def name(self) -> str:
        return f"health names {self.part} within {self.within_s:g} s"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        probes = during(evidence.rows("health"), "start_ns", fault)
        if probes.empty:
            return unseen(self.name, self.within_s, "s", "health was not asked while it lasted")
        errors = probes["error"].astype("string").fillna("")
        named = probes[errors.str.split(",").map(lambda parts: self.part in parts).astype(bool)]
        measured = float(seconds(named["end_ns"], fault.start_ns).min()) if len(named) else math.inf
        seen = ", ".join(sorted(set(errors) - {""})) or "healthy throughout"
        return compare(self.name, measured, self.within_s, "s", f"{len(probes)} probes: {seen}", [])


@dataclass(frozen=True)
class HealthyThroughout:
    """/health says healthy at every probe."""

    @property
    def name(self) -> str:
        return "health is healthy throughout"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        probes = during(evidence.rows("health"), "start_ns", fault)
        if probes.empty:
            return unseen(self.name, 0.0, "probes", "health was not asked")
        return none_of(evidence, self.name, probes[~succeeded(probes)], "probes", f"{len(probes)} probes")


@dataclass(frozen=True)
class HealthyAgain:
    """/health is healthy again soon after the fault ends."""

    within_s: float = 15.0

    @property
    def name(self) -> str:
        return f"health is healthy again within {self.within_s:g} s of its end"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        probes = evidence.rows("health")
        after = probes[within(probes["start_ns"], fault.end_ns, math.inf) & succeeded(probes)]
        measured = float(seconds(after["end_ns"], fault.end_ns).min()) if len(after) else math.inf
        return compare(self.name, measured, self.within_s, "s", "", [])


@dataclass(frozen=True)
class ServesAgain:
    """The first success after the fault: a tick of cron, and an event that a player hears."""

    within_s: float = 15.0

    @property
    def name(self) -> str:
        return f"a tick and an event succeed within {self.within_s:g} s of its end"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        ticks = evidence.ticks
        ticks = ticks[within(ticks["start_ns"], fault.end_ns, math.inf) & succeeded(ticks)]
        heard = evidence.messages
        heard = heard[within(heard["end_ns"], fault.end_ns, math.inf)]
        if ticks.empty or heard.empty:
            return compare(self.name, math.inf, self.within_s, "s", "", [])
        first_ns = max(ticks["end_ns"].min(), heard["end_ns"].min())
        return compare(self.name, (first_ns - fault.end_ns) / NS, self.within_s, "s", "", [])


@dataclass(frozen=True)
class BacklogDrained:
    """All that the fault held up is done: overdue games moved, and their events heard by everyone."""

    within_s: float = 15.0

    @property
    def name(self) -> str:
        return f"the backlog is drained within {self.within_s:g} s of its end"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        moves = evidence.transitions
        moves = moves[within(moves["intended_ns"].fillna(moves["start_ns"]), fault.start_ns, fault.end_ns)]
        stuck = during(evidence.overdue, "intended_ns", fault)
        if moves.empty and stuck.empty:
            return unseen(self.name, self.within_s, "s", "nothing fell due while it lasted")
        pairs = evidence.pairs
        pairs = pairs[pairs["event"].isin(moves["event"])]
        unheard = pairs[pairs["received_ns"].isna()]
        open_ends = len(stuck) + len(unheard)
        done_ns = pd.concat([moves["moved_ns"], pairs["received_ns"]]).max()
        measured = math.inf if open_ends else max((done_ns - fault.end_ns) / NS, 0.0)
        explanation = f"{len(moves)} transitions, {len(pairs)} deliveries"
        if open_ends:
            explanation += f"; {len(stuck)} games never moved, {len(unheard)} deliveries never came"
        late = pairs[~within(pairs["received_ns"], 0, fault.end_ns + self.within_s * NS)]
        return compare(
            self.name,
            measured,
            self.within_s,
            "s",
            explanation,
            [*examples_of(evidence, stuck), *examples_of(evidence, late)][:EXAMPLES],
        )


@dataclass(frozen=True)
class Intact:
    """Nothing was lost, early, double, illegal or out of order, in the whole record."""

    check: str

    @property
    def name(self) -> str:
        return f"integrity: {INTEGRITY[self.check][0].lower()}: none"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        found = INTEGRITY[self.check][1](evidence)
        if found.looked_at == 0:
            return unseen(self.name, 0.0, "cases", "there was nothing to look at")
        verdict: Verdict = "fail" if found.violations else "inconclusive" if found.doubts else "pass"
        explanation = "; ".join([f"{found.looked_at} looked at", *found.doubts])
        return Finding(
            self.name, verdict, found.violations, 0.0, "cases", explanation, found.examples[:EXAMPLES]
        )


@dataclass(frozen=True)
class ReadingReturns:
    """A reading (open files, memory) of a process is back at its level before the fault, give or take.

    The limit is the highest of the last readings before, times ``1 + tolerance``, plus ``slack``.
    """

    reading: str
    actor: str
    tolerance: float = 0.0
    slack: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.reading} of {self.actor} is back at its level before"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.readings(self.reading)
        rows = rows[rows["actor"] == self.actor]
        before = rows[within(rows["start_ns"], 0, fault.start_ns)]["value"].tail(BEFORE)
        after = rows[within(rows["start_ns"], fault.end_ns, math.inf)]["value"].tail(3)
        if before.empty or after.empty:
            return unseen(
                self.name, None, "", f"{self.reading} of {self.actor} was not read before and after"
            )
        limit = float(before.max()) * (1 + self.tolerance) + self.slack
        explanation = f"at most {before.max():g} before"
        return compare(self.name, float(after.min()), math.nextafter(limit, math.inf), "", explanation, [])


def judge_all(evidence: Evidence, fault: Window, expectations: Iterable[Expectation]) -> list[Finding]:
    """Judge each expectation; one that crashes is inconclusive and says so."""
    findings = []
    for expectation in expectations:
        try:
            findings.append(expectation.judge(evidence, fault))
        except Exception as error:
            why = f"the check itself failed: {type(error).__name__}: {error}"
            findings.append(Finding(expectation.name, "inconclusive", None, None, explanation=why))
    return findings


def during(rows: pd.DataFrame, column: str, window: Window) -> pd.DataFrame:
    """Return the rows whose ``column`` (a time, ns) lies in ``window``."""
    return rows[within(rows[column], window.start_ns, window.end_ns)]


def _calls(evidence: Evidence) -> pd.DataFrame:
    """Return all that was asked of the service: requests of players and hosts, and ticks."""
    return pd.concat([evidence.rows("http"), evidence.ticks], ignore_index=True)


def compare(
    name: str, measured: float, threshold: float, unit: str, explanation: str, examples: list[dict[str, Any]]
) -> Finding:
    """Return pass for less than ``threshold``, else fail with ``examples``; infinite means never."""
    if not math.isfinite(measured):
        explanation = f"never; {explanation}" if explanation else "never"
        return Finding(name, "fail", None, threshold, unit, explanation, examples)
    if measured < threshold:
        return Finding(name, "pass", measured, threshold, unit, explanation)
    return Finding(name, "fail", measured, threshold, unit, explanation, examples)


def none_of(evidence: Evidence, name: str, wrong: pd.DataFrame, unit: str, explanation: str) -> Finding:
    """Return pass if no row is ``wrong``, else fail with the first few of them."""
    verdict: Verdict = "fail" if len(wrong) else "pass"
    return Finding(name, verdict, len(wrong), 0.0, unit, explanation, examples_of(evidence, wrong))


def unseen(name: str, threshold: float | None, unit: str, why: str) -> Finding:
    """Return inconclusive: there was nothing to judge by, and that is no pass."""
    return Finding(name, "inconclusive", None, threshold, unit, f"not exercised: {why}")


def examples_of(evidence: Evidence, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the first few ``rows`` as plain values, times as RFC 3339."""
    examples = []
    for row in rows.head(EXAMPLES).to_dict("records"):
        example: dict[str, Any] = {}
        for key in ("name", "actor", "error"):
            if isinstance(value := row.get(key), str):
                example[key] = value
        for key in ("game", "event"):
            if (label := evidence.label(key, int(row.get(key, -1)))) is not None:
                example[key] = label
        for key in ("intended_ns", "start_ns", "committed_ns", "end_ns", "received_ns"):
            value = row.get(key)
            if value is not None and not pd.isna(value):
                time = datetime.fromtimestamp(int(value) / NS, UTC)
                example[key.removesuffix("_ns")] = time.isoformat(timespec="milliseconds")
        examples.append(example)
    return examples
