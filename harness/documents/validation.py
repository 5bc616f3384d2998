"""validation.json: what the harness said of defective systems, and of the healthy one beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, JsonValue, computed_field

from harness.documents.base import Document, Many, Moment, read_all
from harness.documents.rows import Judged
from harness.documents.shown import Healthy, Tried, ValidationShown
from harness.documents.verdict import Verdict

NAME: Final = "validation.json"
SCHEMA: Final = "stormwatch.validation/1"


class Validation(Judged, Document):
    """What the harness said of defects."""

    schema_id: Literal["stormwatch.validation/1"] = Field(SCHEMA, alias="schema")
    run: str
    started_at: Moment
    finished_at: Moment
    catalogue: str
    tried: Many[Tried]
    healthy: Many[Healthy]
    versions: dict[str, str]
    machine: dict[str, JsonValue]

    @property
    def called(self) -> str:
        return "the validation"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> Verdict:
        """Pass: each defect that was tried is caught as what it is, and nothing else is."""
        outcomes = [one.outcome for one in self.tried]
        if {"missed", "as something else"} & set(outcomes) or any(one.alarms for one in self.healthy):
            return "fail"
        open_ones = "can't tell" in outcomes or any(one.error for one in self.healthy)
        return "inconclusive" if open_ones or "as expected" not in outcomes else "pass"

    def shown(self) -> ValidationShown:
        """Return what the report of a run holds of it."""
        return ValidationShown(**{name: getattr(self, name) for name in ValidationShown.model_fields})


def newest_validation(reports: Path) -> Validation | None:
    """Return the newest validation among the runs under ``reports``, None if there is none to read."""
    return max(read_all(reports, NAME, Validation), key=lambda one: one.finished_at, default=None)
