"""The failure scenarios of a run: which were collected, and what came of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from harness.documents.base import first_error
from harness.documents.scenario import Planned, Scenario
from harness.files import DocumentError, read_json
from harness.history import RunFolder

_PLAN: Final = TypeAdapter(list[Planned])


def read_plan(run: RunFolder) -> list[Planned]:
    """Return the scenarios that were collected; none if nobody said.

    Raises
    ------
    DocumentError
        It can't be read; nobody can tell whether one is missing.
    """
    path = run.scenarios / "plan.json"
    try:
        return _PLAN.validate_python(read_json(path))
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise DocumentError(
            f"which scenarios were collected can't be read: {first_error(error)}", path
        ) from error


def read_scenarios(run: RunFolder) -> list[Scenario]:
    """Return what came of each scenario under a run; an unusable document is its scenario's error."""
    return [_in_its_folder(path) for path in sorted(run.scenarios.glob("*/scenario.json"))]


def _in_its_folder(path: Path) -> Scenario:
    id = path.parent.name
    try:
        content = read_json(path)
        json.dumps(content, ensure_ascii=False).encode()
        named = {"id": id} | content if isinstance(content, dict) else content
        scenario = Scenario.model_validate(named)
    except ValidationError as error:
        return Scenario(id=id, outcome="error", message=f"scenario.json can't be used: {first_error(error)}")
    except UnicodeEncodeError as error:  # half a character can't be written into a report
        return Scenario(id=id, outcome="error", message=f"scenario.json can't be used: {error.reason}")
    except DocumentError as error:
        return Scenario(id=id, outcome="error", message=f"scenario.json {error.reason}")
    return scenario if scenario.id == id else _lost(id, f"its folder has the result of {scenario.id}")


def read_all_scenarios(run: RunFolder) -> list[Scenario]:
    """Return one document for each scenario that was collected; ``lost`` where its result can't be had."""
    there = {scenario.id: scenario for scenario in read_scenarios(run)}
    try:
        planned = [scenario.id for scenario in read_plan(run)]
    except DocumentError as error:
        return [*there.values(), _lost("plan.json", str(error))]
    if not planned:
        return list(there.values())
    known = [scenario for id, scenario in there.items() if id in planned]
    missing = [_lost(id, "it was collected and has no result") for id in planned if id not in there]
    strange = [_lost(id, "it has a result and was not collected") for id in there if id not in planned]
    return [*known, *missing, *strange]


def _lost(id: str, why: str) -> Scenario:
    return Scenario(id=id, outcome="error", message=why, lost=True)
