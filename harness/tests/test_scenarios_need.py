"""No scenario begins on a system that lacks a lever of its fault: that is known before anything is played."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.setup import Setup, impossible, lacking
from harness.faults import Fault
from harness.faults.schedule import Schedule
from harness.system import Program
from harness.tests.bare import Bare

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "failure"


class Local(Bare):
    """Started here, with nothing beside it."""

    def processes(self, local: object) -> list[Program]:
        return []


class Over(Exception):
    """The scenario was skipped, or came to its end."""


class OnBare:
    """Takes the steps of an experiment on a system without levers."""

    def games(self, *_: Any, needs: Sequence[type | Fault] = (), **__: Any) -> AbstractContextManager[None]:
        if lacking(Setup(), Bare, needs) or impossible(Setup(), Local, needs):
            raise Over
        return nullcontext()

    def steady(self) -> None: ...

    def inject(self, fault: Fault, *_: Any, **__: Any) -> None:
        assert fault.lacks(Bare) is None, f"games(needs=[{fault}])"
        assert not fault.parts, f"games(needs=[{fault}])"

    def run_schedule(self, schedule: Schedule, *_: Any) -> None:
        for entry in schedule.entries:
            self.inject(entry.fault)

    def recovered(self) -> None:
        raise Over


def scenarios() -> Iterator[Any]:
    """Each scenario that takes nothing but an experiment and its own parameters."""
    for path in sorted(SCENARIOS.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"scenario_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_"):
                continue
            marks = {mark.name: mark for mark in getattr(test, "pytestmark", [])}
            given = marks["parametrize"].args[1] if "parametrize" in marks else [pytest.param()]
            for case in given:
                if len(inspect.signature(test).parameters) == 1 + len(case.values):
                    yield pytest.param(test, case.values, id=f"{path.stem}-{name}-{case.id}")


@pytest.mark.parametrize(("scenario", "values"), list(scenarios()))
def test_a_scenario_says_which_levers_it_needs(
    scenario: Callable[..., None], values: tuple[object, ...]
) -> None:
    with pytest.raises(Over):
        scenario(OnBare(), *values)
