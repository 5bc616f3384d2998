"""Whether the measurement itself can be trusted. A doubt makes inconclusive, never a pass, never a fail."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.documents.rows import CheckRow
from harness.history.names import AS_IN, Actor, Delivery, Reading
from harness.history.witnesses import Witness, witnesses_of
from harness.judge.evidence import NS, Clock, Evidence
from harness.judge.integrity import INTEGRITY
from harness.judge.table import unknown_kinds
from harness.sla.metrics import METRICS
from harness.sla.witnesses import ALWAYS

#: Actors of ``resource`` rows that are processes of the harness.
_HARNESS: Final = rf"^({Actor.LOAD}|observer|{Actor.PROBER}|{Actor.CRON}|player)"
#: How many different reasons are told of.
_REASONS: Final = 3
#: In doubt when nothing in particular is.
RUN: Final = frozenset({Witness.RUN})


@dataclass(frozen=True)
class Check:
    """One way in which the measurement could be wrong."""

    name: str
    title: str
    ok: bool
    measured: float | None
    unit: str
    limit: float | None
    explanation: str
    #: Witnesses that are in doubt when it is not ok.
    doubts: frozenset[Witness]

    def row(self) -> CheckRow:
        """Return it as a row of report.json."""
        return CheckRow(
            name=self.name,
            title=self.title,
            verdict="pass" if self.ok else "inconclusive",
            measured=None if self.measured is None or np.isnan(self.measured) else float(self.measured),
            unit=self.unit,
            limit=self.limit,
            explanation=self.explanation,
            witnesses=tuple(sorted(self.doubts)),
            touches=tuple(touched(self.doubts)),
        )


def touched(witnesses: Collection[Witness]) -> list[str]:
    """Return the metrics and integrity rows that rest on one of ``witnesses``; ``*``: all do."""
    if ALWAYS & set(witnesses):
        return ["*"]
    declared = {name: metric.rests_on for name, metric in METRICS.items()}
    declared |= {name: integrity.rests_on for name, integrity in INTEGRITY.items()}
    return [name for name, rests_on in declared.items() if rests_on & set(witnesses)]


def shortages(evidence: Evidence) -> Check:
    """No process of the harness may have run out of anything: what it then lost, nobody else lost."""
    found = evidence.shortages.groupby(["who", "what"], as_index=False)["times"].sum()
    told = ", ".join(f"{who} {what} ({times:g} times)" for who, what, times in found.itertuples(index=False))
    return Check(
        "shortages",
        "Nothing of the harness's own ran out",
        found.empty,
        float(found["times"].sum()),
        "times",
        0,
        "Open files, local ports, memory and accept queues sufficed."
        if found.empty
        else f"{told}: what failed by that is not the service's. Give more (`ulimit -n`), or play fewer "
        "games.",
        frozenset(witness for who in found["who"] for witness in witnesses_of(who)) or RUN,
    )


def steady_state(evidence: Evidence) -> Check:
    """There must be a declared steady state, and rows in it."""
    total = sum(w.end_ns - w.start_ns for w in evidence.windows if w.name == "steady") / NS
    return Check(
        "steady_state",
        "Steady state declared",
        total > 0,
        total,
        "s",
        None,
        "Only the declared steady windows are judged."
        if total > 0
        else "The run declares no steady window, so there is nothing to judge.",
        RUN,
    )


def complete_run(evidence: Evidence) -> Check:
    """The run must have come to its end, and so must each of its scenarios."""
    interrupted = bool(evidence.run.get("interrupted"))
    lost = [f"{one.id}: {one.message}" for one in evidence.scenarios if one.lost]
    said = ["The run was interrupted; what it saw until then is shown."] if interrupted else []
    said += (
        [f"Scenarios that were collected and have no result of their own: {'; '.join(lost)}."] if lost else []
    )
    return Check(
        "complete_run",
        "Run to its end",
        not said,
        None,
        "",
        None,
        " ".join(said) or "It was not interrupted.",
        frozenset({Witness.SCENARIOS}) if lost and not interrupted else RUN,
    )


def witnesses(evidence: Evidence) -> Check:
    """Everything that was to be watched must have been."""
    # One thing that is missing may be a doubt about several witnesses.
    reasons = list(dict.fromkeys(doubt.reason for doubt in evidence.doubts))
    return Check(
        "witnesses",
        "Every witness present",
        not reasons,
        float(len(reasons)),
        "missing",
        0,
        "; ".join(reasons) or "All were there.",
        frozenset(doubt.witness for doubt in evidence.doubts) or RUN,
    )


def whole_files(evidence: Evidence) -> Check:
    """Every history file must have been closed by its writer."""
    cut = [file for file in evidence.files if file.cut_off]
    told = ", ".join(f"{file.path.name} ({file.cut_off})" for file in cut)
    return Check(
        "whole_files",
        "History files whole",
        not cut,
        float(len(cut)),
        "cut off",
        0,
        f"Cut off: {told}; what they hold up to there is used." if cut else "All were closed.",
        frozenset(witness for file in cut for witness in witnesses_of(file.writer)) or RUN,
    )


def known_rows(evidence: Evidence) -> Check:
    """Unknown and duplicated rows must be rare."""
    unknown, twice = unknown_kinds(evidence.table), evidence.duplicated
    total = evidence.table.num_rows + twice
    share = (unknown + twice) / total if total else 0.0
    limit = evidence.policy.measurement.unmatched
    return Check(
        "known_rows",
        "Rows known and single",
        share <= limit,
        share * 100,
        "%",
        limit * 100,
        f"{unknown} rows of an unknown kind, {twice} that stood there twice, of {total}.",
        RUN,
    )


def matched_rows(evidence: Evidence) -> Check:
    """Messages that were received must be readable, and their events must have been made."""
    heard = evidence.messages
    unreadable = int(np.count_nonzero(heard["name"] == Delivery.UNREADABLE))
    nameless = int(np.count_nonzero((heard["name"] == Delivery.PHASE_CHANGED) & (heard["event"] < 0)))
    received = evidence.receipts
    ours = received[(received["name"] == Delivery.PHASE_CHANGED).to_numpy()]
    made = pd.concat([evidence.events["event"], evidence.publishes["event"]])
    limit = evidence.policy.measurement.unmatched
    lonely, total = nameless + unreadable, nameless + unreadable + len(ours)
    if made.empty and _unwatched_database(evidence):
        explanation = "Nobody watched the database, so there is nothing to match them with."
    else:
        lonely += int(np.count_nonzero(~evidence.among(ours["event"], made)))
        explanation = f"{lonely} of {total} received phase changes belong to no recorded transition."
    if nameless:
        explanation += f" {nameless} of them came without an event id."
    if unreadable:
        explanation += f" {unreadable} messages could not be read: {_why_unreadable(evidence)}."
    share = lonely / total if total else 0.0
    return Check(
        "matched_rows",
        "Deliveries matched to events",
        share <= limit,
        share * 100,
        "%",
        limit * 100,
        explanation,
        frozenset({Witness.MESSAGES}),
    )


def _why_unreadable(evidence: Evidence) -> str:
    """The reasons, each with the message that its observer wrote down, if it did."""
    rows = evidence.rows("delivery")
    told = rows.loc[(rows["name"] == Delivery.UNREADABLE).to_numpy(), "error"].dropna().astype(str).unique()
    reasons: dict[str, str] = {}
    for text in sorted(told, key=len, reverse=True):
        reasons.setdefault(text.partition(AS_IN)[0], text)
    return "; ".join(list(reasons.values())[:_REASONS]) or "no reason is recorded"


def _unwatched_database(evidence: Evidence) -> bool:
    """Whether it is known that the database was not read; :func:`witnesses` says so then."""
    return any(doubt.witness is Witness.DATABASE for doubt in evidence.doubts)


def harness_cpu(evidence: Evidence) -> Check:
    """No process of the harness may be short of CPU."""
    return _reading(
        evidence,
        Reading.CPU,
        name="harness_cpu",
        title="Load generator and observers had CPU to spare",
        unit="%",
        limit=evidence.policy.measurement.cpu * 100,
        scale=1.0,
        what="of one core",
        doubts=Witness.CPU,
    )


def harness_lag(evidence: Evidence) -> Check:
    """No event loop of the harness may have lagged."""
    return _reading(
        evidence,
        Reading.LOOP_LAG,
        name="harness_lag",
        title="Event loops of the harness on time",
        unit="s",
        limit=evidence.policy.measurement.loop_lag,
        scale=1e-3,
        what="late; what it may have added is taken off before a latency fails",
        doubts=Witness.LOOP,
    )


def tick_lateness(evidence: Evidence) -> Check:
    """Cron's ticks must have left on schedule: it is an open loop."""
    if Witness.CRON in evidence.absent:
        why = "The run sends no ticks."
        return Check("tick_lateness", "Cron on schedule", True, None, "s", None, why, frozenset())
    ticks = evidence.ticks
    ticks = ticks[evidence.steady(ticks["origin_ns"])]
    late = ((ticks["start_ns"] - ticks["intended_ns"]).dropna().to_numpy(dtype="float64")) / NS
    limit = evidence.policy.measurement.tick_lateness
    unsent = _unsent(evidence)
    all_due = np.concatenate([late, np.full(unsent, np.inf)])
    measured = float(np.quantile(all_due, 0.95, method="inverted_cdf")) if len(late) else None
    return Check(
        "tick_lateness",
        "Cron on schedule",
        measured is not None and measured <= limit,
        measured,
        "s",
        limit,
        f"95 % of {len(all_due)} ticks left no later than this; latencies count from the schedule."
        + (f" {unsent} never left." if unsent else "")
        if len(late)
        else "No tick of the steady state is recorded.",
        frozenset({Witness.SCHEDULE}),
    )


def _unsent(evidence: Evidence) -> int:
    """Return how many ticks the steady state should have had, by the schedule, and are not in the record."""
    sent = np.sort(evidence.ticks["origin_ns"].dropna().to_numpy(dtype="int64"))
    ends = [window.end_ns for window in evidence.windows if window.name == "steady"]
    scheduled = (evidence.run.get("options") or {}).get("tick_s")
    if not len(sent) or not ends or not scheduled:
        return 0
    step = int(evidence.tick_s * NS)
    due = np.arange(sent[0], max(ends), step)
    near = np.searchsorted(sent, due - step // 2) < np.searchsorted(sent, due + step // 2)
    return int(np.count_nonzero(evidence.steady(pd.Series(due[~near], dtype="Int64"))))


def database_clock(evidence: Evidence) -> Check:
    """The database's clock must be known well enough to compare with ours."""
    return _clock(evidence, evidence.database_clock, len(evidence.transitions) > 0, Witness.DATABASE_CLOCK)


def pubnub_clock(evidence: Evidence) -> Check:
    """PubNub's clock must be known well enough to compare with ours."""
    return _clock(evidence, evidence.pubnub_clock, len(evidence.receipts) > 0, Witness.PUBNUB_CLOCK)


def workers_clock(evidence: Evidence) -> Check:
    """The clocks of workers must be known well enough to be taken for the master's."""
    limit = evidence.policy.measurement.clock_error
    clocks = evidence.workers.values()
    # A record without a single comparison is of before there were any.
    unknown = [clock.name for clock in clocks if clock.bound_ns is None]
    unknown = [] if len(unknown) == len(clocks) else unknown
    worst = max((clock for clock in clocks if clock.bound_ns is not None), key=_bound, default=None)
    return Check(
        "workers_clock",
        "Clocks of workers known",
        not unknown and (worst is None or worst.error_s <= limit),
        0.0 if worst is None else worst.error_s,
        "s",
        limit,
        f"Never compared with the master's: {', '.join(unknown)}."
        if unknown
        else "No worker has a clock of its own."
        if worst is None
        else f"{worst.name}'s is known to within this, others better; times are put on the master's clock.",
        frozenset({Witness.SUBSCRIBERS_CLOCK}),
    )


def _bound(clock: Clock) -> int:
    return clock.bound_ns or 0


def own_clock(evidence: Evidence) -> Check:
    """The harness's own wall clock must not have jumped."""
    readings = evidence.readings(Reading.WALL_CLOCK)
    readings = readings[np.isfinite(readings["value"].to_numpy(dtype="float64"))]
    spread = readings.groupby("actor", observed=True)["value"].agg(lambda v: v.max() - v.min())
    measured = float(spread.max()) / 1000 if len(spread) else None
    limit = evidence.policy.measurement.clock_jump
    return Check(
        "own_clock",
        "Own clock steady",
        not _has_steady_state(evidence) if measured is None else measured <= limit,
        measured,
        "s",
        limit,
        "How far the wall clock wandered from the monotonic one."
        if measured is not None
        else "It was not compared with the monotonic one, so nobody knows.",
        frozenset({Witness.OWN_CLOCK}),
    )


def sane_times(evidence: Evidence) -> Check:
    """No row may end before it starts."""
    table = evidence.table
    kinds = pc.is_in(table["kind"].cast("string"), value_set=_SPANS)
    backwards = table.filter(pc.and_(kinds, pc.less(table["end_ns"], table["start_ns"])))
    count = backwards.num_rows
    by_database = "trigger" in pc.unique(backwards["kind"]).to_pylist()
    return Check(
        "sane_times",
        "No row ends before it starts",
        count == 0,
        float(count),
        "rows",
        0,
        f"{count} rows end before they start: the clock of their writer moved." if count else "None does.",
        frozenset({Witness.DATABASE if by_database else Witness.OWN_CLOCK}),
    )


def probe_effect(evidence: Evidence) -> Check:
    """How much of the CPU the harness itself used; shown, not judged."""
    rows = evidence.readings(Reading.CPU)
    # The machine as a whole is no part of itself.
    rows = rows[evidence.steady(rows["start_ns"]) & (rows["actor"] != Actor.MACHINE).to_numpy(dtype=bool)]
    means = rows.groupby("actor", observed=True)["value"].mean()
    ours = means[means.index.astype(str).str.match(_HARNESS)].sum() if len(means) else 0.0
    total = float(means.sum()) if len(means) else 0.0
    return Check(
        "probe_effect",
        "Share of the CPU that went to measuring",
        True,
        100 * float(ours) / total if total else None,
        "%",
        None,
        "Of all CPU used by the parts that were sampled. Shown, not judged: on a real deployment they do not "
        "share a machine.",
        frozenset(),
    )


def machine(evidence: Evidence) -> Check:
    """How busy the machine was, and what other programs used of it; shown, not judged."""
    rows = evidence.readings(Reading.CPU)
    rows = rows[evidence.steady(rows["start_ns"])]
    means = rows.groupby("actor", observed=True)["value"].mean()
    cores = (evidence.run.get("machine") or {}).get("cores")
    others = None
    if Actor.MACHINE in means.index and isinstance(cores, int) and cores > 0:
        others = max(float(means[Actor.MACHINE] - means.drop(Actor.MACHINE).sum() / cores), 0.0)
    told = [
        f"{title} {value:.3g}{unit}"
        for title, unit, value in (
            ("It was busy to", " %", means.get(Actor.MACHINE)),
            ("steal", " %", _of_machine(evidence, Reading.STEAL)),
            ("load average", "", _of_machine(evidence, Reading.LOAD_AVERAGE)),
        )
        if value is not None
    ]
    return Check(
        "machine",
        "Share of the machine that other programs used",
        True,
        others,
        "%",
        None,
        f"{', '.join(told)}, on {cores or 'an unknown number of'} cores. Shown, not judged: where that makes "
        "the harness late, its lag and its CPU tell."
        if told
        else "Nobody watched the machine.",
        frozenset(),
    )


def _of_machine(evidence: Evidence, name: Reading) -> float | None:
    rows = evidence.readings(name)
    values = rows.loc[
        evidence.steady(rows["start_ns"]) & (rows["actor"] == Actor.MACHINE).to_numpy(), "value"
    ]
    return float(values.mean()) if len(values) else None


MEASUREMENT: Final[tuple[Callable[[Evidence], Check], ...]] = (
    shortages,
    complete_run,
    steady_state,
    witnesses,
    whole_files,
    known_rows,
    matched_rows,
    sane_times,
    harness_cpu,
    harness_lag,
    tick_lateness,
    own_clock,
    database_clock,
    pubnub_clock,
    workers_clock,
    probe_effect,
    machine,
)

#: Kinds of rows whose start and end are of one clock.
_SPANS: Final = pa.array(["monitor", "http", "health", "trigger"])


def _reading(
    evidence: Evidence,
    reading: Reading,
    *,
    name: str,
    title: str,
    unit: str,
    limit: float,
    scale: float,
    what: str,
    doubts: Witness,
) -> Check:
    rows = evidence.readings(reading)
    rows = rows[rows["actor"].astype(str).str.match(_HARNESS).to_numpy(dtype=bool)]
    rows = rows[evidence.steady(rows["start_ns"]) & np.isfinite(rows["value"].to_numpy(dtype="float64"))]
    if rows.empty:
        why = "No reading of it is recorded in the steady state, so nobody knows."
        return Check(
            name, title, not _has_steady_state(evidence), None, unit, limit, why, frozenset({doubts})
        )
    highest = rows.groupby("actor", observed=True)["value"].quantile(0.95, interpolation="higher") * scale
    actor, measured = str(highest.idxmax()), float(highest.max())
    return Check(
        name,
        title,
        measured <= limit,
        measured,
        unit,
        limit,
        f"{actor} was the busiest: 95 % of its readings were no more than this {what}.",
        frozenset({doubts}),
    )


def _has_steady_state(evidence: Evidence) -> bool:
    """Whether anything is judged; without it, :func:`steady_state` is the doubt."""
    return any(window.name == "steady" for window in evidence.windows)


def _clock(evidence: Evidence, clock: Clock, used: bool, doubts: Witness) -> Check:
    limit = evidence.policy.measurement.clock_error
    known = clock.bound_ns is not None
    explanation = (
        f"Its offset is {clock.offset_ns / 1e6:.3f} ms, known to within this; latencies are corrected by "
        "it, and a verdict must hold for every offset within the bound."
        if known
        else "It was never compared with ours."
        if used
        else "Nothing was measured by it."
    )
    return Check(
        f"{clock.name}_clock",
        f"Clock of {'PubNub' if clock.name == Actor.PUBNUB else 'the database'} known",
        (known and clock.error_s <= limit) or not used,
        clock.error_s if known else None,
        "s",
        limit,
        explanation,
        frozenset({doubts}),
    )
