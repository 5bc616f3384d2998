"""What the harness reports of what was injected: history to samples, by the checks themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.calibrate.plan import LOSSES, PATHS, Path, Plan
from harness.history import RunFolder, read_history
from harness.judge import METRICS, Evidence, Samples, evidence_of
from harness.judge.integrity import Violations, lost_events, out_of_order
from harness.judge.measurement import MEASUREMENT
from harness.report.words import limited
from harness.sla.policy import load_policy

Seconds = NDArray[np.float64]

#: Over the longest delay, how long an event may be under way before it counts as lost.
_SETTLE_S: Final = 0.4


@dataclass(frozen=True)
class Delayed:
    """What one path reported under one delay, and under the baselines before and after it."""

    injected_s: float
    #: In seconds, one a sample; +inf for what never came.
    samples: Seconds
    baseline: Seconds
    #: Of the machine, in the busiest of these steps.
    cpu_percent: float | None = None


@dataclass(frozen=True)
class Measured:
    """All that one path reported."""

    path: Path
    #: The baselines in their order.
    floors: list[Seconds]
    delayed: list[Delayed]


@dataclass(frozen=True)
class Lost:
    """What was done to messages, and what the harness saw of it; both name the games."""

    #: Of :data:`~harness.calibrate.plan.LOSSES`.
    name: str
    injected: frozenset[str]
    reported: frozenset[str]
    #: Cases that were reported, which may be more than one a game.
    cases: int
    #: How many messages the emulator says that it did this to.
    applied: int
    events: int


@dataclass(frozen=True)
class Findings:
    """All that a calibration measured."""

    paths: list[Measured]
    losses: list[Lost]
    #: Why none of it can be trusted, if so.
    doubts: list[str] = field(default_factory=list)
    #: Readings of the machine meanwhile.
    conditions: Mapping[str, float | None] = field(default_factory=dict)


def measure(run: RunFolder) -> Findings:
    """Return what the record of a calibration says.

    Raises
    ------
    DocumentError, HistoryError
        The folder or its history can't be read.
    """
    about = run.read()
    plan = Plan.from_document(about["options"])
    settle_s = max(plan.injected_ms) / 1000 + _SETTLE_S
    policy = load_policy(changes={"tolerances.settle": f"{settle_s:g}s"})
    return findings(evidence_of(read_history(run.history), about, policy))


def findings(evidence: Evidence) -> Findings:
    """Return what the evidence of a calibration says; ``run.json`` has its steps."""
    steps = evidence.run.get("steps") or []
    delays = [step for step in steps if step["kind"] == "delay"]
    return Findings(
        paths=[_path(evidence, path, [s for s in delays if s["name"] == path.place]) for path in PATHS],
        losses=[
            _lost(evidence, loss.name, step)
            for loss in LOSSES
            for step in steps
            if step["kind"] == "loss" and step["name"] == loss.action
        ],
        doubts=_doubts(evidence),
        conditions=_conditions(evidence),
    )


def _path(evidence: Evidence, path: Path, steps: list[dict[str, Any]]) -> Measured:
    reported = [_samples(evidence, path, step) for step in steps]
    floors = [samples for samples, step in zip(reported, steps, strict=True) if step["injected_ms"] == 0]
    delayed = []
    for number, step in enumerate(steps):
        if step["injected_ms"] == 0:
            continue
        beside = range(max(number - 1, 0), min(number + 2, len(steps)))
        baseline = [reported[near] for near in beside if steps[near]["injected_ms"] == 0]
        busiest = max((steps[near].get("cpu_percent") or 0.0 for near in beside), default=0.0)
        delayed.append(Delayed(step["injected_ms"] / 1000, reported[number], _joined(baseline), busiest))
    return Measured(path, floors, delayed)


def _joined(parts: list[Seconds]) -> Seconds:
    return np.concatenate([np.array([], dtype=np.float64), *parts])


def _samples(evidence: Evidence, path: Path, step: Mapping[str, Any]) -> Seconds:
    """Latencies of one step, as the check of an objective would take them were it the steady state."""
    during = _during(evidence, step)
    if path.metric == "http":
        rows = during.rows("http")
        origin = rows["intended_ns"].fillna(rows["start_ns"])
        chosen = during.steady(origin) & rows["name"].str.endswith("/get-game-timer").to_numpy(dtype=bool)
        took = (rows["end_ns"] - origin)[chosen].to_numpy(dtype="float64", na_value=np.inf)
        return took / 1e9
    samples = METRICS[path.metric](during)
    assert isinstance(samples, Samples)
    return samples.values.astype(np.float64)


def _during(evidence: Evidence, step: Mapping[str, Any]) -> Evidence:
    """The same evidence with this step as its steady state."""
    window = {"name": "steady", "start_ns": step["start_ns"], "end_ns": step["end_ns"]}
    return evidence.unseen(run={**evidence.run, "windows": [window]})


# --- losses ------------------------------------------------------------------------------------------------


def _lost(evidence: Evidence, name: str, step: Mapping[str, Any]) -> Lost:
    games, cases = _SEEN[name](evidence, step)
    return Lost(
        name,
        injected=frozenset(step["hit"]),
        reported=frozenset(games),
        cases=cases,
        applied=int(step["applied"]),
        events=len(step["games"]),
    )


def _named(finding: Violations) -> tuple[set[str], int]:
    return {example["game"] for example in finding.examples if "game" in example}, finding.violations


def _missed(evidence: Evidence, step: Mapping[str, Any]) -> tuple[set[str], int]:
    samples = METRICS["event_delivery"](_during(evidence, step))
    assert isinstance(samples, Samples)
    games = {entry["game"] for entry in samples.worst if "game" in entry}
    return games, int(np.count_nonzero(~samples.values.astype(np.bool_)))


def _repeated(evidence: Evidence) -> tuple[set[str], int]:
    """Deliveries of an event that the same player had before: an SDK may do that, so no check forbids it."""
    messages = evidence.messages
    messages = messages[messages["event"] >= 0]
    again = messages[messages.duplicated(["event", "actor"]).to_numpy()]
    games = {evidence.label("game", int(number)) for number in again["game"].unique()}
    return {game for game in games if game is not None}, len(again)


#: All but the missed deliveries are counted in the whole record: under a delay there must be none of them.
_SEEN: Final[Mapping[str, Callable[[Evidence, Mapping[str, Any]], tuple[set[str], int]]]] = {
    "lost": lambda evidence, _: _named(lost_events(evidence)),
    "missed": _missed,
    "repeated": lambda evidence, _: _repeated(evidence),
    "overtaken": lambda evidence, _: _named(out_of_order(evidence)),
}


# --- whether it can be trusted -------------------------------------------------------------------------


def _doubts(evidence: Evidence) -> list[str]:
    rows = [check(evidence).row() for check in MEASUREMENT]
    return [f"{row.title}: {limited(row)}. {row.explanation}" for row in rows if row.verdict != "pass"]


def _conditions(evidence: Evidence) -> dict[str, float | None]:
    """How busy the machine was, how busy and how late the harness itself: medians, of its worst process."""
    rows = evidence.readings("cpu_percent")
    machine = rows["value"].to_numpy(dtype="float64")[(rows["actor"] == "machine").to_numpy()]
    return {
        "machine_cpu_percent": float(np.median(machine)) if len(machine) else None,
        "harness_cpu_percent": _of_harness(evidence, "cpu_percent"),
        "loop_lag_ms": _of_harness(evidence, "loop_lag_ms"),
    }


def _of_harness(evidence: Evidence, name: str) -> float | None:
    rows = evidence.readings(name)
    rows = rows[rows["actor"].astype(str).str.match(r"load|observer").to_numpy(dtype=bool)]
    medians = rows.groupby("actor", observed=True)["value"].median().to_numpy(dtype="float64")
    return float(medians.max()) if len(medians) else None
