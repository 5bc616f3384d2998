"""The gate: reads report.json and nothing else, trusts no verdict in it, and says pass or not.

The verdicts in a report follow from its rows. One that states others was edited or damaged, and is refused as
evidence whichever way it errs (:class:`~harness.documents.rows.Judged`). What was edited everywhere alike (a
threshold, an objective that was taken out) only a policy beside it can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.documents.base import Example, parse_document
from harness.documents.report import Report, upgraded
from harness.documents.rows import IntegrityRow, ObjectiveRow
from harness.documents.verdict import NOT_APPLICABLE, RowVerdict, Verdict, worst
from harness.documents.words import Words
from harness.files import DocumentError, read_json
from harness.report.reasons import conclusion
from harness.report.words import expected, growth_reason, limited, place, reason

if TYPE_CHECKING:
    from harness.sla.policy import Objective, Policy

EXIT_CODES: Final[Mapping[Verdict, int]] = {"pass": 0, "fail": 1, "inconclusive": 3}

#: Exit code for a report that is missing or can't be read.
UNREADABLE: Final = 4

_WAY_OUT: Final = "make it again with `stormwatch report`"


@dataclass(frozen=True)
class Row:
    """One row of a report that is not a pass."""

    section: str
    name: str
    verdict: RowVerdict
    reason: str
    title: str = ""
    #: It is inconclusive and that was allowed.
    allowed: bool = False


def read_report(path: Path) -> Report:
    """Return the report at ``path`` (a file, or a run folder), valid and consistent.

    Raises
    ------
    DocumentError
        It is missing, not JSON, of another schema, invalid, or its verdicts do not follow from its rows.
    """
    try:
        path = path / "report.json" if path.is_dir() else path
        content = read_json(path)
    except FileNotFoundError:
        way_out = "make one with `stormwatch run` or `stormwatch report`"
        raise DocumentError("no such report", path, way_out) from None
    except OSError as error:
        raise DocumentError(f"can't be read: {error.strerror}", path, _WAY_OUT) from error
    return parse_document(upgraded(content), Report, path, _WAY_OUT)


def judge_again(report: Report, policy: Policy) -> Report:
    """Return a report judged by the thresholds of a policy.

    Parameters
    ----------
    policy : with the changes of the profile that was run.

    Raises
    ------
    DocumentError
        The policy asks for what only the record can answer: another quantile, tolerance, limit ...
    """
    from harness.sla.policy import flatten

    for section in ("tolerances", "recovery", "measurement"):
        had = flatten(getattr(report.policy, section), f"{section}.")
        asked = flatten(getattr(policy, section).model_dump(), f"{section}.")
        if had != asked:
            name = next((name for name, value in asked if (name, value) not in had), section)
            raise _needs_record(f"the policy's {name} is not that of the report")
    rows = {row.name: row for row in report.objectives}
    judged = []
    for name, objective in policy.objectives.items():
        if not _applies(objective, report):
            continue
        if name not in rows:
            raise _needs_record(f"objective {name!r} of the policy is not in the report")
        _see_that_figures_fit(rows[name], objective, policy)
        judged.append(_with_threshold(rows[name], objective.threshold, report))
    for row in report.drift:
        drift = policy.drift.get(row.name)
        if drift is not None and (drift.limit, drift.least) != (row.limit, row.least_s):
            raise _needs_record(f"the policy has another limit of drift {row.name!r}")
    if not judged:
        raise _needs_record("nothing that the policy promises is in the report")
    return report.model_copy(update={"objectives": tuple(judged)})


def _see_that_figures_fit(row: ObjectiveRow, objective: Objective, policy: Policy) -> None:
    """Refuse an objective that asks for other figures than the report has of it."""
    for field, wanted in (
        ("metric", objective.metric),
        ("quantile", objective.quantile),
        ("confidence", policy.confidence_of(objective)),
        ("assumed_icc", objective.assumed_icc if objective.kind == "rate" else None),
    ):
        if (had := getattr(row, field)) != wanted:
            raise _needs_record(f"objective {row.name!r}: the report has {field} {had}, the policy {wanted}")
    # What was not measured has none.
    if row.samples and objective.ceiling != (row.ceiling.threshold if row.ceiling else None):
        raise _needs_record(f"objective {row.name!r}: the policy has another ceiling")


def change_thresholds(report: Report, changes: Mapping[str, str]) -> Report:
    """Return a report with single thresholds replaced (``{"broadcast_latency.threshold": "1s"}``).

    Raises
    ------
    PolicyError
        A change names nothing, or its value is no threshold.
    DocumentError
        It is no threshold that is to be changed: only the record can answer for that.
    """
    from harness.sla.policy import Objective, PolicyError, parse_threshold

    rows, told = {row.name: row for row in report.objectives}, []
    for name, text in changes.items():
        objective, _, field = name.removeprefix("objectives.").rpartition(".")
        row = rows.get(objective)
        of_policy = name.partition(".")[0] in {"confidence", "tolerances", "measurement", "recovery"}
        if not of_policy and (row is None or field not in Objective.model_fields):
            known = ", ".join(f"{row}.threshold" for row in rows)
            told.append(f"--set {name}: nothing is called so; write one of {known}")
            continue
        if row is None or field != "threshold":
            raise _needs_record(f"--set {name}={text} changes more than a threshold")
        try:
            rows[objective] = _with_threshold(row, parse_threshold(text, row.unit), report)
        except ValueError as error:
            told.append(f"--set {name}: {error}")
    if told:
        raise PolicyError("\n".join(told))
    return report.model_copy(update={"objectives": tuple(rows.values())})


def _with_threshold(row: ObjectiveRow, threshold: float, report: Report) -> ObjectiveRow:
    shown = threshold if row.unit == "s" else round(threshold * 100, 12)
    row = row.model_copy(update={"threshold": shown, "samples_needed": None})
    why = conclusion(row, report.run.words, report.measurement.checks, counted=False)
    return row.model_copy(update={"reason": why})


def _needs_record(why: str) -> DocumentError:
    return DocumentError(why, way_out="that needs the record: use `stormwatch report --sla` or `--set`")


def _applies(objective: Objective, report: Report) -> bool:
    if not objective.applies_to(report.run.profile):
        return False
    if objective.metric != "scenarios_passed":
        return report.run.expects_load
    return bool(report.scenarios) or any(row.metric == objective.metric for row in report.objectives)


def rows_not_passed(report: Report, allow_inconclusive: Collection[str] = ()) -> list[Row]:
    """Return every row that is not a pass, worst first, those that are not applicable last.

    Faults of the load are left to :func:`faults_not_passed`.
    """
    verdicts = zip(report.objectives, report.objective_verdicts, strict=True)
    rows = [Row("objective", row.name, verdict, reason(row), row.title) for row, verdict in verdicts]
    rows += [
        Row("integrity", row.name, row.verdict, _integrity_reason(row, report.run.words), row.title)
        for row in report.integrity
    ]
    rows += [
        Row("measurement", row.name, row.verdict, f"{limited(row)}. {row.explanation}", row.title)
        for row in report.measurement.checks
    ]
    # What a run is too short to tell of growth is no matter of its verdict.
    rows += [
        Row("drift", row.name, row.verdict, growth_reason(row), row.title)
        for row in report.drift
        if row.verdict == "fail"
    ]
    found = [_allowed(row, row.name, allow_inconclusive) for row in rows if row.verdict != "pass"]
    return sorted(found, key=lambda row: (row.verdict == NOT_APPLICABLE, row.verdict != "fail", row.allowed))


def faults_not_passed(report: Report, allow_inconclusive: Collection[str] = ()) -> list[Row]:
    """Return every fault of the load that was not recovered from as promised, or not for certain.

    And every fault of a scenario under which something happened that must never happen.
    """
    return [
        _allowed(
            Row(
                "fault",
                " in ".join(filter(None, (fault.name, fault.scenario))),
                fault.verdict,
                "; ".join(f"{row.name}: {expected(row)}" for row in fault.decisive),
            ),
            fault.name,
            allow_inconclusive,
        )
        for fault in report.faults
        if fault.verdict != "pass"
    ]


def _allowed(row: Row, name: str, allowed: Collection[str]) -> Row:
    return replace(row, allowed=row.verdict == "inconclusive" and name in allowed)


def names(report: Report) -> set[str]:
    """Return the names of all rows of a report that may be allowed to be inconclusive."""
    rows: tuple[Any, ...] = (*report.objectives, *report.integrity, *report.measurement.checks)
    return {row.name for row in (*rows, *report.faults_of_load)}


def gate_verdict(rows: Collection[Row]) -> Verdict:
    """Return the verdict once allowed rows are left out."""
    return worst(row.verdict for row in rows if not row.allowed)


def _integrity_reason(row: IntegrityRow, words: Words) -> str:
    if row.verdict == NOT_APPLICABLE:
        return f"Not applicable: {row.absent}."
    if not row.violations:
        return f"Not judged: {'; '.join(row.doubts)}"
    examples = "; ".join(_example(one, words) for one in row.examples[:3])
    return f"{row.violations} of {row.looked_at}: {examples}"


def _example(example: Example, words: Words) -> str:
    about = " ".join(f"{key} {name}" for key, name in place(example, words).items())
    return f"{about}: {example['detail']}" if about else str(example["detail"])
