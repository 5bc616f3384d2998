"""What the objectives are about: history -> samples, each with the cluster it belongs to.

A metric gives samples of the steady state only (declared windows, away from declared faults). It
keeps what counts against the service: an event that never arrived is a latency of infinity, an
operation whose outcome is unknown is one that did not do what it was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.history.names import Delivery, Tick
from harness.judge.evidence import NS, Evidence
from harness.judge.lag import CRON, SUBSCRIBERS
from harness.judge.monitoring import of_others, skipped
from harness.judge.pairs import ambiguous
from harness.judge.samples import (
    WORST,
    Census,
    Samples,
    describe,
    durations,
    known_true,
    largest,
    outcomes,
    seconds,
    steady_rows,
    unsettled,
)
from harness.judge.timers import timer_error
from harness.judge.truth import blur_ns, coarsest_ns, never_due
from harness.sla.metrics import METRICS as DECLARED

Measure = Callable[[Evidence], Samples | Census]

#: Name of a metric -> the function that measures it. Filled by :func:`metric`.
METRICS: Final[dict[str, Measure]] = {}

M = TypeVar("M", bound=Measure)


def metric(measure: M) -> M:
    """Register a function as the one that measures the metric of its own name.

    Raises
    ------
    TypeError
        No such metric is declared in ``harness/sla/metrics.py``.
    """
    name = measure.__name__
    if name not in DECLARED:
        raise TypeError(f"no metric {name!r} is declared; there are {', '.join(DECLARED)}")
    METRICS[name] = measure
    return measure


@metric
def monitor_execution(evidence: Evidence) -> Samples:
    """Return how long ticks took, from their schedule to their answer; one that got none: for ever."""
    skips = skipped(evidence)
    ticks = evidence.ticks
    ticks = ticks[evidence.steady(ticks["origin_ns"]) & (ticks["name"] == Tick.TICK).to_numpy(dtype=bool)]
    elapsed = seconds(ticks["end_ns"] - ticks["origin_ns"])
    elapsed[ticks["end_ns"].isna().to_numpy()] = np.inf
    # A call that failed at once did not do its work at once. It did not take 30 seconds either.
    others = of_others(evidence, ticks)
    took = np.where(known_true(ticks["ok"]) | others, elapsed, np.inf)
    idle = skips[skips["due"]]
    waited = idle["waited_s"].to_numpy(dtype="float64")
    samples = durations(
        evidence,
        np.concatenate([took, waited]),
        np.arange(len(ticks) + len(idle)),
        "ticks",
        "From the scheduled time of a cron tick to its answer; a tick that failed "
        "or was never answered counts as infinite. A tick that skipped is no execution: it counts, where "
        "something was due, until one worked.",
        pd.concat([ticks, idle.assign(error="skipped")[list(ticks.columns)]]) if len(idle) else ticks,
        at="origin_ns",
        late=CRON,
    )
    if len(skips):
        samples.notes.append(f"{len(skips)} ticks skipped, {len(idle)} of them while something was due")
        if evidence.transitions.empty and evidence.overdue.empty:
            samples.doubts.append(
                f"{len(skips)} ticks skipped, and no record of the database tells whether something was due"
            )
    samples.notes.extend(_of_others(evidence, others))
    elapsed = np.concatenate([elapsed, waited])
    return replace(samples, elapsed=elapsed[~np.isnan(elapsed)])


def _heard_after(evidence: Evidence, pairs: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the settled pairs of the steady state, and after how many seconds each was heard; inf: never."""
    chosen = pairs[evidence.steady(pairs["committed_ns"]) & pairs["settled"]]
    took = seconds(chosen["received_ns"] - chosen["committed_ns"])
    took[chosen["received_ns"].isna().to_numpy()] = np.inf
    return chosen, took


@metric
def broadcast_latency(evidence: Evidence) -> Samples:
    """Return, for each pair of event and subscriber, the time from commit to receipt."""
    pairs = evidence.pairs
    chosen, took = _heard_after(evidence, pairs)
    samples = durations(
        evidence,
        took,
        chosen["tick"].to_numpy(dtype="int64"),
        "ticks",
        "From the commit of a transition to the moment a subscriber's callback has the event, for every pair "
        "of event and connected subscriber; an event that never arrived counts as infinite.",
        chosen,
        at="committed_ns",
        clock=evidence.database_clock.bound_ns,
        own_clock_ns=evidence.subscribers_bound_ns,
        blur_ns=coarsest_ns(evidence.transitions),
        clock_name="the database",
        late=SUBSCRIBERS,
    )
    unknown = int(evidence.transitions["end_ns"].isna().sum())
    if unknown:
        samples.notes.append(
            f"of {unknown} transitions the commit time is unknown: they count from the change itself"
        )
    samples.notes.extend(unsettled(evidence, pairs))
    samples.doubts.extend(_ambiguous(evidence))
    return samples


def _ambiguous(evidence: Evidence) -> list[str]:
    moved = evidence.announced
    return ambiguous(moved[evidence.steady(moved["committed_ns"])])


@metric
def act_latency(evidence: Evidence) -> Samples:
    """Return, for each pair of a player's act and a subscriber, the time from the call to the receipt."""
    pairs = evidence.act_pairs
    chosen, took = _heard_after(evidence, pairs)
    samples = durations(
        evidence,
        took,
        chosen["tick"].to_numpy(dtype="int64"),
        "seconds",
        "From a player's call to the moment a subscriber has the event that it made, for every pair of event "
        "and connected subscriber; an event that never arrived counts as infinite.",
        chosen,
        at="committed_ns",
        own_clock_ns=2 * evidence.subscribers_bound_ns,
        late=SUBSCRIBERS,
    )
    samples.notes.extend(unsettled(evidence, pairs))
    return samples


@metric
def trigger_execution(evidence: Evidence) -> Samples:
    """Return how long the broadcasting trigger took, measured by the database."""
    rows = evidence.rows("trigger")
    at = rows["start_ns"] - evidence.database_clock.offset_ns
    steady = evidence.steady(at)
    rows, at = rows[steady], at[steady]
    took = rows["value"].to_numpy(dtype="float64") / 1000
    return durations(
        evidence,
        took,
        evidence.tick_of(at),
        "ticks",
        "Execution of the broadcasting trigger for one row, measured inside the database.",
        rows,
        at="start_ns",
    )


@metric
def pubnub_delivery(evidence: Evidence) -> Samples:
    """Return the time from PubNub's acceptance of a message to its receipt by each subscriber."""
    rows = evidence.receipts
    rows = rows[evidence.steady(rows["accepted_ns"])]
    took = seconds(rows["end_ns"] - rows["accepted_ns"])
    return durations(
        evidence,
        took,
        evidence.tick_of(rows["accepted_ns"]),
        "ticks",
        "From a message's timetoken, set when PubNub accepts it, to the first time a subscriber's callback "
        "has it.",
        rows,
        at="accepted_ns",
        clock=evidence.pubnub_clock.bound_ns,
        own_clock_ns=evidence.subscribers_bound_ns,
        clock_name="PubNub",
        late=SUBSCRIBERS,
    )


@metric
def timer_answers(evidence: Evidence) -> Samples:
    """Return how far off the answers of the timer call were."""
    return timer_error(evidence)


@metric
def errors(evidence: Evidence) -> Samples:
    """Return which operations did not do what they were asked for."""
    delivery = evidence.rows("delivery")
    subscribed = delivery[(delivery["name"] == Delivery.SUBSCRIBE).to_numpy()]
    ticks = _ticks_that_count(evidence)
    parts = [*(steady_rows(evidence, rows) for rows in (evidence.rows("http"), subscribed)), ticks]
    others = of_others(evidence, ticks)
    failed = [~known_true(rows["ok"]) for rows in parts]
    failed[-1] &= ~others
    samples = outcomes(
        parts,
        failed,
        failed,
        f"Requests of {evidence.run.words.players} and hosts, cron ticks and subscriptions that did not do "
        "what they were asked for: refused, failed, unanswered, answered wrongly, or with an unknown "
        f"outcome. {_SKIPS}",
    )
    samples.notes.extend(_of_others(evidence, others))
    return samples


def _of_others(evidence: Evidence, ticks: NDArray[np.bool_]) -> list[str]:
    count = int(np.count_nonzero(ticks))
    if not count:
        return []
    items = evidence.run.words.items
    return [f"{count} ticks told of errors while {items} of others were overdue: they are not charged to it"]


_SKIPS: Final = (
    "Ticks that skipped are left out; those that went on skipping while something was overdue have failed."
)


def _ticks_that_count(evidence: Evidence) -> pd.DataFrame:
    """The ticks of the steady state that were to do something: not those that left it to another."""
    ticks = steady_rows(evidence, evidence.ticks)
    stuck = skipped(evidence)
    stuck = stuck.loc[stuck["stuck"], ticks.columns].assign(ok=False, value=np.nan)
    stuck["error"] = pd.Categorical([_STUCK] * len(stuck))
    ticks = ticks[(ticks["name"] == Tick.TICK).to_numpy(dtype=bool)]
    return pd.concat([ticks.astype({"error": "object"}), stuck.astype({"error": "object"})]).astype(
        {"error": "category"}
    )


_STUCK: Final = "skipped with no answer to what was due"


@metric
def availability(evidence: Evidence) -> Samples:
    """Return which requests the service answered at all, and with something other than 5xx."""
    http, health = (steady_rows(evidence, evidence.rows(kind)) for kind in ("http", "health"))
    ticks = _ticks_that_count(evidence)
    status = http["value"].to_numpy(dtype="float64")
    answered = [
        # A request that was refused with an answer below 500 found the service at home.
        (known_true(http["ok"]) | _answered(http)) & ~(status >= 500),
        known_true(ticks["ok"]) | _answered(ticks),
        known_true(health["ok"]),
    ]
    return outcomes(
        [http, ticks, health],
        answered,
        [~good for good in answered],
        f"Requests of {evidence.run.words.players} and hosts, cron ticks and health checks that the service "
        f"answered at all, and not with a 5xx status (a health check: with healthy). {_SKIPS}",
    )


def _answered(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which failed with an error that is an answer."""
    reasons = [reason for reason in rows["error"].cat.categories if not re.search(_NO_ANSWER, str(reason))]
    found: NDArray[np.bool_] = rows["error"].isin(reasons).to_numpy()
    return found


#: Errors that say that no answer came, or none that counts.
_NO_ANSWER: Final = rf"(?i){_STUCK}|timeout|timed out|connection|no answer|http 5\d\d|refused|reset"


@metric
def timer_accuracy(evidence: Evidence) -> Samples:
    """Return which expiries were acted on in time and not before."""
    moved, overdue = evidence.transitions, evidence.overdue
    offset = evidence.database_clock.offset_ns
    allowed = int((evidence.tick_s + evidence.policy.tolerances.timer) * NS)
    timed = moved[moved["intended_ns"].notna() & moved["start_ns"].notna()]
    timed = timed[_judged_due(evidence, timed["intended_ns"] - offset, timed["moved_ns"], allowed)]
    late = (timed["start_ns"] - timed["intended_ns"]).to_numpy(dtype="int64")
    kept, off = (late >= 0) & (late <= allowed), blur_ns(timed)
    surely_kept = (late >= off) & (late + off <= allowed)
    surely_missed = (late + off < 0) | (late - off > allowed)
    # An expiry that has not been acted on counts once there was time to.
    overdue = overdue[(overdue["end_ns"] - overdue["intended_ns"] > allowed).fillna(value=False).astype(bool)]
    stuck = overdue[
        _judged_due(evidence, overdue["intended_ns"] - offset, overdue["end_ns"] - offset, allowed)
    ]
    none = np.zeros(len(stuck), dtype=bool)
    clusters = np.concatenate(
        [timed["tick"].to_numpy(dtype="int64"), evidence.tick_of(stuck["intended_ns"] - offset)]
    )
    order = largest(late)
    worst = describe(evidence, timed.iloc[order], late[order] / NS, "intended_ns")
    unmoved = describe(evidence, stuck[:WORST], np.full(min(len(stuck), WORST), np.inf), "intended_ns")
    return Samples(
        values=np.concatenate([kept, none]),
        undecided=np.concatenate([~surely_kept & ~surely_missed, none]),
        resolution_s=coarsest_ns(timed) / NS,
        doubts=never_due(evidence),
        clusters=clusters,
        cluster="ticks",
        definition=f"Expired phases moved no sooner than their expiry and no later than one tick "
        f"({evidence.tick_s:g} s) plus {evidence.policy.tolerances.timer:g} s after it, both times by the "
        "database's clock; a phase found past due and unmoved counts as missed, also one that fell due "
        "before the steady state and outlasted its begin by as much.",
        worst=(unmoved + worst)[:WORST],
    )


def _judged_due(
    evidence: Evidence, due_ns: pd.Series, to_ns: pd.Series, allowed_ns: int
) -> NDArray[np.bool_]:
    """Which expiries are judged: those in steady state, and those from before that it still had to bear."""
    found = evidence.steady(due_ns)
    for window in evidence.windows:
        if window.name == "steady":
            outlasted = (due_ns < window.start_ns) & (to_ns > window.start_ns + allowed_ns)
            start = pd.Series([window.start_ns], dtype="Int64")
            if evidence.steady(start).all():
                found |= outlasted.fillna(value=False).to_numpy(dtype=bool)
    return found


@metric
def event_delivery(evidence: Evidence) -> Samples:
    """Return which pairs of event and connected subscriber were received."""
    definition = (
        "Pairs of an event and a subscriber that was connected when it was committed, which the subscriber "
        "received."
    )
    samples = _received(evidence, evidence.pairs, "ticks", definition)
    samples.doubts.extend(_ambiguous(evidence))
    return samples


@metric
def act_delivery(evidence: Evidence) -> Samples:
    """Return which pairs of a player's act and a connected subscriber were received."""
    definition = (
        "Pairs of an event that a player's call made and a subscriber that was connected at the call, which "
        "the subscriber received."
    )
    return _received(evidence, evidence.act_pairs, "seconds", definition)


def _received(evidence: Evidence, pairs: pd.DataFrame, cluster: str, definition: str) -> Samples:
    chosen = pairs[evidence.steady(pairs["committed_ns"]) & pairs["settled"]]
    received = chosen["received_ns"].notna().to_numpy()
    missed = chosen[~received]
    return Samples(
        values=received,
        clusters=chosen["tick"].to_numpy(dtype="int64"),
        cluster=cluster,
        definition=definition,
        worst=describe(evidence, missed[:WORST], np.full(min(len(missed), WORST), np.inf), "committed_ns"),
        notes=unsettled(evidence, pairs),
    )


@metric
def scenarios_passed(evidence: Evidence) -> Census:
    """Return how many of the failure scenarios passed."""
    outcomes = [scenario.outcome for scenario in evidence.scenarios]
    ran = [outcome for outcome in outcomes if outcome != "skipped"]
    bad = [s for s in evidence.scenarios if s.outcome not in {"passed", "skipped"}]
    doubts = [] if ran else ["no failure scenario was run"]
    return Census(
        good=ran.count("passed"),
        # An error is the scenario's own, or of whatever ran it: nobody can tell what it would have shown.
        undecided=ran.count("inconclusive") + ran.count("error"),
        total=len(ran),
        definition="Failure scenarios that passed, of those that ran. All of them are counted, none is "
        "sampled: the figure is exact and has no interval.",
        worst=[{"what": s.id, "detail": f"{s.outcome}: {s.message or 'no message'}"} for s in bad[:WORST]],
        doubts=doubts,
    )
