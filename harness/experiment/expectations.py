"""What an experiment may expect of a service while something is broken, and of its recovery.

To add an expectation, write a class like those below; see :mod:`harness.judge.findings`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import pandas as pd

from harness.documents.rows import Finding
from harness.documents.verdict import Verdict
from harness.history.names import Actor, Reading
from harness.judge import INTEGRITY, Evidence, Window
from harness.judge.evidence import NS
from harness.judge.findings import (
    EXAMPLES,
    Expectation,
    compare,
    during,
    examples_of,
    none_of,
    seconds,
    succeeded,
    unseen,
    within,
)
from harness.judge.truth import blur_ns
from harness.sla.witnesses import Witness
from harness.system import HasMetrics, System

#: Readings that tell the level before a fault: in a record that others share, no more than the time between.
_BEFORE: Final = 5
#: Readings at the end of the record of which the lowest counts: a single one may catch a busy moment.
_AFTER: Final = 3


def latency_s(rows: pd.DataFrame) -> pd.Series[float]:
    """Return end less intended (or less start), in seconds; infinite for what failed or never ended."""
    since = rows["intended_ns"].fillna(rows["start_ns"])
    taken = (rows["end_ns"] - since).astype("Float64").astype("float64") / NS
    return taken.where(succeeded(rows) & taken.notna(), math.inf)


def before_and_after(rows: pd.DataFrame, fault: Window) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return the last values before a fault, and the last ones of the record after it."""
    before = rows[within(rows["start_ns"], 0, fault.start_ns)]["value"].tail(_BEFORE)
    after = rows[within(rows["start_ns"], fault.end_ns, math.inf)]["value"].tail(_AFTER)
    return before, after


class _OfRequests:
    """Expected of requests: where no actor has any to send meanwhile, and no cron, nothing is."""

    def absent(self, evidence: Evidence, fault: Window) -> bool:
        return during(_calls(evidence), "start_ns", fault).empty


@dataclass(frozen=True)
class MonitorP95:
    """Cron's ticks are answered in time at the 95th percentile, from schedule to answer.

    A tick that failed or never came back counts as infinitely late. The quantile is an order
    statistic (no interpolation), so that it is a latency that was measured.
    """

    needs: ClassVar = Witness.CRON

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
    """Timers that fall due while it lasts fire at the next tick, ``late_s`` later at most, and never before.

    Parameters
    ----------
    late_s : how much later than a tick's interval they may be, in seconds.
    at_least : games that must fall due, or nothing is proved.
    """

    late_s: float
    at_least: int = 1

    @property
    def name(self) -> str:
        return f"every timer fires within a tick and {self.late_s:g} s while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        within_s = evidence.tick_s + self.late_s
        # What falls due in the last moments may rightly move after the end.
        window = Window(fault.name, fault.start_ns, fault.end_ns - int(within_s * NS))
        moved = during(evidence.transitions, "intended_ns", window)
        stuck = during(evidence.overdue, "intended_ns", window)
        total = len(moved) + len(stuck)
        items = evidence.run.words.items
        if total < self.at_least:
            return unseen(self.name, 0.0, items, f"{total} {items} fell due while it lasted")
        lateness, off = seconds(moved["start_ns"] - moved["intended_ns"], 0), blur_ns(moved) / NS
        wrong = moved[(lateness + off < 0) | (lateness - off > within_s)]
        unsure = total - len(stuck) - int(((lateness >= off) & (lateness + off <= within_s)).sum())
        if unsure and wrong.empty and stuck.empty:
            return unseen(self.name, 0.0, items, f"looks at them can't tell whether {unsure} moved in time")
        return none_of(
            evidence, self.name, pd.concat([wrong, stuck]), items, f"{total} expiries, {within_s:g} s each"
        )


@dataclass(frozen=True)
class QuickAnswers(_OfRequests):
    """No request hangs: each one sent while the fault lasts is answered or refused in time.

    That is within what the policy allows (``recovery.answer``).
    """

    @property
    def name(self) -> str:
        return "every request is answered or refused in time"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        within_s = evidence.policy.recovery.answer
        calls = during(_calls(evidence), "start_ns", fault)
        if calls.empty:
            return unseen(self.name, within_s, "s", "no request was sent while it lasted")
        taken = seconds(calls["end_ns"] - calls["start_ns"], 0).fillna(math.inf)
        slow = calls[taken >= within_s]
        examples = examples_of(evidence, slow)
        return compare(self.name, float(taken.max()), within_s, "s", f"{len(calls)} requests", examples)


@dataclass(frozen=True)
class FailsClearly(_OfRequests):
    """Requests that fail while the fault lasts, if any do, fail in a way that tells their caller what to do.

    That is by 503 (come back later), or by 504 where a tick ran into its limit; a service whose process or
    address is taken away can't answer at all.
    """

    unanswered: bool = False

    @property
    def name(self) -> str:
        return f"what fails, fails with {' or '.join(self._allowed)}"

    @property
    def _allowed(self) -> tuple[str, ...]:
        answers = ("http 503", "http 504")
        return (*answers, "connection refused", "connection reset") if self.unanswered else answers

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = during(_calls(evidence), "start_ns", fault)
        failed = calls[~succeeded(calls)]
        unclear = failed[~failed["error"].isin(self._allowed)]
        explanation = _counted(unclear) or f"{len(failed)} of {len(calls)} requests failed"
        return none_of(evidence, self.name, unclear, "unclear errors", explanation)


@dataclass(frozen=True)
class RefusesClearly(_OfRequests):
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
        unclear = failed[~failed["error"].isin(self.allowed)]
        return none_of(evidence, self.name, unclear, "unclear errors", _counted(failed))


@dataclass(frozen=True)
class NobodyFails(_OfRequests):
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
    """Nothing gets through over PubNub while the fault lasts: the proof that there was a fault at all."""

    grace_s: float = 1.0

    @property
    def name(self) -> str:
        return "no event reaches a player while it lasts (the fault took)"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        window = Window(fault.name, fault.start_ns + int(self.grace_s * NS), fault.end_ns)
        moved = during(evidence.transitions, "committed_ns", window)
        if moved.empty:
            return unseen(self.name, 0.0, "events", f"no {evidence.run.words.item} moved while it lasted")
        heard = during(evidence.messages, "end_ns", window)
        heard = heard[
            heard["accepted_ns"].notna()
        ]  # PubNub says when it accepted a message, no other way does
        return none_of(evidence, self.name, heard, "events", f"{len(moved)} events were to be heard of")


@dataclass(frozen=True)
class HealthNames:
    """/health turns unhealthy and names the part, soon after the fault begins.

    That is, unless ``within_s`` is given, within what the policy allows (``recovery.detect``).
    """

    needs: ClassVar = Witness.HEALTH

    part: str
    within_s: float | None = None

    def applies(self, system: System) -> bool:
        """Whether its health tells of that part."""
        return self.part in system.health_tells

    @property
    def name(self) -> str:
        return f"health names {self.part} in time"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        within_s = evidence.policy.recovery.detect if self.within_s is None else self.within_s
        probes = during(evidence.rows("health"), "start_ns", fault)
        if probes.empty:
            return unseen(self.name, within_s, "s", "health was not asked while it lasted")
        errors = probes["error"].astype("string").fillna("")
        named = probes[errors.str.split(",").map(lambda parts: self.part in parts).astype(bool)]
        measured = float(seconds(named["end_ns"], fault.start_ns).min()) if len(named) else math.inf
        seen = ", ".join(sorted(set(errors) - {""})) or "healthy throughout"
        return compare(self.name, measured, within_s, "s", f"{len(probes)} probes: {seen}", [])


@dataclass(frozen=True)
class HealthyThroughout:
    """/health says healthy at every probe."""

    needs: ClassVar = Witness.HEALTH

    @property
    def name(self) -> str:
        return "health is healthy throughout"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        probes = during(evidence.rows("health"), "start_ns", fault)
        if probes.empty:
            return unseen(self.name, 0.0, "probes", "health was not asked")
        return none_of(evidence, self.name, probes[~succeeded(probes)], "probes", f"{len(probes)} probes")


@dataclass(frozen=True)
class EveryoneHears:
    """Every event of the whole record reaches every player who was listening."""

    @property
    def name(self) -> str:
        return "every player hears every event"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        pairs = evidence.pairs
        missed = pairs[pairs["settled"] & pairs["received_ns"].isna()]
        if pairs.empty:
            return unseen(self.name, 0.0, "deliveries", "there was nothing to hear")
        return none_of(evidence, self.name, missed, "deliveries", f"{len(pairs)} deliveries")


@dataclass(frozen=True)
class Intact:
    """Nothing was lost, early, double, illegal or out of order, in the whole record."""

    check: str

    @property
    def name(self) -> str:
        return f"integrity: {INTEGRITY[self.check].title.lower()}: none"

    def absent(self, evidence: Evidence, fault: Window) -> bool:
        looked = INTEGRITY[self.check].look(evidence, ())
        return bool(looked.absent) and not looked.looked_at

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        found = INTEGRITY[self.check].look(evidence, [doubt.witness for doubt in evidence.doubts_since(0)])
        if found.looked_at == 0:
            return unseen(self.name, 0.0, "cases", "there was nothing to look at")
        verdict: Verdict = "fail" if found.violations else "inconclusive" if found.doubts else "pass"
        explanation = "; ".join([f"{found.looked_at} looked at", *found.doubts])
        examples = tuple(found.examples[:EXAMPLES])
        return Finding(
            name=self.name,
            verdict=verdict,
            measured=found.violations,
            threshold=0.0,
            unit="cases",
            explanation=explanation,
            examples=examples,
            integrity=True,
        )


@dataclass(frozen=True)
class ReadingReaches:
    """A reading gets as high as ``level`` while the fault lasts: the fault did what it is for."""

    reading: str
    level: float
    actor: str = "service-1"

    def applies(self, system: System) -> bool:
        """Whether there is such a reading."""
        return _is_read(system, self.reading, self.actor)

    @property
    def name(self) -> str:
        return f"{self.reading} of {self.actor} reaches {self.level:g} (the fault took)"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = during(evidence.readings(self.reading), "start_ns", fault)
        values = rows[rows["actor"] == self.actor]["value"]
        if values.empty:
            return unseen(self.name, self.level, "", f"{self.reading} was not read while it lasted")
        highest = float(values.max())
        verdict: Verdict = "pass" if highest >= self.level else "fail"
        return Finding(
            name=self.name,
            verdict=verdict,
            measured=highest,
            threshold=self.level,
            explanation=f"{len(values)} readings",
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

    def applies(self, system: System) -> bool:
        """Whether there is such a reading."""
        return _is_read(system, self.reading, self.actor)

    @property
    def name(self) -> str:
        return f"{self.reading} of {self.actor} is back at its level before"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.readings(self.reading)
        rows = rows[rows["actor"] == self.actor]
        before, after = before_and_after(rows, fault)
        if before.empty or after.empty:
            return unseen(
                self.name, None, "", f"{self.reading} of {self.actor} was not read before and after"
            )
        limit = float(before.max()) * (1 + self.tolerance) + self.slack
        explanation = f"at most {before.max():g} before"
        return compare(self.name, float(after.min()), math.nextafter(limit, math.inf), "", explanation, [])


def not_applicable(expectation: Expectation, evidence: Evidence, fault: Window) -> bool:
    """Return whether there is no such thing as is looked at; the expectation's own ``absent`` tells."""
    absent = getattr(expectation, "absent", None)
    return absent is not None and absent(evidence, fault)


def _is_read(system: System, reading: str, actor: str) -> bool:
    """Tell whether there is such a reading: of every process, of the outbox, or from the system's metrics."""
    if reading in {Reading.CPU, Reading.RSS, Reading.OPEN_FILES, Reading.SESSIONS}:
        return True
    if actor == Actor.DATABASE:
        return getattr(system.witness, "backlog", None) is not None
    return isinstance(system, HasMetrics) and reading in system.readings.values()


def _calls(evidence: Evidence) -> pd.DataFrame:
    """Return all that was asked of the service: requests of players and hosts, and ticks."""
    return pd.concat([evidence.rows("http"), evidence.ticks], ignore_index=True)


def _counted(failed: pd.DataFrame) -> str:
    """Return how often each error came."""
    counts = failed["error"].astype("string").fillna("outcome unknown").value_counts()
    return ", ".join(f"{count} × {error}" for error, count in counts.items())
