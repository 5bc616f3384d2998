"""Judges a run: history and policy in, the report out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from harness.documents.calibration import newest_calibration
from harness.documents.report import Measurement, PolicyShown, Report, RunShown
from harness.documents.rows import Fault, ObjectiveRow, ScenarioRow
from harness.documents.scenario import Scenario
from harness.documents.shown import CalibrationShown, Distribution
from harness.history import RunFolder, read_history
from harness.history.run import utc_now
from harness.judge import INTEGRITY, Evidence, Samples, evidence_of
from harness.judge.distributions import distribution
from harness.judge.games import worst_games
from harness.judge.measurement import MEASUREMENT, complete_run
from harness.judge.rows import check_row, fault_row, integrity_row, objective_row
from harness.judge.stages import stages
from harness.judge.timeline import timeline
from harness.report.reasons import with_reason
from harness.report.scenarios import read_all_scenarios
from harness.sla.metrics import METRICS
from harness.sla.policy import Objective, Policy

T = TypeVar("T")

#: What of run.json stands in a report.
_RUN: Final = frozenset(RunShown.model_fields) - {"id", "expects_load"}


def build_report(run: RunFolder, policy: Policy) -> Report:
    """Judge the run in a folder by a policy and return its report.

    Raises
    ------
    DocumentError, HistoryError
        The folder or its history can't be read, or must not be judged.
    """
    about = run.read()
    scenarios = read_all_scenarios(run)
    # Nobody keeps the history: the checks need its memory.
    evidence = evidence_of(read_history(run.history, of_run=about.get("id")), about, policy, scenarios)
    report = judge(evidence, run.id)
    shown = _Shown(report.notes)
    found = shown("The calibration", lambda: _calibration(run, report.run), None)
    measurement = report.measurement.model_copy(update={"calibration": found})
    return report.model_copy(update={"measurement": measurement, "notes": tuple(shown.notes)})


def judge(evidence: Evidence, run_id: str) -> Report:
    """Judge evidence that is already in memory and return its report."""
    about, policy, shown = evidence.run, evidence.policy, _Shown()
    # Failure scenarios alone: there is no load to judge, and of the run only whether it came to its end.
    loaded = bool(about.get("expects_load", True)) or evidence.table.num_rows > 0
    checks = [check_row(check, evidence) for check in (MEASUREMENT if loaded else [complete_run])]
    judged = [
        objective_row(name, objective, evidence, checks)
        for name, objective in policy.objectives.items()
        if applies(objective, evidence, loaded=loaded)
    ]
    integrity = tuple(integrity_row(name, evidence, checks) for name in INTEGRITY if loaded)
    broken = [str(example["game"]) for row in integrity for example in row.examples if "game" in example]
    return Report(
        generated_at=utc_now(),
        run=RunShown.model_validate(
            {"id": run_id, "expects_load": loaded} | {key: about.get(key) for key in _RUN}
        ),
        policy=_policy(policy),
        objectives=tuple(with_reason(row, checks, evidence) for row, _ in judged),
        integrity=integrity,
        faults=tuple(_faults(evidence)),
        scenarios=tuple(map(_scenario, evidence.scenarios)),
        measurement=Measurement(checks=tuple(checks)),
        stages=tuple(shown("The stages", lambda: stages(evidence), [])) if loaded else (),
        timeline=shown("The timeline", lambda: timeline(evidence), None) if loaded else None,
        distributions=tuple(
            one for row, samples in judged if samples and (one := _distribution(row, samples, shown))
        ),
        games=tuple(shown("The worst games", lambda: worst_games(evidence, broken), [])),
        notes=tuple(shown.notes),
    )


def applies(objective: Objective, evidence: Evidence, *, loaded: bool) -> bool:
    """Return whether an objective is one of this run: of its profile, and of what was run."""
    if not objective.applies_to(evidence.run.get("profile")):
        return False
    # A load run alone has no scenarios to pass; the main job has, and says so in run.json.
    if objective.metric != "scenarios_passed":
        return loaded
    return bool(evidence.scenarios) or bool(evidence.run.get("expects_scenarios"))


def _policy(policy: Policy) -> PolicyShown:
    return PolicyShown(
        confidence=policy.confidence,
        tolerances=policy.tolerances.model_dump(),
        measurement=policy.measurement.model_dump(),
        recovery=policy.recovery.model_dump(),
    )


def _faults(evidence: Evidence) -> list[Fault]:
    return [fault_row(fault, evidence) for fault in evidence.faults] + [
        Fault(**dict(fault), scenario=scenario.id)
        for scenario in evidence.scenarios
        for fault in scenario.faults
    ]


def _scenario(scenario: Scenario) -> ScenarioRow:
    return ScenarioRow(**{name: getattr(scenario, name) for name in ScenarioRow.model_fields})


def _distribution(row: ObjectiveRow, samples: Samples, shown: _Shown) -> Distribution | None:
    if METRICS[row.metric].kind != "quantile" or not len(samples.values):
        return None
    return shown(f"The distribution of {row.metric}", partial(distribution, row.metric, samples), None)


def _calibration(run: RunFolder, shown_on: RunShown) -> CalibrationShown | None:
    """Return the newest calibration beside the run: shown, not judged."""
    found = newest_calibration(run.path.parent)
    return None if found is None else found.shown_on(shown_on.machine)


class _Shown:
    """Makes what is shown but not judged: it may be missing, which is noted, and never costs the verdict."""

    def __init__(self, notes: Iterable[str] = ()) -> None:
        self.notes = list(notes)

    def __call__(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except Exception as error:
            self.notes.append(f"{what} can't be shown: {type(error).__name__}: {error}")
            return otherwise
