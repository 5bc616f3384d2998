"""Judges a run: history and policy in, the report out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from harness.documents.calibration import newest_calibration
from harness.documents.report import Measurement, PolicyShown, Report, RunShown
from harness.documents.rows import Fault, ScenarioRow
from harness.documents.scenario import Scenario
from harness.documents.shown import CalibrationShown, Distribution, ValidationShown
from harness.documents.validation import newest_validation
from harness.files import DocumentError
from harness.history import RunFolder, read_history
from harness.history.run import utc_now
from harness.judge import Evidence, Samples, evidence_of, judge
from harness.judge.distributions import distribution
from harness.judge.games import worst_games
from harness.judge.recovery import recovery_of
from harness.judge.sight import sight
from harness.judge.stages import stages
from harness.judge.timeline import timeline
from harness.report.gate import judge_again, read_report
from harness.report.reasons import with_reason
from harness.report.scenarios import read_all_scenarios
from harness.report.whole import parts_of, whole
from harness.sla.metrics import METRICS
from harness.sla.policy import Policy

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
    evidence = evidence_of(read_history(run.history, of_run=about.id), about, policy, scenarios)
    parts, without_report = parts_of(run)
    if parts:
        return whole([_part(part, policy) for part in parts], evidence, without_report)
    report = report_on(evidence, run.id)
    shown = _Shown(report.notes)
    proven = {
        "calibration": shown("The calibration", lambda: _calibration(run, report.run), None),
        "validation": shown("The validation", lambda: _validation(run), None),
    }
    measurement = report.measurement.model_copy(update=proven)
    return report.model_copy(update={"measurement": measurement, "notes": tuple(shown.notes)})


def _part(part: RunFolder, policy: Policy) -> Report:
    """Return the report of a part of a run, judged by a policy: from its own, else from its history."""
    report = read_report(part.path)
    try:
        return judge_again(report, policy)
    except DocumentError as error:
        if not part.history.is_dir():
            way_out = "the history of this part is not kept; judge by the policy that the run was played by"
            raise DocumentError(error.reason, part.path, way_out) from error
    about = part.read()
    return report_on(evidence_of(read_history(part.history, of_run=about.id), about, policy), part.id)


def report_on(evidence: Evidence, run_id: str) -> Report:
    """Judge evidence that is already in memory and return its report."""
    about, shown, found = evidence.run, _Shown(), judge(evidence)
    broken = [
        str(example["game"]) for row in found.integrity for example in row.examples if "game" in example
    ]
    return Report(
        generated_at=utc_now(),
        run=RunShown.model_validate(
            about.model_dump(include=set(_RUN)) | {"id": run_id, "expects_load": found.loaded}
        ),
        policy=_policy(evidence.policy),
        objectives=tuple(with_reason(row, found.checks, evidence) for row in found.objectives),
        integrity=found.integrity,
        drift=found.drift,
        faults=tuple(_faults(evidence)),
        scenarios=tuple(map(_scenario, evidence.scenarios)),
        measurement=Measurement(checks=found.checks),
        stages=tuple(shown("The stages", lambda: stages(evidence), [])) if found.loaded else (),
        timeline=shown("The timeline", lambda: timeline(evidence), None) if found.loaded else None,
        distributions=tuple(
            drawn
            for metric, samples in found.samples.items()
            if (drawn := _distribution(metric, samples, shown)) is not None
        ),
        games=tuple(shown("The worst games", lambda: worst_games(evidence, broken), [])),
        sight=tuple(shown("What can be seen", lambda: sight(evidence), [])),
        notes=tuple(shown.notes),
    )


def _policy(policy: Policy) -> PolicyShown:
    return PolicyShown(
        confidence=policy.confidence,
        tolerances=policy.tolerances.model_dump(),
        measurement=policy.measurement.model_dump(),
        recovery=policy.recovery.model_dump(),
    )


def _faults(evidence: Evidence) -> list[Fault]:
    return [recovery_of(evidence, fault) for fault in evidence.faults] + [
        Fault(**dict(fault), scenario=scenario.id)
        for scenario in evidence.scenarios
        for fault in scenario.faults
    ]


def _scenario(scenario: Scenario) -> ScenarioRow:
    return ScenarioRow(**{name: getattr(scenario, name) for name in ScenarioRow.model_fields})


def _distribution(metric: str, samples: Samples, shown: _Shown) -> Distribution | None:
    if METRICS[metric].kind != "quantile" or not len(samples.values):
        return None
    return shown(f"The distribution of {metric}", partial(distribution, metric, samples), None)


def _calibration(run: RunFolder, shown_on: RunShown) -> CalibrationShown | None:
    """Return the newest calibration beside the run: shown, not judged."""
    found = newest_calibration(run.path.parent)
    return None if found is None else found.shown_on(shown_on.machine)


def _validation(run: RunFolder) -> ValidationShown | None:
    """Return the newest validation beside the run: shown, not judged."""
    found = newest_validation(run.path.parent)
    return None if found is None else found.shown()


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
