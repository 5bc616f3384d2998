"""What scenarios came to, as ``scenario.json`` in a folder each: also where they crashed or never ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from harness.documents.rows import Finding, Outcome
from harness.documents.scenario import Planned, Scenario
from harness.faults import FaultError
from harness.files import DocumentError, make_folder, read_json, write_atomically
from harness.history import RunFolder
from harness.process import ProcessError
from harness.report.scenarios import read_plan


class Inconclusive(Exception):
    """The experiment says nothing about the service: it was ill before, or the harness itself failed."""


class ExpectationsFailed(AssertionError):
    """Some expectations did not hold; the message names them, and the games, events and times.

    Parameters
    ----------
    names : of the expectations that failed.
    """

    def __init__(self, message: str, names: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.names = frozenset(names)


def outcome_of(error: BaseException | None) -> tuple[Outcome, str]:
    """Return what a scenario came to that ended by ``error``, and why."""
    if error is None:
        return "passed", ""
    outcome: Outcome = "error"
    if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        outcome = "skipped"
    elif isinstance(error, (Inconclusive, ProcessError, FaultError)):
        outcome = "inconclusive"
    elif isinstance(error, (AssertionError, pytest.fail.Exception)):
        outcome = "failed"
    told = str(error).encode(errors="backslashreplace").decode()  # half a character can't be written
    return outcome, told or type(error).__name__


def conclude(
    run: RunFolder, scenario: Mapping[str, str], error: BaseException | None, seconds: float, *, first: bool
) -> None:
    """Write what came of a scenario that never got to its experiment: it was skipped, or its set-up failed.

    Parameters
    ----------
    run : the run of the whole session.
    scenario : its ``id``, ``title`` and ``command``.
    error : what ended it.
    seconds : how long it took.
    first : whether nothing was written of it before: what is there then is another's.
    """
    outcome, message = outcome_of(error)
    folder = run.scenarios / scenario["id"]
    named = Planned.model_validate(scenario).model_dump()
    result = Scenario.model_validate(named | {"outcome": outcome, "seconds": seconds, "message": message})
    write_result(folder, result, before=finished(folder) if first else None)


def describe(findings: list[Finding]) -> str:
    """Return the findings, a line each, and the rows that broke them."""
    lines = []
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g} {finding.unit}".strip()
        lines.append(f"{finding.verdict}: {finding.name}: measured {measured} ({finding.explanation})")
        for row in finding.examples:
            lines.append("    " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return "\n".join(lines)


def _result(folder: Path) -> Scenario:
    """Return what a scenario has left in its folder so far.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        There is nothing, or it can't be used.
    """
    return Scenario.model_validate({"id": folder.name} | read_json(folder / "scenario.json"))


def finished(folder: Path) -> Scenario | None:
    """Return the result that a scenario has left in its folder; None if it has not come to its end."""
    try:
        found = _result(folder)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.seconds is not None else None


def write_result(folder: Path, scenario: Scenario, *, before: Scenario | None = None) -> None:
    """Write ``scenario.json``. A second result does not replace the one ``before`` it: both count as none."""
    if before is not None:
        told = f"it has two results, {before.outcome} and {scenario.outcome}: {scenario.message}"
        scenario = scenario.model_copy(update={"outcome": "error", "message": told, "lost": True})
    make_folder(folder, exist_ok=True)
    write_atomically(folder / "scenario.json", scenario.model_dump_json(indent=2) + "\n")


def account_for_missing(run: RunFolder, *, interrupted: bool) -> None:
    """Give every planned scenario that left no outcome one, as nobody knows what it would show.

    That is an error, but for those that Ctrl-C kept from their end: they are inconclusive.
    """
    try:
        plan = read_plan(run)
    except DocumentError:
        return  # the report says so
    for planned in plan:
        folder = run.scenarios / planned.id
        try:
            scenario = _result(folder)
        except FileNotFoundError:
            scenario = Scenario(**planned.model_dump(), outcome="error", message="it never ran")
        except (ValueError, TypeError):
            continue  # the report says that it can't be read, and why
        if scenario.seconds is not None:
            continue
        missing: dict[str, object] = {"outcome": "error", "lost": True}
        if interrupted:
            missing = {"outcome": "inconclusive", "message": f"interrupted: {scenario.message}"}
        write_result(folder, scenario.model_copy(update=missing))


def account_for_crash(run: RunFolder, id: str, crash: str) -> None:
    """Give a scenario whose process died the outcome of that, whatever another attempt at it came to."""
    folder = run.scenarios / id
    if (scenario := finished(folder)) is not None:
        told = f"{crash}; another attempt {scenario.outcome}, which does not undo that"
        write_result(folder, scenario.model_copy(update={"outcome": "error", "message": told}))
