"""The failure scenarios as a pytest process of their own, watched through the run's folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import harness
from harness.experiment.child import Child, ChildError
from harness.history import RunFolder
from harness.history.run import write_atomically

FAILURE: Final = Path(harness.__file__).parents[1] / "scenarios" / "failure"

#: pytest's exit codes after which its outcomes stand: all passed, some failed, interrupted.
_JUDGED: Final = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def write_plan(run: RunFolder, scenarios: list[dict[str, str]]) -> None:
    """Note which scenarios (``id``, ``title``, ``command``) are to run: one lost on the way is missed."""
    run.scenarios.mkdir(parents=True, exist_ok=True)
    write_atomically(run.scenarios / "plan.json", json.dumps(scenarios, indent=2) + "\n")


def read_plan(run: RunFolder) -> list[dict[str, str]]:
    """Return the scenarios that were to run; none if that is not known (yet)."""
    path = run.scenarios / "plan.json"
    plan: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return plan


def account_for_missing(run: RunFolder, *, interrupted: bool) -> None:
    """Give every planned scenario that left no outcome one, as nobody knows what it would show.

    That is an error, but for those that Ctrl-C kept from their end: they are inconclusive.
    """
    for scenario in read_plan(run):
        path = run.scenarios / scenario["id"] / "scenario.json"
        never: dict[str, object] = {"seconds": None, "message": "it never ran", "faults": []}
        try:
            document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else scenario | never
            unfinished = document["seconds"] is None
        except (ValueError, KeyError, TypeError):
            continue  # the report says that it can't be read, and why
        if not unfinished:
            continue
        if interrupted:
            document |= {"outcome": "inconclusive", "message": f"interrupted: {document['message']}"}
        else:
            document["outcome"] = "error"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, indent=2) + "\n")


def account_for_crash(run: RunFolder, id: str, crash: str) -> None:
    """Give a scenario whose process died the outcome of that, whatever another attempt at it came to."""
    path = run.scenarios / id / "scenario.json"
    if not path.exists():
        return
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["seconds"] is not None:
        again = f"{crash}; another attempt {document['outcome']}, which does not undo that"
        write_atomically(path, json.dumps(document | {"outcome": "error", "message": again}, indent=2) + "\n")


@dataclass(frozen=True)
class Selection:
    """Which scenarios to run: those with a marker and matching an expression of ``pytest -k``."""

    marker: str | None = None
    expression: str | None = None

    def arguments(self) -> list[str]:
        """Return it as pytest takes it."""
        return [
            *(["-m", self.marker] if self.marker else []),
            *(["-k", self.expression] if self.expression else []),
        ]


class ScenarioSuite(Child):
    """``pytest scenarios/failure`` writing into a run's ``scenarios/`` folder.

    Parameters
    ----------
    run : the run that the scenarios belong to.
    selection : which of them.
    workers : how many at a time, each with a stack of its own.
    """

    def __init__(self, run: RunFolder, selection: Selection, *, workers: int) -> None:
        self._run = run
        command = [sys.executable, "-m", "pytest", str(FAILURE), f"--stormwatch-run={run.path}"]
        command += ["--numprocesses", str(workers), "--color=no"]
        command += selection.arguments()
        super().__init__("pytest", command, run.logs / "failures.log")

    def progress(self) -> tuple[int, int | None]:
        """Return how many scenarios are done, and of how many (None: not yet known)."""
        documents = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in self._run.scenarios.glob("*/scenario.json")
        ]
        done = sum(document["seconds"] is not None for document in documents)
        return done, len(read_plan(self._run)) or None

    def check(self) -> None:
        """See that pytest itself worked; what the scenarios showed is the report's to say.

        Raises
        ------
        ChildError
            It could not run them, or there were none.
        """
        if self.ended not in _JUDGED:
            raise ChildError(f"pytest ended with {self.ended}: {self.tail()}; see {self.log}")
