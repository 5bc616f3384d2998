"""Judges a run: history and policy in, the document of report.json out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.history import RunFolder, read_history
from harness.history.run import utc_now
from harness.history.witnesses import Witness
from harness.judge import INTEGRITY, METRICS, Census, Evidence, FaultWindow, Finding, Samples, evidence_of
from harness.judge.declared import without
from harness.judge.distributions import distribution
from harness.judge.games import worst_games
from harness.judge.measurement import MEASUREMENT, complete_run
from harness.judge.recovery import Recovery, recovery_of
from harness.judge.stages import stages
from harness.judge.timeline import timeline
from harness.report.calibration_file import in_report, newest
from harness.report.reasons import conclusion, with_cause
from harness.report.scenarios import read_all_scenarios
from harness.report.words import limited
from harness.sla import statistics
from harness.sla.metrics import METRICS as DECLARED
from harness.sla.policy import Objective, Policy
from harness.sla.units import format_quantity
from harness.sla.verdict import (
    INFINITY,
    judge_integrity,
    judge_objective,
    judge_report,
    row_names,
    worst,
)

SCHEMA: Final = "stormwatch.report/1"

#: What of an expectation's finding stands in a report.
_EXPECTATION: Final = tuple(one.name for one in fields(Finding))

#: What of run.json stands in a report.
_RUN: Final = (
    "kind", "started_at", "finished_at", "target", "options", "seed", "profile", "command", "versions",
    "machine", "windows", "interrupted", "missing", "absent",
)  # fmt: skip


def build_report(run: RunFolder, policy: Policy) -> dict[str, Any]:
    """Judge the run in a folder by a policy and return its report.

    Raises
    ------
    RunFolderError, HistoryError
        The folder or its history can't be read, or must not be judged.
    """
    about = run.read()
    scenarios = read_all_scenarios(run)
    # Nobody keeps the history: the checks need its memory.
    evidence = evidence_of(read_history(run.history, of_run=about.get("id")), about, policy, scenarios)
    report = judge(evidence, run.id)
    shown = _Shown(report["notes"])
    report["measurement"]["calibration"] = shown("The calibration", lambda: _calibration(run, about), None)
    return report


def judge(evidence: Evidence, run_id: str) -> dict[str, Any]:
    """Judge evidence that is already in memory and return its report."""
    about, policy = evidence.run, evidence.policy
    measured: dict[str, Samples] = {}
    # Failure scenarios alone: there is no load to judge, and of the run only whether it came to its end.
    loaded = about.get("expects_load", True) or evidence.table.num_rows > 0
    checks = [_guarded_check(check, evidence) for check in (MEASUREMENT if loaded else [complete_run])]
    shaken = [check for check in checks if check["verdict"] != "pass"]
    shown = _Shown([])
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "generated_at": utc_now(),
        "run": {"id": run_id, "expects_load": loaded} | {key: about.get(key) for key in _RUN},
        "policy": {
            "confidence": policy.confidence,
            "tolerances": policy.tolerances.model_dump(),
            "measurement": policy.measurement.model_dump(),
            "recovery": policy.recovery.model_dump(),
        },
        "verdict": "inconclusive",
        "objectives": [
            _objective(name, objective, evidence, shaken, measured)
            for name, objective in policy.objectives.items()
            if _applies(objective, evidence, loaded=loaded)
        ],
        "integrity": [_integrity(name, evidence, shaken) for name in INTEGRITY if loaded],
        "faults": _faults(evidence, shown),
        "scenarios": [_scenario(document) for document in evidence.scenarios],
        "measurement": {"verdict": worst(check["verdict"] for check in checks), "checks": checks},
        "stages": shown("The stages", lambda: stages(evidence), []) if loaded else [],
        "notes": shown.notes,
    }
    for row in report["objectives"]:
        row["reason"] = with_cause(row, checks)
    broken = [
        str(example["game"])
        for row in report["integrity"]
        for example in row["examples"]
        if "game" in example
    ]
    report["timeline"] = shown("The timeline", lambda: timeline(evidence), None) if loaded else None
    drawn = [
        shown(f"The distribution of {metric}", partial(distribution, metric, samples), None)
        for metric, samples in measured.items()
        if DECLARED[metric].kind == "quantile" and len(samples.values)
    ]
    report["distributions"] = [one for one in drawn if one is not None]
    report["games"] = shown("The worst games", lambda: worst_games(evidence, broken), [])
    report["rows"] = row_names(report)
    report["verdict"] = judge_report(report)
    return report


# --- objectives ----------------------------------------------------------------------------------------


def _applies(objective: Objective, evidence: Evidence, *, loaded: bool) -> bool:
    if not objective.applies_to(evidence.run.get("profile")):
        return False
    # A load run alone has no scenarios to pass; the main job has, and says so in run.json.
    if objective.metric != "scenarios_passed":
        return loaded
    return bool(evidence.scenarios) or bool(evidence.run.get("expects_scenarios"))


def _objective(
    name: str,
    objective: Objective,
    evidence: Evidence,
    shaken: list[dict[str, Any]],
    measured: dict[str, Samples],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "title": objective.title,
        "metric": objective.metric,
        "kind": objective.kind,
        "quantile": objective.quantile,
        "verdict": "inconclusive",
        "measured": None,
        "unit": objective.unit,
        "comparison": objective.comparison,
        "threshold": _scaled(objective.threshold, objective),
        "interval": [None, None],
        "confidence": evidence.policy.confidence_of(objective),
        "assumed_icc": objective.assumed_icc if objective.kind == "rate" else None,
        "samples": 0,
        "clusters": 0,
        "effective_samples": 0.0,
        "design_effect": 1.0,
        "samples_needed": None,
        "clock_error": 0.0,
        "lag_error": 0.0,
        "ceiling": None,
        "doubts": [],
        "absent": without(DECLARED[objective.metric].rests_on, evidence.absent),
        "source": objective.source,
        "reason": "",
        "explanation": "",
        "worst": [],
    }
    if row["absent"]:
        return row | {"verdict": judge_objective(row), "reason": conclusion(row)}
    try:
        found = METRICS[objective.metric](evidence)
        if isinstance(found, Census):
            _count(row, found)
        else:
            measured[objective.metric] = found
            _estimate(row, objective, found)
    except Exception as error:
        row["doubts"].append(f"the check crashed: {type(error).__name__}: {error}")
        row["explanation"] = ""
    row["doubts"] += [_doubt(check) for check in shaken if {"*", objective.metric} & set(check["touches"])]
    row["verdict"] = judge_objective(row)
    row["reason"] = conclusion(row, _minutes(evidence, row))
    return row


def _estimate(row: dict[str, Any], objective: Objective, samples: Samples) -> None:
    confidence: float = row["confidence"]
    row["doubts"] += samples.doubts
    row["samples"] = len(samples.values)
    row["worst"] = [_worst(entry) for entry in samples.worst]
    row["explanation"] = " ".join(
        [samples.definition, *(f"{note[0].upper()}{note[1:]}." for note in samples.notes)]
    )
    if len(samples.values) == 0:
        row["doubts"].append("nothing was measured in the steady state")
        return
    if objective.quantile is not None:
        values = samples.values.astype(np.float64)
        estimate = statistics.quantile_estimate(values, objective.quantile, confidence, samples.clusters)
        needed = _needed(values, objective, samples, confidence)
        row["clock_error"] = samples.clock_error_s
        row["lag_error"] = samples.lag_error_s
        if samples.lag_error_s:
            row["explanation"] += (
                f" Lag of the harness may have added up to {format_quantity(samples.lag_error_s, 's')} (the "
                "worst of a second, in 99 % of them), and took none away: a fail must be one without it too."
            )
        if objective.ceiling is not None:
            elapsed = values if samples.elapsed is None else samples.elapsed
            row["ceiling"] = {
                "threshold": objective.ceiling,
                "violations": int(np.count_nonzero(elapsed - samples.lag_error_s > objective.ceiling)),
                "measured": _json_number(float(elapsed.max())) if len(elapsed) else None,
            }
    else:
        hits = samples.values.astype(np.bool_)
        estimate = statistics.rate_estimate(hits, confidence, samples.clusters, objective.assumed_icc)
        needed = statistics.samples_needed(estimate.measured, objective.threshold, confidence)
        if estimate.measured in (0.0, 1.0):
            bearable = statistics.bearable_icc(
                estimate.measured, objective.threshold, samples.clusters, confidence
            )
            if bearable is not None:
                row["explanation"] += (
                    " With not one failure, nothing tells how failures would cluster: an intra-cluster "
                    f"correlation of {objective.assumed_icc:g} is assumed, and the verdict would hold up to "
                    f"{bearable:.2g}."
                )
    row["measured"] = _json_number(_scaled(estimate.measured, objective))
    low = max(estimate.low, 0.0) if math.isinf(estimate.low) and estimate.low < 0 else estimate.low
    row["interval"] = [_json_number(_scaled(end, objective)) for end in (low, estimate.high)]
    row["clusters"] = estimate.clusters
    row["effective_samples"] = round(estimate.effective, 1)
    row["design_effect"] = round(estimate.design_effect, 3)
    if judge_objective(row | {"doubts": []}) == "inconclusive" and needed is not None:
        per_effective = estimate.samples / estimate.effective
        total = math.ceil(needed * per_effective)
        row["samples_needed"] = total if total > estimate.samples else None
    if estimate.clusters < estimate.samples:
        row["explanation"] += (
            f" The {estimate.samples} samples come in {estimate.clusters} {samples.cluster} and are worth "
            f"{estimate.effective:.0f} independent ones."
        )


def _needed(
    values: NDArray[np.float64], objective: Objective, samples: Samples, confidence: float
) -> float | None:
    """Return how many samples like these would decide, clocks and lag granted; None: no number would."""
    assert objective.quantile is not None
    # For a pass those within the threshold less the clocks' error have to be enough; for a fail those within
    # the threshold plus what clocks and lag may have added have to be too few.
    passing = objective.threshold - samples.clock_error_s
    failing = objective.threshold + samples.clock_error_s + samples.lag_error_s
    for limit, decides in ((passing, np.greater), (failing, np.less)):
        within = float(np.count_nonzero(values < limit)) / len(values)
        if decides(within, objective.quantile):
            return statistics.samples_needed(within, objective.quantile, confidence)
    return None


def _minutes(evidence: Evidence, row: Mapping[str, Any]) -> int | None:
    """Return how many minutes of steady state would give the samples that are needed, if any number would."""
    steady = [window.end_ns - window.start_ns for window in evidence.windows if window.name == "steady"]
    if not row["samples_needed"] or not steady:
        return None
    return math.ceil(sum(steady) / 60e9 * float(row["samples_needed"]) / float(row["samples"]))


def _count(row: dict[str, Any], census: Census) -> None:
    row["doubts"] += census.doubts
    row["samples"] = row["clusters"] = census.total
    row["effective_samples"] = float(census.total)
    row["worst"] = [_worst(entry) for entry in census.worst]
    row["explanation"] = census.definition
    if census.total:
        row["measured"] = 100 * census.good / census.total
        # No sampling error: the ends differ only by what is undecided.
        row["interval"] = [row["measured"], 100 * (census.good + census.undecided) / census.total]


def _doubt(check: Mapping[str, Any]) -> str:
    return f"“{check['title']}” does not hold: {limited(check)}. {check['explanation']}"


def _worst(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in entry.items() if key not in {"value", "at_ns"}}
    if "value" in entry:
        found["value"] = _json_number(entry["value"])
    if "at_ns" in entry:
        found["at"] = _moment(entry["at_ns"])
    return found


# --- integrity, faults, scenarios, measurement -----------------------------------------------------------


def _integrity(name: str, evidence: Evidence, shaken: list[dict[str, Any]]) -> dict[str, Any]:
    integrity = INTEGRITY[name]
    row: dict[str, Any] = {
        "name": name,
        "title": integrity.title,
        "verdict": "inconclusive",
        "violations": 0,
        "looked_at": 0,
        "explanation": "",
        "doubts": [],
        "examples": [],
    }
    try:
        found = integrity.look(evidence, {Witness(one) for check in shaken for one in check["witnesses"]})
        row |= {
            "violations": int(found.violations),
            "looked_at": int(found.looked_at),
            "explanation": found.definition,
            "examples": found.examples,
            "doubts": list(found.doubts),
        }
        if found.looked_at == 0:
            row["doubts"].append(f"no {integrity.cases} were recorded")
    except Exception as error:
        row["doubts"].append(f"the check crashed: {type(error).__name__}: {error}")
    row["doubts"] += [_doubt(check) for check in shaken if {"*", name} & set(check["touches"])]
    row["verdict"] = judge_integrity(row)
    return row


def _faults(evidence: Evidence, shown: _Shown) -> list[dict[str, Any]]:
    own = [_fault(evidence, fault) for fault in evidence.faults]
    for scenario in evidence.scenarios:
        own += shown(f"The faults of {scenario['id']}", partial(_faults_of, scenario), [])
    return own


def _faults_of(scenario: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": str(fault.get("name")),
            "place": str(fault.get("place") or ""),
            "scenario": str(scenario["id"]),
            "started_at": fault.get("started_at"),
            "ended_at": fault.get("ended_at"),
            "expectations": [
                {key: expectation.get(key) for key in _EXPECTATION}
                | {"integrity": bool(expectation.get("integrity"))}
                for expectation in fault.get("expectations") or []
            ],
            "detected_after_s": fault.get("detected_after_s"),
            "recovered_after_s": fault.get("recovered_after_s"),
            "error": fault.get("error"),
        }
        for fault in scenario.get("faults") or []
    ]


def _fault(evidence: Evidence, fault: FaultWindow) -> dict[str, Any]:
    try:
        found = recovery_of(evidence, fault)
    except Exception as error:
        why = f"the check crashed: {type(error).__name__}: {error}"
        unknown = Finding("it is recovered from", "inconclusive", None, None, explanation=why)
        found = Recovery([unknown], None, None)
    return {
        "name": fault.name,
        "place": fault.fault.place,
        "scenario": None,
        "started_at": _moment(fault.start_ns),
        "ended_at": None if fault.end_ns is None else _moment(fault.end_ns),
        "expectations": [asdict(finding) for finding in found.findings],
        "detected_after_s": found.detected_after_s,
        "recovered_after_s": found.recovered_after_s,
        "error": fault.error,
    }


def _scenario(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(document["id"]),
        "outcome": str(document.get("outcome") or "error"),
        "seconds": document.get("seconds"),
        "message": document.get("message"),
        "command": document.get("command"),
        "timeline": document.get("timeline"),
    }


def _calibration(run: RunFolder, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The newest calibration beside the run: shown, not judged."""
    found = newest(run.path.parent)
    return None if found is None else in_report(found, about.get("machine"))


def _guarded_check(check: Callable[[Evidence], Any], evidence: Evidence) -> dict[str, Any]:
    try:
        row: dict[str, Any] = check(evidence).row()
    except Exception as error:
        row = {
            "name": check.__name__,
            "title": (check.__doc__ or check.__name__).partition("\n")[0],
            "verdict": "inconclusive",
            "measured": None,
            "unit": "",
            "limit": None,
            "explanation": f"the check crashed: {type(error).__name__}: {error}",
            "witnesses": [Witness.RUN],
            "touches": ["*"],
        }
    row["measured"] = _json_number(row["measured"])
    return row


class _Shown:
    """Makes what is shown but not judged: it may be missing, which is noted, and never costs the verdict."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def __call__(self, what: str, make: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return make()
        except Exception as error:
            self.notes.append(f"{what} can't be shown: {type(error).__name__}: {error}")
            return otherwise


# --- numbers -------------------------------------------------------------------------------------------


def _scaled(value: float, objective: Objective) -> float:
    # 0.999 * 100 is 99.9 only after rounding; twelve digits are far below any sample's resolution.
    return value if objective.unit == "s" else round(value * 100, 12)


def _json_number(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    return INFINITY if math.isinf(value) else float(value)


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
