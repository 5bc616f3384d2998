"""What the report takes from a scenario's ``scenario.json``, checked before anything relies on it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


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


def read_scenario(path: Path) -> dict[str, Any]:
    """Return a ``scenario.json``; of one that can't be relied on, an ``error`` that says why."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _Scenario.model_validate(document)
        # What is not checked above stands in the report as well: examples of findings.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        return {"outcome": "error", "message": f"scenario.json can't be used: {place}: {first['msg']}"}
    except (OSError, ValueError, RecursionError) as error:
        return {"outcome": "error", "message": f"scenario.json can't be read: {error}"}
    return document
