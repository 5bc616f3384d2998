"""The failure scenarios as a pytest process of their own, watched through the run's folder."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from harness.experiment import collected
from harness.experiment.child import Child
from harness.experiment.results import finished
from harness.files import SHIPPED, make_folder, write_atomically
from harness.history import RunFolder
from harness.process import ProcessError
from harness.report.scenarios import read_plan
from harness.system import find_system
from harness.system.beside import scenarios_of

#: The scenarios of others are under their own settings: neither options nor a way to import are taken over.
_ALONE: Final = ("-o", "addopts=", "--import-mode=importlib", "--color=no")

#: pytest's exit codes after which its outcomes stand: all passed, some failed, interrupted.
_JUDGED: Final = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def write_plan(run: RunFolder, scenarios: list[dict[str, str]]) -> None:
    """Note which scenarios (``id``, ``title``, ``command``) are to run: one lost on the way is missed.

    Those that an earlier session noted in the same run folder stay.
    """
    make_folder(run.scenarios, exist_ok=True)
    new = {scenario["id"] for scenario in scenarios}
    plan = [one.model_dump() for one in read_plan(run) if one.id not in new] + scenarios
    write_atomically(run.scenarios / "plan.json", json.dumps(plan, indent=2) + "\n")


@dataclass(frozen=True)
class Selection:
    """Which scenarios to run: those with a marker and matching an expression of ``pytest -k``."""

    marker: str | None = None
    expression: str | None = None

    def marked(self, scenarios: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of ``scenarios`` that bear the marker."""
        return [one for one in scenarios if self.marker is None or self.marker in one["markers"]]

    def arguments(self) -> list[str]:
        """Return it as pytest takes it."""
        return [
            *(["-m", self.marker] if self.marker else []),
            *(["-k", self.expression] if self.expression else []),
        ]


def see_that_some_match(selection: Selection) -> None:
    """Collect the scenarios once, and see that a selection has any.

    Raises
    ------
    SelectionError
        It has none, or is not understood. The message names the nearest.
    """
    if selection.expression is None:
        return
    scenarios = _collect(selection.expression)
    marked = selection.marked(scenarios)
    if any(one["selected"] for one in marked):
        return
    among = f"marked {selection.marker}" if selection.marker else "there are"
    told = f"-k {selection.expression!r} matches none of the {len(marked)} scenarios {among}"
    if any(one["selected"] for one in scenarios):
        raise SelectionError(f"{told}; it matches some of all scenarios: add --scenarios all")
    names = [one["name"] for one in marked]
    near = difflib.get_close_matches(selection.expression, names, n=3, cutoff=0.4) or sorted(names)[:3]
    raise SelectionError(f"{told}; near are {', '.join(near)}")


def listed(selection: Selection) -> list[tuple[str, str]]:
    """Return name and title of each scenario of a selection.

    Raises
    ------
    SelectionError
        The selection is not understood.
    """
    scenarios = selection.marked(_collect(selection.expression or ""))
    return [(one["name"], one["title"]) for one in scenarios if one["selected"]]


def _collect(expression: str) -> list[dict[str, Any]]:
    """Return ``name``, ``title``, ``markers`` and ``selected`` of each scenario, as pytest collects them."""
    # The plugins of others take longer to import than the scenarios.
    plugins = ["-p", "harness.pytest_plugin", "-p", collected.__name__]
    command = [sys.executable, "-m", "pytest", *_scenarios(), "--collect-only", "-q"]
    done = subprocess.run(
        [*command, *plugins, "-k", expression],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    found = [line.removeprefix(collected.PREFIX) for line in said if line.startswith(collected.PREFIX)]
    if done.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} or not found:
        why = next((line for line in said if line.startswith("ERROR: ")), " | ".join(said[-3:]))
        raise SelectionError(f"-k {expression!r}: {why.removeprefix('ERROR: ')}")
    scenarios: list[dict[str, Any]] = json.loads(found[0])
    return scenarios


def _scenarios() -> list[str]:
    """Return the folders with the scenarios of the system that is named, and how pytest takes them."""
    folders = scenarios_of(find_system())
    root = Path() if len(folders) > 1 else SHIPPED
    return [*map(str, folders), f"--rootdir={root.absolute()}", *_ALONE]


class SelectionError(Exception):
    """No scenario is selected; the message says by what, and what is near."""


class ScenarioSuite(Child):
    """The failure scenarios of the system that is named, writing into a run's ``scenarios/`` folder.

    Parameters
    ----------
    run : the run that the scenarios belong to.
    selection : which of them.
    workers : how many at a time, each with a stack of its own; None: as many as the machine carries.
    environment : further variables: the deployment that may be broken (none: stacks of its own).
    """

    def __init__(
        self,
        run: RunFolder,
        selection: Selection,
        *,
        workers: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._run = run
        command = [sys.executable, "-m", "pytest", *_scenarios(), f"--stormwatch-run={run.path}"]
        command += ["--numprocesses", str(workers)] if workers else []
        command += selection.arguments()
        super().__init__("pytest", command, run.logs / "failures.log", environment)

    def progress(self) -> tuple[int, int | None]:
        """Return how many scenarios are done, and of how many (None: not yet known)."""
        done = sum(finished(path.parent) is not None for path in self._run.scenarios.glob("*/scenario.json"))
        return done, len(read_plan(self._run)) or None

    def check(self) -> None:
        """See that pytest itself worked; what the scenarios showed is the report's to say.

        Raises
        ------
        ProcessError
            It could not run them, or there were none.
        """
        if self.exit_code not in _JUDGED:
            raise ProcessError(
                f"pytest ended with {self.exit_code}: {self.last_words()}; see {self.log_path}"
            )
