"""What the report takes from a scenario's ``scenario.json``, checked before anything relies on it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.files import DocumentError, read_json
from harness.history import RunFolder, RunFolderError


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class _Document(BaseModel):
    """Scenarios may say more than is read here; what they say must be of its kind, and finite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Expectation(_Document):
    name: str
    verdict: str
    measured: float | None = None
    threshold: float | None = None
    unit: str = ""
    explanation: str = ""
    examples: list[dict[str, Any]] = []
    integrity: bool = False


class _Fault(_Document):
    name: str
    place: str | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    expectations: list[_Expectation] | None = None
    detected_after_s: float | None = None
    recovered_after_s: float | None = None
    error: str | None = None


class _Window(_Document):
    name: str
    start_ms: int
    end_ms: int


class _Series(_Document):
    panel: str
    title: str
    unit: str
    values: list[float | None] = Field(max_length=600)


class _Timeline(_Document):
    start_ms: int
    bin_s: int = Field(ge=1)
    bins: int = Field(ge=0, le=600)
    windows: list[_Window]
    series: list[_Series] = Field(max_length=32)


class _Scenario(_Document):
    id: str = ""
    outcome: str | None = None
    seconds: float | None = None
    message: str | None = None
    command: str | None = None
    faults: list[_Fault] | None = None
    timeline: _Timeline | None = None
    lost: bool = False


class _Planned(_Document):
    id: str
    title: str
    command: str


_PLAN: Final = TypeAdapter(list[_Planned])


def read_plan(run: RunFolder) -> list[dict[str, str]]:
    """Return the scenarios that were collected (``id``, ``title``, ``command``); none if nobody said.

    Raises
    ------
    RunFolderError
        It can't be read; nobody can tell whether one is missing.
    """
    path = run.scenarios / "plan.json"
    if not path.exists():
        return []
    try:
        return [planned.model_dump() for planned in _PLAN.validate_json(path.read_bytes())]
    except (OSError, ValueError) as error:
        why = f"{len(error.errors())} errors in it" if isinstance(error, ValidationError) else error
        raise RunFolderError(f"{path}: which scenarios were collected can't be read: {why}") from error


def read_scenarios(run: RunFolder) -> list[dict[str, Any]]:
    """Return the ``scenario.json`` documents under a run; an unusable one is its scenario's error."""
    return [_in_its_folder(path) for path in sorted(run.scenarios.glob("*/scenario.json"))]


def _in_its_folder(path: Path) -> dict[str, Any]:
    id = path.parent.name
    document = {"id": id} | read_scenario(path)
    if document["id"] == id:
        return document
    return _lost(id, f"its folder has the result of {document['id']}")


def read_all_scenarios(run: RunFolder) -> list[dict[str, Any]]:
    """Return one document for each scenario that was collected; ``lost`` where its result can't be had."""
    documents = read_scenarios(run)
    try:
        planned = [scenario["id"] for scenario in read_plan(run)]
    except RunFolderError as error:
        return [*documents, _lost("plan.json", str(error))]
    if not planned:
        return documents
    there = {document["id"]: document for document in documents}
    missing = [_lost(id, "it was collected and has no result") for id in planned if id not in there]
    strange = [_lost(id, "it has a result and was not collected") for id in there if id not in planned]
    unknown = {document["id"] for document in strange}
    return [*(document for id, document in there.items() if id not in unknown), *missing, *strange]


def _lost(id: str, why: str) -> dict[str, Any]:
    return {"id": id, "outcome": "error", "message": why, "lost": True}


def read_scenario(path: Path) -> dict[str, Any]:
    """Return a ``scenario.json``; of one that can't be relied on, an ``error`` that says why."""
    try:
        document: dict[str, Any] = read_json(path)
        _Scenario.model_validate(document)
        # What is not checked above stands in the report as well: examples of findings.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        return {"outcome": "error", "message": f"scenario.json can't be used: {place}: {first['msg']}"}
    except (OSError, ValueError, DocumentError) as error:
        return {"outcome": "error", "message": f"scenario.json can't be read: {error}"}
    return document
