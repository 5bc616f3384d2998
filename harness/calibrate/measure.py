"""What the harness reports of what was injected: evidence to samples, by the checks of the objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from harness.calibrate.plan import LOSSES, Path, Plan, Step
from harness.documents.run import Window
from harness.history import RunFolder, read_history
from harness.judge import METRICS, Evidence, Samples, evidence_of
from harness.judge.integrity import lost_events, out_of_order
from harness.judge.measurement import MEASUREMENT
from harness.judge.violations import Violations
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
    cpu_percent: float = 0.0


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


@dataclass(frozen=True)
class Findings:
    """All that a calibration measured."""

    paths: list[Measured]
    losses: list[Lost]
    #: Why none of it can be trusted, if so.
    doubts: list[str] = field(default_factory=list)
    #: Readings of the machine meanwhile.
    conditions: Mapping[str, float | None] = field(default_factory=dict)


def measure(run: RunFolder, plan: Plan) -> Findings:
    """Return what the record of a calibration by ``plan`` says.

    Raises
    ------
    DocumentError, HistoryError
        The folder or its history can't be read.
    """
    about = run.read()
    steps = TypeAdapter(list[Step]).validate_python(about.steps)
    settle_s = max((step.injected_ms for step in steps), default=0) / 1000 + _SETTLE_S
    policy = load_policy(changes={"tolerances.settle": f"{settle_s:g}s"})
    return findings(evidence_of(read_history(run.history), about, policy), steps, plan.paths)


def findings(evidence: Evidence, steps: Sequence[Step], paths: Sequence[Path]) -> Findings:
    """Return what the evidence of a calibration says of its steps, on each of ``paths``."""
    rows = [check(evidence) for check in MEASUREMENT]
    return Findings(
        paths=[
            _path(evidence, path, [s for s in steps if (s.kind, s.name) == ("delay", path.place)])
            for path in paths
        ],
        losses=[
            Lost(loss.name, frozenset(step.hit), *_reported(evidence, loss.name, step))
            for loss in LOSSES
            for step in steps
            if (step.kind, step.name) == ("loss", loss.action)
        ],
        doubts=[f"{row.title}: {limited(row)}. {row.explanation}" for row in rows if row.verdict != "pass"],
        conditions={
            "machine_cpu_percent": _median_of_worst(evidence, "cpu_percent", "machine"),
            "harness_cpu_percent": _median_of_worst(evidence, "cpu_percent", "load|observer"),
            "loop_lag_ms": _median_of_worst(evidence, "loop_lag_ms", "load|observer"),
        },
    )


def _path(evidence: Evidence, path: Path, steps: Sequence[Step]) -> Measured:
    reported = [_samples(evidence, path, step) for step in steps]
    floors = [samples for samples, step in zip(reported, steps, strict=True) if not step.injected_ms]
    delayed = []
    for number, step in enumerate(steps):
        if step.injected_ms:
            # A baseline stands before and after each delay.
            near = slice(number - 1, number + 2)
            baseline = np.concatenate(reported[near][::2])
            busiest = max(one.cpu_percent for one in steps[near])
            delayed.append(Delayed(step.injected_ms / 1000, reported[number], baseline, busiest))
    return Measured(path, floors, delayed)


def _samples(evidence: Evidence, path: Path, step: Step) -> Seconds:
    """Latencies of one step, as the check of an objective takes them from the steady state."""
    during = _during(evidence, step)
    if path.metric == "http":
        rows = during.rows("http")
        # What players ask for on schedule: the time that is left.
        chosen = during.steady(rows["start_ns"]) & rows["intended_ns"].notna().to_numpy(bool)
        took = (rows["end_ns"] - rows["start_ns"])[chosen]
        return took.to_numpy(dtype="float64", na_value=np.inf) / 1e9
    samples = METRICS[path.metric](during)
    assert isinstance(samples, Samples)
    return samples.values.astype(np.float64)


def _during(evidence: Evidence, step: Step) -> Evidence:
    """The same evidence with this step as its steady state."""
    window = Window(name="steady", start_ns=step.start_ns, end_ns=step.end_ns)
    return evidence.unseen(run=evidence.run.model_copy(update={"windows": (window,)}))


def _reported(evidence: Evidence, name: str, step: Step) -> tuple[frozenset[str], int]:
    """Return which games the harness reports a loss of, and how many cases.

    All but missed deliveries are counted in the whole record: under a delay there must be none of them.
    """
    match name:
        case "lost":
            return _named(lost_events(evidence))
        case "overtaken":
            return _named(out_of_order(evidence))
        case "missed":
            samples = METRICS["event_delivery"](_during(evidence, step))
            assert isinstance(samples, Samples)
            games = frozenset(str(entry["game"]) for entry in samples.worst if "game" in entry)
            return games, int(np.count_nonzero(~samples.values.astype(np.bool_)))
        case _:
            # Deliveries of an event that the same player had before: an SDK may do that, no check forbids it.
            messages = evidence.messages
            messages = messages[messages["event"] >= 0]
            again = messages[messages.duplicated(["event", "actor"]).to_numpy()]
            labels = (evidence.label("game", int(number)) for number in again["game"].unique())
            return frozenset(game for game in labels if game is not None), len(again)


def _named(found: Violations) -> tuple[frozenset[str], int]:
    return frozenset(str(case["game"]) for case in found.examples if "game" in case), found.violations


def _median_of_worst(evidence: Evidence, reading: str, actors: str) -> float | None:
    rows = evidence.readings(reading)
    rows = rows[rows["actor"].astype(str).str.match(actors).to_numpy(dtype=bool)]
    medians = rows.groupby("actor", observed=True)["value"].median().to_numpy(dtype="float64")
    return float(medians.max()) if len(medians) else None
