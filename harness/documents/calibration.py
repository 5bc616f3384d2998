"""calibration.json: written beside the record it was made of, found by the reports of later runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, JsonValue, computed_field

from harness.documents.base import Document, Many, Model, Moment, read_all
from harness.documents.rows import Judged
from harness.documents.shown import Calibrated, CalibrationShown
from harness.documents.verdict import Verdict, worst

NAME: Final = "calibration.json"
SCHEMA: Final = "stormwatch.calibration/1"
#: What to do about one that can't be read.
WAY_OUT: Final = "make one with `stormwatch calibrate`"

#: What of a machine has to be the same for a calibration to speak for it.
_MACHINE: Final = ("system", "architecture", "cores", "memory_bytes")


class Allowed(Model):
    """How far what is reported may be off: so long, and so large a part of what was injected."""

    seconds: float
    share: float


class Calibration(Judged, Document):
    """What the harness reported of what was injected on purpose."""

    schema_id: Literal["stormwatch.calibration/1"] = Field(SCHEMA, alias="schema")
    run: str
    started_at: Moment
    finished_at: Moment
    options: dict[str, JsonValue]
    confidence: float
    allowed: Allowed
    rows: Many[Calibrated]
    doubts: Many[str]
    conditions: dict[str, float | None]
    versions: dict[str, str]
    machine: dict[str, JsonValue]

    @property
    def called(self) -> str:
        return "the calibration"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> Verdict:
        found = worst(row.verdict for row in self.rows)
        return "inconclusive" if found == "pass" and (self.doubts or not self.rows) else found

    def shown_on(self, machine: dict[str, JsonValue] | None) -> CalibrationShown:
        """Return what the report of a run on ``machine`` holds of it."""
        return CalibrationShown(
            run=self.run,
            finished_at=self.finished_at,
            verdict=self.verdict,
            doubts=self.doubts,
            rows=self.rows,
            same_machine=all((machine or {}).get(key) == self.machine.get(key) for key in _MACHINE),
        )


def newest_calibration(reports: Path) -> Calibration | None:
    """Return the newest calibration among the runs under ``reports``, None if there is none to read."""
    return max(read_all(reports, NAME, Calibration), key=lambda one: one.finished_at, default=None)
