"""Where the time of a broadcast goes: from a phase's expiry to a player who knows."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.shown import Stage
from harness.judge.evidence import NS, Evidence

#: Name, title, what it spans. In the order in which they happen.
STAGES: Final = (
    ("wait_for_tick", "Expiry → tick", "the phase is over, cron has not looked yet"),
    ("move", "Tick → commit", "the monitor locks, finds and moves the expired {items}"),
    ("outbox", "Commit → first attempt", "the event waits for the relay"),
    ("publish", "First attempt → accepted", "the relay hands it to PubNub, retries included"),
    ("delivery", "Accepted → received", "PubNub hands it to the subscribers"),
)

#: Stages between the commit and the receipt: they share the budget of the broadcasting latency.
BUDGETED: Final = frozenset({"outbox", "publish", "delivery"})


def stages(evidence: Evidence) -> list[Stage]:
    """Return the stages of a broadcast in steady state with their durations in seconds.

    A stage that the record has no witness for has no samples. ``budget_share`` is what its 95th percentile
    uses up of the broadcasting latency that is promised; stages rarely have their worst at once, so that the
    shares may well add up to more than the whole.
    """
    moved = evidence.transitions
    moved = moved[evidence.steady(moved["committed_ns"])]
    starts = evidence.ticks["start_ns"].dropna().to_numpy(dtype="int64")
    timed = moved[moved["intended_ns"].notna() & (moved["tick"] > 0)] if len(starts) else moved[:0]
    tick_ns = starts[timed["tick"].to_numpy(dtype="int64") - 1] if len(timed) else np.array([], dtype="int64")
    due = (timed["intended_ns"] - evidence.database_clock.offset_ns).to_numpy(dtype="int64")

    published = evidence.publishes[["event", "attempted_ns"]].dropna()
    published = published[published["event"] >= 0]
    attempts = pd.Series(
        published["attempted_ns"].to_numpy(dtype="float64"), index=published["event"].to_numpy()
    )
    attempts = attempts[~attempts.index.duplicated()]
    pairs = evidence.pairs
    pairs = pairs[evidence.steady(pairs["committed_ns"]) & pairs["received_ns"].notna()]
    accepted = pairs["accepted_ns"].to_numpy(dtype="float64", na_value=np.nan)
    received = pairs["received_ns"].to_numpy(dtype="float64")
    by_event = pairs[~pairs["event"].duplicated().to_numpy()]
    attempted = attempts.reindex(by_event["event"]).to_numpy()

    durations = {
        "wait_for_tick": np.maximum(tick_ns - due, 0) / NS,
        "move": (timed["committed_ns"].to_numpy(dtype="int64") - np.maximum(tick_ns, due)) / NS,
        "outbox": (attempted - by_event["committed_ns"].to_numpy(dtype="float64")) / NS,
        "publish": (by_event["accepted_ns"].to_numpy(dtype="float64", na_value=np.nan) - attempted) / NS,
        "delivery": (received - accepted) / NS,
    }
    objectives = evidence.policy.objectives.values()
    budget_s = next((one.threshold for one in objectives if one.metric == "broadcast_latency"), None)
    items = evidence.run.words.items
    return [
        _stage(name, title, what.format(items=items), durations[name], budget_s)
        for name, title, what in STAGES
    ]


def _stage(name: str, title: str, what: str, durations: NDArray[np.float64], budget_s: float | None) -> Stage:
    known = np.sort(durations[np.isfinite(durations)])
    stage = Stage(name=name, title=title, what=what, samples=len(known), in_budget=name in BUDGETED)
    if not len(known):
        return stage
    p50, p95, p99 = (float(np.quantile(known, q, method="inverted_cdf")) for q in (0.5, 0.95, 0.99))
    share = p95 / budget_s if budget_s and stage.in_budget else None
    figures = {"mean": float(known.mean()), "p50": p50, "p95": p95, "p99": p99, "budget_share": share}
    return stage.model_copy(update=figures)
