"""One run of `stormwatch run` on a system that may have a defect, and what its report says."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Final

from harness.documents.report import Report
from harness.documents.shown import Healthy, Tried
from harness.experiment.child import Child
from harness.files import DocumentError
from harness.report.gate import EXIT_CODES, read_report
from harness.system.find import SETTING as SYSTEM
from harness.validate.catalogue import SETTING, Catalogue, Defect, Load, Scenario

#: No run takes longer, not even that of the healthy system through all scenarios.
_LIMIT_S: Final = 1800.0
_POLL_S: Final = 0.25
#: Of what a report says, so much is told.
_LONGEST: Final = 300


class TrialError(Exception):
    """A run could not be made; the message says why."""


def try_defect(defect: Defect, catalogue: Catalogue, folder: Path, stop: Event) -> Tried:
    """Run the harness on a system with a defect, and return what it said.

    Parameters
    ----------
    folder : takes the run's folder and its output.
    stop : once it is set, the run is ended.
    """
    found = left_out(defect)
    if defect.run is None:
        return found
    begun = time.monotonic()
    try:
        asked = {SYSTEM: catalogue.system, SETTING: defect.name}
        report = _run(defect.run, folder / defect.name, asked, stop)
    except TrialError as error:
        outcome = {"error": str(error)}
    else:
        caught = failed(report)
        outcome = {"told": open_rows(report), "error": "" if caught else _in_doubt(report, defect)}
        found = found.model_copy(update={"caught": tuple(caught)})
    return found.model_copy(update=outcome | {"seconds": round(time.monotonic() - begun, 1)})


def left_out(defect: Defect) -> Tried:
    """Return a defect that was not tried."""
    return Tried(
        name=defect.name,
        title=defect.title,
        family=defect.family,
        run=str(defect.run or ""),
        expected=defect.caught_as,
        unseen=defect.unseen,
    )


def healthy_runs(defects: Iterable[Defect]) -> list[Load | Scenario]:
    """Return the runs that show these defects, each once, all scenarios without options in one."""
    runs = list(dict.fromkeys(one.run for one in defects if one.run is not None))
    plain = [run for run in runs if isinstance(run, Scenario) and not run.options]
    together = [Scenario(" or ".join(run.name for run in plain))] if plain else []
    return [run for run in runs if run not in plain] + together


def try_healthy(run: Load | Scenario, folder: Path, stop: Event) -> Healthy:
    """Run the harness on the system as it is, and return what it said; see :func:`try_defect`."""
    begun = time.monotonic()
    try:
        report = _run(run, folder, {SETTING: ""}, stop)
    except TrialError as error:
        return Healthy(run=str(run), error=str(error), seconds=round(time.monotonic() - begun, 1))
    return Healthy(run=str(run), alarms=tuple(failed(report)), seconds=round(time.monotonic() - begun, 1))


def failed(report: Report) -> list[str]:
    """Return the rows that say that something is wrong with the service.

    A scenario stands for itself only where none of its expectations failed.
    """
    rows = [f"objective {row.name}" for row in report.objectives if _fails(row.verdict, row.metric)]
    rows += [f"integrity {row.name}" for row in report.integrity if row.verdict == "fail"]
    rows += [f"drift {row.name}" for row in report.drift if row.verdict == "fail"]
    told = {
        fault.scenario: None
        for fault in report.faults
        if any(row.verdict == "fail" for row in fault.expectations)
    }
    rows += [
        f"expectation {row.name}"
        for fault in report.faults
        for row in fault.expectations
        if row.verdict == "fail"
    ]
    rows += [
        f"scenario {row.id}"
        for row in report.scenarios
        if row.outcome in {"failed", "error"} and row.id not in told
    ]
    return list(dict.fromkeys(rows))


def open_rows(report: Report) -> str:
    """Return what the report could not tell, and why: doubts about the measurement, scenarios left open."""
    told = [f"{row.title}: {row.explanation}" for row in report.measurement.checks if row.verdict != "pass"]
    told += [
        f"{row.id}: {row.message}" for row in report.scenarios if row.outcome in {"inconclusive", "skipped"}
    ]
    return _short("; ".join(told))


def _fails(verdict: str, metric: str) -> bool:
    # The share of scenarios that passed says no more than the scenarios.
    return verdict == "fail" and metric != "scenarios_passed"


def _matches(row: str, defect: Defect) -> bool:
    return any(fnmatchcase(row, pattern) for pattern in defect.caught_as)


def _in_doubt(report: Report, defect: Defect) -> str:
    """Return why a row that was to fail was not judged, if there is one: in doubt, or not exercised."""
    doubts = {f"objective {row.name}": row.doubts for row in report.objectives}
    doubts |= {f"integrity {row.name}": row.doubts for row in report.integrity}
    doubts |= {f"drift {row.name}": row.doubts for row in report.drift}
    doubts |= {
        f"expectation {row.name}": (row.explanation,)
        for fault in report.faults
        for row in fault.expectations
        if row.verdict == "inconclusive"
    }
    told = [f"{row}: {'; '.join(why)}" for row, why in doubts.items() if why and _matches(row, defect)]
    return _short("; ".join(told))


def _run(run: Load | Scenario, folder: Path, environment: dict[str, str], stop: Event) -> Report:
    """Return the report of a run.

    Raises
    ------
    TrialError
        It made none, or none that can be read.
    """
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "run",
        "--local",
        "--reports",
        str(folder),
        *run.arguments(),
    ]
    environment = environment | run.environment
    with Child("stormwatch run", command, folder.with_suffix(".log"), environment) as child:
        deadline = time.monotonic() + _LIMIT_S
        while not child.wait(_POLL_S):
            if stop.is_set():
                raise TrialError("given up")
            if time.monotonic() > deadline:
                raise TrialError(f"its run took longer than {_LIMIT_S:g} s; see {child.log_path}")
        if child.exit_code not in EXIT_CODES.values():
            raise TrialError(f"its run ended with {child.exit_code}: {_short(child.last_words(3))}")
    try:
        return read_report(folder / "latest")
    except DocumentError as error:
        raise TrialError(str(error)) from error


def _short(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
