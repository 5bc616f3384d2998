"""Whether the measurement itself can be trusted. A doubt makes inconclusive, never a pass, never a fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.checks.evidence import NS, Clock, Evidence, unknown_kinds

#: Actors of ``resource`` rows that are processes of the harness.
_HARNESS: Final = r"^(load|observer|prober|cron|player)"
#: Whose reading is that of the whole machine.
_MACHINE: Final = "machine"

LATENCIES: Final = ("monitor_execution", "broadcast_latency", "pubnub_delivery")
#: Objectives that rest on what the database recorded.
OF_DATABASE: Final = ("broadcast_latency", "trigger_execution", "timer_accuracy", "event_delivery")
OF_OBSERVERS: Final = ("broadcast_latency", "pubnub_delivery", "event_delivery")
ALL: Final = ("*",)


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
    #: Metrics that it makes doubtful when it is not ok; ``*``: every objective and integrity row.
    touches: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return it as a row of report.json."""
        return {
            "name": self.name,
            "title": self.title,
            "verdict": "pass" if self.ok else "inconclusive",
            "measured": self.measured,
            "unit": self.unit,
            "limit": self.limit,
            "explanation": self.explanation,
            "touches": list(self.touches),
        }


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
        ALL,
    )


def complete_run(evidence: Evidence) -> Check:
    """The run must have come to its end."""
    interrupted = bool(evidence.run.get("interrupted"))
    return Check(
        "complete_run",
        "Run to its end",
        not interrupted,
        None,
        "",
        None,
        "The run was interrupted; what it saw until then is shown."
        if interrupted
        else "It was not interrupted.",
        ALL,
    )


def witnesses(evidence: Evidence) -> Check:
    """Everything that was to be watched must have been."""
    missing = [str(reason) for reason in evidence.run.get("missing") or []]
    touched: set[str] = set()
    for reason in missing:
        if "database" in reason.lower() or "transition" in reason.lower():
            touched.update(OF_DATABASE)
        elif "subscri" in reason.lower() or "observer" in reason.lower() or "pubnub" in reason.lower():
            touched.update(OF_OBSERVERS)
        else:
            touched.add("*")
    return Check(
        "witnesses",
        "Every witness present",
        not missing,
        float(len(missing)),
        "missing",
        0,
        "; ".join(missing) or "All were there.",
        tuple(sorted(touched)) or ALL,
    )


def whole_files(evidence: Evidence) -> Check:
    """Every history file must have been closed by its writer."""
    cut = [f"{file.path.name} ({file.cut_off})" for file in evidence.files if file.cut_off]
    return Check(
        "whole_files",
        "History files whole",
        not cut,
        float(len(cut)),
        "cut off",
        0,
        f"Cut off: {', '.join(cut)}; what they hold up to there is used." if cut else "All were closed.",
        ALL,
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
        ALL,
    )


def matched_rows(evidence: Evidence) -> Check:
    """Events that were received must have been made."""
    heard = evidence.messages
    nameless = int(np.count_nonzero((heard["name"] == "phase_changed") & (heard["event"] < 0)))
    received = evidence.receipts
    ours = received[(received["name"] == "phase_changed").to_numpy()]
    made = pd.concat([evidence.events["event"], evidence.publishes["event"]])
    limit = evidence.policy.measurement.unmatched
    if made.empty and _unwatched_database(evidence):
        lonely, total = 0, 0
        explanation = "Nobody watched the database, so there is nothing to match them with."
    else:
        lonely = nameless + int(np.count_nonzero(~evidence.among(ours["event"], made)))
        total = nameless + len(ours)
        explanation = f"{lonely} of {total} received phase changes belong to no recorded transition."
        if nameless:
            explanation += f" {nameless} of them came without an event id."
    share = lonely / total if total else 0.0
    return Check(
        "matched_rows",
        "Deliveries matched to events",
        share <= limit,
        share * 100,
        "%",
        limit * 100,
        explanation,
        OF_OBSERVERS,
    )


def _unwatched_database(evidence: Evidence) -> bool:
    """Whether it is known that the database was not read; :func:`witnesses` says so then."""
    found = witnesses(evidence)
    return not found.ok and set(OF_DATABASE) <= set(found.touches)


def harness_cpu(evidence: Evidence) -> Check:
    """No process of the harness may be short of CPU."""
    return _reading(
        evidence,
        "cpu_percent",
        name="harness_cpu",
        title="Load generator and observers had CPU to spare",
        unit="%",
        limit=evidence.policy.measurement.cpu * 100,
        scale=1.0,
        what="of one core",
    )


def harness_lag(evidence: Evidence) -> Check:
    """No event loop of the harness may have lagged."""
    return _reading(
        evidence,
        "loop_lag_ms",
        name="harness_lag",
        title="Event loops of the harness on time",
        unit="s",
        limit=evidence.policy.measurement.loop_lag,
        scale=1e-3,
        what="late; what it may have added is taken off before a latency fails",
    )


def tick_lateness(evidence: Evidence) -> Check:
    """Cron's ticks must have left on schedule: it is an open loop."""
    ticks = evidence.ticks
    ticks = ticks[evidence.steady(ticks["origin_ns"])]
    late = ((ticks["start_ns"] - ticks["intended_ns"]).dropna().to_numpy(dtype="float64")) / NS
    limit = evidence.policy.measurement.tick_lateness
    measured = float(np.quantile(late, 0.95, method="inverted_cdf")) if len(late) else None
    return Check(
        "tick_lateness",
        "Cron on schedule",
        measured is not None and measured <= limit,
        measured,
        "s",
        limit,
        f"95 % of {len(late)} ticks left no later than this; latencies count from the schedule."
        if len(late)
        else "No tick of the steady state is recorded.",
        ("monitor_execution", "timer_accuracy"),
    )


def database_clock(evidence: Evidence) -> Check:
    """The database's clock must be known well enough to compare with ours."""
    return _clock(evidence, evidence.database_clock, len(evidence.transitions) > 0, ("broadcast_latency",))


def pubnub_clock(evidence: Evidence) -> Check:
    """PubNub's clock must be known well enough to compare with ours."""
    return _clock(evidence, evidence.pubnub_clock, len(evidence.receipts) > 0, ("pubnub_delivery",))


def own_clock(evidence: Evidence) -> Check:
    """The harness's own wall clock must not have jumped."""
    readings = evidence.readings("wall_minus_monotonic_ms")
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
        (*LATENCIES, "timer_accuracy"),
    )


def sane_times(evidence: Evidence) -> Check:
    """No row may end before it starts."""
    table = evidence.table
    kinds = pc.is_in(table["kind"].cast("string"), value_set=_SPANS)
    backwards = pc.and_(kinds, pc.less(table["end_ns"], table["start_ns"]))
    count = int(pc.sum(backwards).as_py() or 0)
    return Check(
        "sane_times",
        "No row ends before it starts",
        count == 0,
        float(count),
        "rows",
        0,
        f"{count} rows end before they start: the clock of their writer moved." if count else "None does.",
        (*LATENCIES, "trigger_execution"),
    )


def probe_effect(evidence: Evidence) -> Check:
    """How much of the CPU the harness itself used; shown, not judged."""
    rows = evidence.readings("cpu_percent")
    # The machine as a whole is no part of itself.
    rows = rows[evidence.steady(rows["start_ns"]) & (rows["actor"] != _MACHINE).to_numpy(dtype=bool)]
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
        (),
    )


MEASUREMENT: Final[tuple[Callable[[Evidence], Check], ...]] = (
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
    probe_effect,
)

#: Kinds of rows whose start and end are of one clock.
_SPANS: Final = pa.array(["monitor", "http", "health", "trigger"])


def _reading(
    evidence: Evidence,
    reading: str,
    *,
    name: str,
    title: str,
    unit: str,
    limit: float,
    scale: float,
    what: str,
) -> Check:
    rows = evidence.readings(reading)
    rows = rows[rows["actor"].astype(str).str.match(_HARNESS).to_numpy(dtype=bool)]
    rows = rows[evidence.steady(rows["start_ns"]) & np.isfinite(rows["value"].to_numpy(dtype="float64"))]
    if rows.empty:
        why = "No reading of it is recorded in the steady state, so nobody knows."
        return Check(name, title, not _has_steady_state(evidence), None, unit, limit, why, LATENCIES)
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
        LATENCIES,
    )


def _has_steady_state(evidence: Evidence) -> bool:
    """Whether anything is judged; without it, :func:`steady_state` is the doubt."""
    return any(window.name == "steady" for window in evidence.windows)


def _clock(evidence: Evidence, clock: Clock, used: bool, touches: tuple[str, ...]) -> Check:
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
        f"Clock of {'PubNub' if clock.name == 'pubnub' else 'the database'} known",
        (known and clock.error_s <= limit) or not used,
        clock.error_s if known else None,
        "s",
        limit,
        explanation,
        touches,
    )
