"""What scenarios came to, as ``scenario.json`` in a folder each: also where they crashed or never ran."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.faults import FaultError
from harness.files import DocumentError, make_folder, read_json, write_atomically
from harness.history import RunFolder
from harness.judge.findings import Finding
from harness.process import ProcessError
from harness.report.scenarios import read_plan


class Inconclusive(Exception):
    """The experiment says nothing about the service: it was ill before, or the harness itself failed."""


class ExpectationsFailed(AssertionError):
    """Some expectations did not hold; the message names them, and the games, events and times."""


def outcome_of(error: BaseException | None) -> tuple[str, str]:
    """Return what a scenario came to that ended by ``error``, and why."""
    if error is None:
        return "passed", ""
    if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        outcome = "skipped"
    elif isinstance(error, (Inconclusive, ProcessError, FaultError)):
        outcome = "inconclusive"
    elif isinstance(error, (AssertionError, pytest.fail.Exception)):
        outcome = "failed"
    else:
        outcome = "error"
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
    result = {"outcome": outcome, "seconds": seconds, "message": message, "faults": []}
    write_result(folder, {**scenario, **result}, before=finished(folder) if first else None)


def describe(findings: list[Finding]) -> str:
    """Return the findings, a line each, and the rows that broke them."""
    lines = []
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g} {finding.unit}".strip()
        lines.append(f"{finding.verdict}: {finding.name}: measured {measured} ({finding.explanation})")
        for row in finding.examples:
            lines.append("    " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return "\n".join(lines)


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the result that a scenario has left in its folder; None if it has not come to its end."""
    try:
        document: dict[str, Any] = read_json(folder / "scenario.json")
        return document if document["seconds"] is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_result(folder: Path, document: dict[str, Any], *, before: dict[str, Any] | None = None) -> None:
    """Write ``scenario.json``. A second result does not replace the one ``before`` it: both count as none."""
    if before is not None:
        told = f"{before['outcome']} and {document['outcome']}: {document['message']}"
        document = document | {"outcome": "error", "message": f"it has two results, {told}", "lost": True}
    make_folder(folder, exist_ok=True)
    write_atomically(folder / "scenario.json", json.dumps(document, indent=2) + "\n")


def account_for_missing(run: RunFolder, *, interrupted: bool) -> None:
    """Give every planned scenario that left no outcome one, as nobody knows what it would show.

    That is an error, but for those that Ctrl-C kept from their end: they are inconclusive.
    """
    try:
        plan = read_plan(run)
    except DocumentError:
        return  # the report says so
    for scenario in plan:
        path = run.scenarios / scenario.id / "scenario.json"
        never: dict[str, object] = {"seconds": None, "message": "it never ran", "faults": []}
        try:
            document = read_json(path) if path.exists() else scenario.model_dump() | never
            unfinished = document["seconds"] is None
        except (ValueError, KeyError, TypeError):
            continue  # the report says that it can't be read, and why
        if not unfinished:
            continue
        if interrupted:
            document |= {"outcome": "inconclusive", "message": f"interrupted: {document['message']}"}
        else:
            document |= {"outcome": "error", "lost": True}
        write_result(path.parent, document)


def account_for_crash(run: RunFolder, id: str, crash: str) -> None:
    """Give a scenario whose process died the outcome of that, whatever another attempt at it came to."""
    folder = run.scenarios / id
    if (document := finished(folder)) is not None:
        again = f"{crash}; another attempt {document['outcome']}, which does not undo that"
        write_result(folder, document | {"outcome": "error", "message": again})
