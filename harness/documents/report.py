"""report.json: what a run showed and what it is worth."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, JsonValue, computed_field, model_validator

from harness.documents.base import Document, Many, Model, Moment
from harness.documents.rows import (
    CheckRow,
    DriftRow,
    Fault,
    IntegrityRow,
    Judged,
    ObjectiveRow,
    ScenarioRow,
)
from harness.documents.run import About
from harness.documents.shown import (
    CalibrationShown,
    Distribution,
    Game,
    Seen,
    Stage,
    Timeline,
    ValidationShown,
)
from harness.documents.verdict import NOT_APPLICABLE, RowVerdict, Verdict, worst

SCHEMA: Final = "stormwatch.report/2"
#: Of before: it does not say all that is said now.
_FIRST: Final = "stormwatch.report/1"


class RunShown(About):
    """What of run.json stands in a report."""

    #: Whether there was, or should have been, a load to judge.
    expects_load: bool = False


class PolicyShown(Model):
    """What of the policy is not in the rows."""

    confidence: float
    tolerances: dict[str, JsonValue]
    measurement: dict[str, JsonValue] = Field(default_factory=dict)
    recovery: dict[str, JsonValue]


class Measurement(Judged):
    """Whether the measurement can be trusted."""

    checks: Annotated[Many[CheckRow], Field(min_length=1)]
    calibration: CalibrationShown | None = None
    validation: ValidationShown | None = None

    @property
    def called(self) -> str:
        return "the measurement"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> Verdict:
        return worst(check.verdict for check in self.checks)


class Report(Judged, Document):
    """What a run showed and what it is worth.

    Times of day are RFC 3339 in UTC, durations are seconds, shares are percent; "infinity" stands for what
    never happened or is not bounded, null for what is not known.
    """

    schema_id: Literal["stormwatch.report/2"] = Field(SCHEMA, alias="schema")
    generated_at: Moment
    run: RunShown
    policy: PolicyShown
    objectives: Annotated[Many[ObjectiveRow], Field(min_length=1)]
    integrity: Many[IntegrityRow]
    drift: Many[DriftRow] = ()
    faults: Many[Fault]
    scenarios: Many[ScenarioRow]
    measurement: Measurement
    stages: Many[Stage]
    timeline: Timeline | None
    #: Of the latencies in steady state.
    distributions: Many[Distribution]
    #: The worst, with all that happened to them.
    games: Annotated[Many[Game], Field(max_length=8)]
    #: What could be seen of the system under test; empty: the record does not tell.
    sight: Many[Seen] = ()
    #: What could not be shown, and why.
    notes: Many[str] = ()

    @property
    def called(self) -> str:
        return "the report"

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def verdict(self) -> Verdict:
        return worst(
            [
                *self.objective_verdicts,
                *(row.verdict for row in self.integrity),
                *(row.verdict for row in self.drift if row.verdict == "fail"),
                *(fault.verdict for fault in self.faults),
                self.measurement.verdict,
            ]
        )

    @property
    def objective_verdicts(self) -> list[RowVerdict]:
        """What each objective counts as: where none is applicable, nothing was judged, and all are open."""
        found = [row.verdict for row in self.objectives]
        return ["inconclusive"] * len(found) if set(found) == {NOT_APPLICABLE} else found

    @property
    def faults_of_load(self) -> list[Fault]:
        """The faults that were on during the load itself: no scenario's outcome speaks for them."""
        return [fault for fault in self.faults if fault.scenario is None]

    @property
    def scenarios_not_passed(self) -> list[ScenarioRow]:
        """The scenarios that did not pass, whatever else became of them."""
        return [row for row in self.scenarios if row.outcome != "passed"]

    @model_validator(mode="after")
    def _refuse_rows_at_odds(self) -> Self:
        """Refuse rows that do not follow from others: scenarios passed, and checks beyond their limit."""
        outcomes = [row.outcome for row in self.scenarios]
        ran = len(outcomes) - outcomes.count("skipped")
        passed, unclear = outcomes.count("passed"), outcomes.count("inconclusive")
        errors = outcomes.count("error")  # which earlier reports held against the service
        for row in self.objectives:
            if row.metric != "scenarios_passed" or not row.samples:
                continue
            shares = tuple(None if share is None else share * ran / 100 for share in row.interval)
            ends = (passed + unclear, passed + unclear + errors)
            if ran != row.samples or not any(_close(shares, (passed, most)) for most in ends):
                raise ValueError(f"{row.called} does not follow from scenarios[]: {passed} of {ran} passed")
        for check in self.measurement.checks:
            if check.verdict == "pass" and not self._within(check):
                raise ValueError(
                    f"measurement check {check.name!r} says pass, but its figures say "
                    f"{check.measured} {check.unit} (limit {check.limit})"
                )
        return self

    def _within(self, check: CheckRow) -> bool:
        """Whether a check is within its limit, or there is nothing that it could make doubtful."""
        if check.limit is None or (check.measured is not None and check.measured <= check.limit):
            return True
        # A clock by which nothing was measured, readings without a steady state. Where an integrity row
        # looked at nothing, the report is no pass anyway.
        judged = any(row.samples for row in self.objectives if check.doubts(row.metric))
        return not (judged and all(row.looked_at or row.absent for row in self.integrity))


def _close(shares: tuple[float | None, ...], counts: tuple[int, ...]) -> bool:
    pairs = zip(shares, counts, strict=True)
    return all(share is not None and abs(share - count) < 1e-6 for share, count in pairs)


def upgraded(content: Any) -> Any:
    """Return a report of the first schema as one of this one; anything else as it is.

    What it does not say is left at its default; names of its rows, which it also lists, stand in the rows.
    """
    if not isinstance(content, dict) or content.get("schema") != _FIRST:
        return content
    run = content.get("run")
    if isinstance(run, dict) and "expects_load" not in run:
        rows = content.get("objectives")
        loaded = isinstance(rows, list) and any(
            isinstance(row, dict) and row.get("metric") != "scenarios_passed" for row in rows
        )
        run = run | {"expects_load": loaded}
    return {key: value for key, value in content.items() if key != "rows"} | {"schema": SCHEMA, "run": run}
