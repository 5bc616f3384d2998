"""Whether the harness was fit to measure: shortages, CPU, event loops, cron's schedule and clocks."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from harness.documents.rows import CheckRow
from harness.history.names import Actor, Reading
from harness.history.witnesses import Witness, witnesses_of
from harness.judge.check import RUN, checked
from harness.judge.evidence import NS, Clock, Evidence
from harness.judge.truth import implied

#: Actors of ``resource`` rows that are processes of the harness.
_HARNESS: Final = rf"^({Actor.LOAD}|observer|{Actor.PROBER}|{Actor.CRON}|player)"


def shortages(evidence: Evidence) -> CheckRow:
    """No process of the harness may have run out of anything: what it then lost, nobody else lost."""
    found = evidence.shortages.groupby(["who", "what"], as_index=False)["times"].sum()
    told = ", ".join(f"{who} {what} ({times:g} times)" for who, what, times in found.itertuples(index=False))
    return checked(
        "shortages",
        "Nothing of the harness's own ran out",
        found.empty,
        float(found["times"].sum()),
        "times",
        0,
        "Open files, local ports, memory and accept queues sufficed."
        if found.empty
        else f"{told}: what failed by that is not the service's. Give more (`ulimit -n`), or play fewer "
        f"{evidence.run.words.items}.",
        implied(evidence.run, (witness for who in found["who"] for witness in witnesses_of(who))) or RUN,
    )


def harness_cpu(evidence: Evidence) -> CheckRow:
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


def harness_lag(evidence: Evidence) -> CheckRow:
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


def tick_lateness(evidence: Evidence) -> CheckRow:
    """Cron's ticks must have left on schedule: it is an open loop."""
    if Witness.CRON in evidence.absent:
        why = "The run sends no ticks."
        return checked("tick_lateness", "Cron on schedule", True, None, "s", None, why, frozenset())
    ticks = evidence.ticks
    ticks = ticks[evidence.steady(ticks["origin_ns"])]
    late = ((ticks["start_ns"] - ticks["intended_ns"]).dropna().to_numpy(dtype="float64")) / NS
    limit = evidence.policy.measurement.tick_lateness
    unsent = _unsent(evidence)
    all_due = np.concatenate([late, np.full(unsent, np.inf)])
    measured = float(np.quantile(all_due, 0.95, method="inverted_cdf")) if len(late) else None
    return checked(
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
    scheduled = evidence.run.option("tick_s")
    if not len(sent) or not ends or not scheduled:
        return 0
    step = int(evidence.tick_s * NS)
    due = np.arange(sent[0], max(ends), step)
    near = np.searchsorted(sent, due - step // 2) < np.searchsorted(sent, due + step // 2)
    return int(np.count_nonzero(evidence.steady(pd.Series(due[~near], dtype="Int64"))))


def database_clock(evidence: Evidence) -> CheckRow:
    """The database's clock must be known well enough to compare with ours."""
    return _clock(evidence, evidence.database_clock, len(evidence.transitions) > 0, Witness.DATABASE_CLOCK)


def pubnub_clock(evidence: Evidence) -> CheckRow:
    """PubNub's clock must be known well enough to compare with ours."""
    used = len(evidence.receipts) > 0 and Witness.PUBNUB_CLOCK not in evidence.absent
    return _clock(evidence, evidence.pubnub_clock, used, Witness.PUBNUB_CLOCK)


def workers_clock(evidence: Evidence) -> CheckRow:
    """The clocks of workers must be known well enough to be taken for the master's."""
    limit = evidence.policy.measurement.clock_error
    clocks = evidence.workers.values()
    # A record without a single comparison is of before there were any.
    unknown = [clock.name for clock in clocks if clock.bound_ns is None]
    unknown = [] if len(unknown) == len(clocks) else unknown
    worst = max((clock for clock in clocks if clock.bound_ns is not None), key=_bound, default=None)
    return checked(
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


def own_clock(evidence: Evidence) -> CheckRow:
    """The harness's own wall clock must not have jumped."""
    readings = evidence.readings(Reading.WALL_CLOCK)
    readings = readings[np.isfinite(readings["value"].to_numpy(dtype="float64"))]
    spread = readings.groupby("actor", observed=True)["value"].agg(lambda v: v.max() - v.min())
    measured = float(spread.max()) / 1000 if len(spread) else None
    limit = evidence.policy.measurement.clock_jump
    return checked(
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


def probe_effect(evidence: Evidence) -> CheckRow:
    """How much of the CPU the harness itself used; shown, not judged."""
    rows = evidence.readings(Reading.CPU)
    # The machine as a whole is no part of itself.
    rows = rows[evidence.steady(rows["start_ns"]) & (rows["actor"] != Actor.MACHINE).to_numpy(dtype=bool)]
    means = rows.groupby("actor", observed=True)["value"].mean()
    ours = means[means.index.astype(str).str.match(_HARNESS)].sum() if len(means) else 0.0
    total = float(means.sum()) if len(means) else 0.0
    return checked(
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


def machine(evidence: Evidence) -> CheckRow:
    """How busy the machine was, and what other programs used of it; shown, not judged."""
    rows = evidence.readings(Reading.CPU)
    rows = rows[evidence.steady(rows["start_ns"])]
    means = rows.groupby("actor", observed=True)["value"].mean()
    cores = (evidence.run.machine or {}).get("cores")
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
    return checked(
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
) -> CheckRow:
    rows = evidence.steady_readings(reading, _HARNESS)
    if rows.empty:
        why = "No reading of it is recorded in the steady state, so nobody knows."
        return checked(
            name, title, not _has_steady_state(evidence), None, unit, limit, why, frozenset({doubts})
        )
    highest = rows.groupby("actor", observed=True)["value"].quantile(0.95, interpolation="higher") * scale
    actor, measured = str(highest.idxmax()), float(highest.max())
    return checked(
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


def _clock(evidence: Evidence, clock: Clock, used: bool, doubts: Witness) -> CheckRow:
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
    return checked(
        f"{clock.name}_clock",
        f"Clock of {'PubNub' if clock.name == Actor.PUBNUB else 'the database'} known",
        (known and clock.error_s <= limit) or not used,
        clock.error_s if known else None,
        "s",
        limit,
        explanation,
        frozenset({doubts}),
    )
