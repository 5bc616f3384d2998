"""How soon a fault is told of, and how soon all is as before once it is over.

The limits are the policy's (``[recovery]`` in ``scenarios/sla.toml``): one for each kind of fault.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from harness.documents.rows import Fault, Finding
from harness.history.names import Tick
from harness.history.run import moment
from harness.history.witnesses import Witness
from harness.judge.evidence import NS, Evidence, FaultWindow, Window
from harness.judge.findings import (
    EXAMPLES,
    Expectation,
    applicable,
    compare,
    crashed,
    examples_of,
    guarded,
    judge_all,
    seconds,
    succeeded,
    unseen,
    within,
)


@dataclass(frozen=True)
class ServesAgain:
    """The first success after the fault: a tick, where they are ours, and an event that a player hears.

    Where no timer falls due for a while, the time of the event counts from when one does.
    """

    within_s: float = 15.0
    ticks: bool = True

    @property
    def name(self) -> str:
        what = "a tick and an event succeed" if self.ticks else "an event succeeds"
        return f"{what} within {self.within_s:g} s of its end"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        heard = evidence.messages
        heard_s = _first_s(heard[within(heard["end_ns"], fault.end_ns, math.inf)], fault.end_ns)
        explanation = ""
        if heard_s >= self.within_s and (due_s := _first_due_s(evidence, fault)):
            if math.isinf(heard_s) and evidence.span[1] < fault.end_ns + (due_s + self.within_s) * NS:
                return unseen(self.name, self.within_s, "s", "the record ends before a timer had to fall due")
            heard_s -= due_s
            explanation = f"a timer fell due {due_s:.1f} s after it"
        tick_s = 0.0
        if self.ticks:
            ticks = evidence.ticks
            # One that found another running did nothing itself.
            ticks = ticks[(ticks["name"] == Tick.TICK) & succeeded(ticks)]
            tick_s = _first_s(ticks[within(ticks["start_ns"], fault.end_ns, math.inf)], fault.end_ns)
        return compare(self.name, max(heard_s, tick_s), self.within_s, "s", explanation, [])


def _first_s(rows: pd.DataFrame, since_ns: int) -> float:
    """Return how many seconds after ``since_ns`` the first of ``rows`` ended; infinite: there is none."""
    return float(seconds(rows["end_ns"], since_ns).min()) if len(rows) else math.inf


def _first_due_s(evidence: Evidence, fault: Window) -> float:
    """Return how many seconds after a fault the first timer fell due of which players were to hear.

    That is 0 where some event was still to be heard of at its end, and at most as long as a timer runs.
    """
    moves, overdue, pairs = evidence.transitions, evidence.overdue, evidence.pairs
    heard = pairs[within(pairs["received_ns"], 0, fault.end_ns)]["event"]
    open_ = moves[~within(moves["moved_ns"], 0, fault.end_ns) | ~moves["event"].isin(heard)]
    due_ns = pd.concat([open_["intended_ns"].fillna(open_["start_ns"]), overdue["intended_ns"]])
    due_s = seconds(due_ns - evidence.database_clock.offset_ns, fault.end_ns).dropna()
    timers = evidence.lifecycle.timed if evidence.lifecycle else ()
    longest_s = max((evidence.run.length_s(state) or 0.0 for state in timers), default=0.0)
    return min(max(float(due_s.min()), 0.0), longest_s) if len(due_s) else longest_s


@dataclass(frozen=True)
class HealthyAgain:
    """The system calls itself healthy again soon after the fault ends."""

    needs: ClassVar = Witness.HEALTH

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
class BacklogDrained:
    """All that the fault held up is done: overdue items moved, and their events heard by everyone."""

    within_s: float = 15.0

    @property
    def name(self) -> str:
        return f"the backlog is drained within {self.within_s:g} s of its end"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        offset_ns = evidence.database_clock.offset_ns
        moves, overdue = evidence.transitions, evidence.overdue
        due_ns = moves["intended_ns"].fillna(moves["start_ns"]) - offset_ns
        start_ns = fault.start_ns
        if evidence.loss is not None and evidence.loss.newest_ns is not None:
            # What the backup lacks fell due before, and has to be done again.
            start_ns = min(start_ns, evidence.loss.newest_ns)
        moves = moves[within(due_ns, start_ns, fault.end_ns)]
        stuck = overdue[within(overdue["intended_ns"] - offset_ns, start_ns, fault.end_ns)]
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
            explanation += (
                f"; {len(stuck)} {evidence.run.words.items} never moved, {len(unheard)} deliveries never came"
            )
        late = pairs[~within(pairs["received_ns"], 0, fault.end_ns + self.within_s * NS)]
        return compare(
            self.name,
            measured,
            self.within_s,
            "s",
            explanation,
            [*examples_of(evidence, stuck), *examples_of(evidence, late)][:EXAMPLES],
        )


def recovery(within_s: float, absent: Collection[Witness] = ()) -> list[Expectation]:
    """Return what must hold within ``within_s`` seconds of a fault's end, whatever it was.

    Parameters
    ----------
    absent : what the run does without by choice.
    """
    serves = ServesAgain(within_s, ticks=Witness.CRON not in absent)
    return applicable([serves, HealthyAgain(within_s), BacklogDrained(within_s)], absent)


def recovery_of(evidence: Evidence, fault: FaultWindow) -> Fault:
    """Return how a fault that was declared while the load went on was recovered from, and how soon.

    Where other faults went on meanwhile, the time counts from the end of the last of them.
    """
    row = Fault(
        name=fault.name,
        place=fault.fault.place,
        started_at=moment(fault.start_ns),
        ended_at=None if fault.end_ns is None else moment(fault.end_ns),
        error=fault.error,
    )

    def judged() -> Fault:
        findings = _findings(evidence, fault)
        times = [finding.measured for finding in findings if finding.measured is not None]
        return row.model_copy(
            update={
                "expectations": tuple(findings),
                "detected_after_s": detected_after_s(evidence, fault),
                "recovered_after_s": max(times) if len(times) == len(findings) else None,
            }
        )

    def unknown(why: str) -> Fault:
        return row.model_copy(update={"expectations": (crashed("it is recovered from", why),)})

    return guarded(judged, unknown)


def _findings(evidence: Evidence, fault: FaultWindow) -> list[Finding]:
    """Judge the recovery from a fault by the policy's limit for it."""
    limit_s = evidence.policy.recovery.limit_s(fault.name)
    end_ns, others = _end_of_all(evidence.faults, fault, int(limit_s * NS))
    expectations = recovery(limit_s, evidence.absent)
    if end_ns is None:
        why = f"{', '.join(others) or 'it'} was still on when the record ended"
        open_end = Finding(name="", verdict="inconclusive", threshold=limit_s, unit="s", explanation=why)
        return [open_end.model_copy(update={"name": one.name}) for one in expectations]
    if evidence.transitions.empty:
        # Nobody watched the database (the measurement says so): whether anything was held up is not known.
        expectations = [e for e in expectations if not isinstance(e, BacklogDrained)]
    findings = judge_all(evidence, Window(fault.name, fault.start_ns, end_ns), expectations)
    since = f"counted from the end of {', '.join(others)}" if others else ""
    complete = evidence.span[1] >= end_ns + limit_s * NS
    return [_told(finding, since, complete=complete) for finding in findings]


def _told(finding: Finding, since: str, *, complete: bool) -> Finding:
    """Return a finding that says since when it counts; open if the record ends before its time is over."""
    if finding.measured is None and not complete:  # what did not come may have come later
        why = "the record ends before its time is over"
        return finding.model_copy(update={"verdict": "inconclusive", "explanation": why})
    explanation = "; ".join(filter(None, (finding.explanation, since)))
    return finding.model_copy(update={"explanation": explanation})


def _end_of_all(
    faults: Sequence[FaultWindow], fault: FaultWindow, within_ns: int
) -> tuple[int | None, list[str]]:
    """Return when a fault and all that began before it could be recovered from had ended, and their names.

    None: one of them did not end.
    """
    end_ns, others = fault.end_ns, list[str]()
    for other in sorted(faults, key=lambda one: one.start_ns):
        if end_ns is None:
            break
        if other.id == fault.id or other.start_ns >= end_ns + within_ns:
            continue
        if other.end_ns is None or other.end_ns > end_ns:
            end_ns, others = other.end_ns, [*others, other.name]
    return end_ns, others


def detected_after_s(evidence: Evidence, fault: FaultWindow | Window) -> float | None:
    """Return how many seconds after the begin of a fault /health first told of something; None: never."""
    probes = evidence.rows("health")
    told = probes[within(probes["start_ns"], fault.start_ns, fault.end_ns or math.inf) & ~succeeded(probes)]
    return float(seconds(told["end_ns"], fault.start_ns).min()) if len(told) else None
