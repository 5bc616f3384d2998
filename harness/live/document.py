"""What is known of a run while it goes on: pure functions from the history so far to ``live.json``.

The figures come from the report's own checks, statistics and verdicts; what differs is what they are
given. Writers flush once a second, each at its own moment, and the database is asked once a second: the
last seconds of a growing record are patchy, an event received there may not have been made yet. So the
run is judged as of a few seconds ago, as if it had ended then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from harness.documents.base import Model
from harness.documents.live import (
    Figures,
    InWords,
    Live,
    LiveDoubt,
    LiveFault,
    LiveIntegrity,
    LiveObjective,
    LiveScenarios,
    LiveWindow,
    UnderWay,
)
from harness.documents.rows import ObjectiveRow
from harness.documents.run import Run
from harness.documents.scenario import Scenario
from harness.documents.verdict import worst
from harness.history import History
from harness.history.run import moment
from harness.judge import FaultWindow, evidence_of, judge
from harness.judge.evidence import NS
from harness.judge.table import encoded, frame_of
from harness.judge.windows import faults_of
from harness.live.kpis import kpis
from harness.load_options import LoadOptions
from harness.report import words
from harness.report.reasons import with_reason
from harness.sla.policy import Policy

M = TypeVar("M", bound=Model)

#: How long ago the run is judged: two flushes and a look at the database.
SETTLED_S: Final = 3.0

#: How many places of an objective are kept, at most; of more, each second one.
TRAIL: Final = 80

#: Why nothing of the load was measured, for a start.
NOT_YET: Final = "Measured once the steady window has begun."
#: Checks of the measurement that can't hold before that.
_OF_STEADY: Final = frozenset({"steady_state", "tick_lateness"})


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run has left behind up to a moment.

    Parameters
    ----------
    run_id : the run.
    at_ns : the moment, Unix ns.
    about : what ``run.json`` says.
    history : the rows so far.
    scenarios : the ``scenario.json`` documents so far; one without ``seconds`` is under way.
    planned : how many scenarios there will be; None: not known.
    broken : name of a record under way into which scenarios write their faults -> those rows. One that is
        called like a scenario under way is that scenario's.
    ended : whether nothing more will come.
    """

    run_id: str
    at_ns: int
    about: Run
    history: History
    scenarios: Sequence[Scenario] = ()
    planned: int | None = None
    broken: Mapping[str, History] = field(default_factory=dict)
    ended: bool = False

    @property
    def judged_to_ns(self) -> int:
        """Up to when the record is whole enough to be judged; Unix ns."""
        whole = self.ended or self.about.finished_at
        return self.at_ns if whole else self.at_ns - int(SETTLED_S * NS)

    @property
    def under_way(self) -> list[Scenario]:
        """The scenarios that were begun and have not ended."""
        return [one for one in self.scenarios if one.seconds is None and not self.ended]


def live_document(
    snapshot: Snapshot,
    figures: Figures | None,
    *,
    every_s: float | None = None,
    problem: str | None = None,
) -> Live:
    """Return ``live.json``: what goes on at the moment, and the figures of the last time it was judged.

    Costs a few milliseconds.

    Parameters
    ----------
    snapshot : the run.
    figures : what :func:`judge_so_far` found, maybe of an earlier snapshot; None: it was not judged yet.
    every_s : how often it is judged at the moment.
    problem : why it can't be judged.
    """
    done = [one for one in snapshot.scenarios if one.seconds is not None]
    faults = _faults(snapshot)
    over = [fault for fault in faults if fault.ended_s is not None]
    return Live(
        run=snapshot.run_id,
        updated_at=moment(snapshot.at_ns),
        begun=bool(snapshot.about.windows),
        ended=snapshot.ended,
        window=None if snapshot.ended else _window(snapshot),
        faults=() if snapshot.ended else tuple(fault for fault in faults if fault.ended_s is None),
        newest=min(over, key=lambda fault: fault.ended_s or 0.0, default=None),
        scenarios=LiveScenarios(
            under_way=tuple(UnderWay(id=one.id, title=one.title or one.id) for one in snapshot.under_way),
            passed=sum(one.outcome == "passed" for one in done),
            done=len(done),
            planned=snapshot.planned,
        ),
        every_s=every_s,
        problem=problem,
        figures=figures,
        items=snapshot.about.words.items,
        command=snapshot.about.command,
    )


def judge_so_far(snapshot: Snapshot, policy: Policy) -> Figures:
    """Judge a run as if it had ended at :attr:`Snapshot.judged_to_ns`."""
    to_ns, whole = snapshot.judged_to_ns, snapshot.ended or snapshot.about.finished_at
    history = snapshot.history
    if not whole:  # files that are being written are not cut off
        history = replace(history, files=[replace(file, cut_off=None) for file in history.files])
    scenarios = [one for one in snapshot.scenarios if one.seconds is not None or snapshot.ended]
    found = judge(evidence_of(history, snapshot.about, policy, scenarios), as_of=to_ns)
    doubts = [check for check in found.checks if check.verdict != "pass"]
    objectives = [with_reason(row, found.checks, found.evidence) for row in found.objectives]
    if not any(window.name == "steady" for window in found.evidence.windows):
        # True in a report, where it is a defect of the run; here it is what comes first.
        doubts = [check for check in doubts if check.name not in _OF_STEADY]
        objectives = [
            row
            if row.metric == "scenarios_passed" or row.absent
            else row.model_copy(update={"reason": NOT_YET})
            for row in objectives
        ]
    # Whether a fault is recovered from, only the end of its time shows.
    verdict = worst([row.verdict for rows in (objectives, found.integrity, found.checks) for row in rows])
    return Figures(
        judged_at=moment(to_ns),
        verdict=verdict,
        objectives=tuple(_of_row(LiveObjective, row, shown=_in_words(row)) for row in objectives),
        integrity=tuple(_of_row(LiveIntegrity, row) for row in found.integrity),
        doubts=tuple(_of_row(LiveDoubt, check) for check in doubts),
        kpis=kpis(found.evidence),
    )


def with_trails(figures: Figures, before: Figures | None) -> Figures:
    """Return ``figures`` with the places of each objective so far; ``before`` has those until now."""
    at_s = round(datetime.fromisoformat(figures.judged_at).timestamp(), 1)
    trails = {row.name: row.shown.trail for row in before.objectives} if before else {}
    objectives = []
    for row in figures.objectives:
        trail = trails.get(row.name, ())
        if row.shown.place is not None:
            trail = (*trail, (at_s, *row.shown.place))
        if len(trail) > TRAIL:
            trail = trail[::2]
        shown = row.shown.model_copy(update={"trail": trail})
        objectives.append(row.model_copy(update={"shown": shown}))
    return figures.model_copy(update={"objectives": tuple(objectives)})


def _of_row(model: type[M], row: Model, **more: Model) -> M:
    """Return what of a report's row is shown."""
    kept = {name: getattr(row, name) for name in model.model_fields.keys() - more}
    return model.model_validate(kept | more)


def _in_words(row: ObjectiveRow) -> InWords:
    return InWords(
        target=words.target(row),
        measured=words.measured(row),
        interval=words.interval(row),
        samples=words.count(row.samples),
        needed=words.count(row.samples_needed) if row.samples_needed else None,
        place=_place(row),
    )


def _place(row: ObjectiveRow) -> tuple[float, float] | None:
    """Where the interval lies on a scale from 0 (far better than promised) to 1, the threshold at 0.5.

    Logarithmic, two decades to each side: of a latency, or of the share of what went wrong.
    """
    low, high = row.interval
    promised = row.threshold
    if low is None or high is None:
        return None
    if row.comparison == ">":
        low, high, promised = 100 - high, 100 - low, 100 - promised
    if promised <= 0:
        return None
    return round(_on_scale(low / promised), 4), round(_on_scale(high / promised), 4)


def _on_scale(ratio: float) -> float:
    if ratio <= 0:
        return 0.0
    return 1.0 if math.isinf(ratio) else min(max(0.5 + math.log10(ratio) / 4, 0.0), 1.0)


def _window(snapshot: Snapshot) -> LiveWindow | None:
    """The window that is open, how long it has been and how long it will last (None: nobody knows)."""
    windows = snapshot.about.windows
    if not windows or windows[-1].end_ns is not None:
        return None
    name, start_ns = windows[-1].name, windows[-1].start_ns
    elapsed_s = max(0.0, (snapshot.at_ns - start_ns) / NS)
    lasts_s = _length_s(name, (start_ns - windows[0].start_ns) / NS, snapshot.about)
    return LiveWindow(
        name=name,
        since=moment(start_ns),
        elapsed_s=round(elapsed_s, 1),
        lasts_s=lasts_s,
        left_s=None if lasts_s is None else round(max(0.0, lasts_s - elapsed_s), 1),
    )


def _length_s(name: str, after_s: float, about: Run) -> float | None:
    """How long a window lasts that began ``after_s`` after the first: at most, for the drain."""
    try:
        options = LoadOptions(**cast("dict[str, Any]", about.options or {}))
    except TypeError:  # of another version, or there are none yet
        return None
    if name == "warm-up":
        return round(options.warm_up_s, 1)
    if name == "drain":
        return options.drain_s
    if options.run_time_s is not None:
        return round(max(0.0, options.run_time_s - after_s), 1)
    return options.duration_s


def _faults(snapshot: Snapshot) -> list[LiveFault]:
    """The faults so far: the load's own, and those of the scenarios under way."""
    running = {one.id for one in snapshot.under_way}
    only = next(iter(running)) if len(running) == 1 else None
    places: list[tuple[str | None, History]] = [(None, snapshot.history)]
    # Scenarios may take turns in one record, which has the first one's name.
    places += [(id if id in running else only, broken) for id, broken in sorted(snapshot.broken.items())]
    return [
        LiveFault(
            name=fault.name,
            scenario=scenario,
            since=moment(fault.start_ns),
            for_s=round(max(0.0, ((fault.end_ns or snapshot.at_ns) - fault.start_ns) / NS), 1),
            ended_s=fault.end_ns and round(max(0.0, (snapshot.at_ns - fault.end_ns) / NS), 1),
        )
        for scenario, history in places
        for fault in _faults_in(history)
    ]


def _faults_in(history: History) -> list[FaultWindow]:
    """The declared faults of a history, by their begin."""
    chosen = history.table.filter(pc.equal(history.table["kind"].cast(pa.string()), "fault"))
    if not chosen.num_rows:
        return []
    file = replace(history.files[0], rows=chosen.num_rows)
    table, labels, _ = encoded(History(chosen, [file]))
    return faults_of(frame_of(table, "fault"), labels["event"])
