"""The gate: reads report.json and nothing else, trusts no verdict in it, and says pass or not.

The verdicts in a report follow from its rows, so the gate derives them again. A report whose stated
verdicts do not follow was edited or damaged: it is unreadable as evidence, whichever way it errs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

from harness.report.words import limited, reason
from harness.sla.policy import Policy
from harness.sla.verdict import Verdict, judge_integrity, judge_objective, judge_report, worst

SCHEMA_FILE: Final = Path(__file__).with_name("report.schema.json")

EXIT_CODES: Final[Mapping[str, int]] = {"pass": 0, "fail": 1, "inconclusive": 3}

#: Exit code for a report that is missing or can't be read.
UNREADABLE: Final = 4


class ReportError(Exception):
    """A report is missing, unreadable or contradicts itself; the message names it and the way out."""


@dataclass(frozen=True)
class Row:
    """One row of a report that is not a pass."""

    section: str
    name: str
    title: str
    verdict: Verdict
    reason: str
    #: It is inconclusive and that was allowed.
    allowed: bool = False


@cache
def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of report.json."""
    document: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
    return document


def read_report(path: Path) -> dict[str, Any]:
    """Return the report at ``path`` (a file, or a run folder), valid and consistent.

    Raises
    ------
    ReportError
        It is missing, not JSON, of another schema, invalid, or its verdicts do not follow from its rows.
    """
    path = path / "report.json" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(
            f"{path}: no such report; make one with `stormwatch run` or `stormwatch report`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: can't be read: {error}") from error
    if not text.strip():
        raise ReportError(f"{path}: is empty; make it again with `stormwatch report`")
    try:
        report = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not JSON: {error}") from error
    validate(report, str(path))
    document: dict[str, Any] = report
    return document


def validate(report: Any, where: str = "report") -> None:
    """Check a report against its schema and its verdicts against its rows.

    Raises
    ------
    ReportError
        It is of another schema, invalid, or its verdicts do not follow from its rows.
    """
    expected = report_schema()["$id"]
    found = report.get("schema") if isinstance(report, dict) else None
    if found != expected:
        raise ReportError(
            f"{where}: schema is {found!r}, this gate reads {expected!r}; "
            "make it again with `stormwatch report`"
        )
    error = jsonschema.exceptions.best_match(_validator().iter_errors(report))
    if error is not None:
        raise ReportError(f"{where}: {error.json_path}: {error.message[:300]}")
    for claim, stated, derived in _claims(report):
        if stated != derived:
            raise ReportError(
                f"{where}: {claim} says {stated}, but its figures say {derived}; "
                "the report was edited: make it again with `stormwatch report`"
            )


def verdict_exit_code(report: Mapping[str, Any]) -> int:
    """Return the exit code for a report's verdict: 0 pass, 1 fail, 3 inconclusive."""
    return EXIT_CODES[report["verdict"]]


def judge_again(report: dict[str, Any], policy: Policy) -> None:
    """Replace the thresholds of a report by those of a policy and judge its figures by them, in place.

    Raises
    ------
    ReportError
        The policy asks for what the report does not hold: another quantile, metric or confidence.
    """
    rows = {row["name"]: row for row in report["objectives"]}
    for name, objective in policy.objectives.items():
        row = rows.get(name)
        if row is None:
            if objective.metric == "scenarios_passed":
                continue
            raise ReportError(
                f"objective {name!r} of the policy is not in the report; "
                "judge the run again with `stormwatch report --sla`"
            )
        confidence = policy.confidence if objective.kind != "census" else None
        for key, wanted in (
            ("metric", objective.metric),
            ("quantile", objective.quantile),
            ("confidence", confidence),
        ):
            if row[key] != wanted:
                raise ReportError(
                    f"objective {name!r}: the report has {key} {row[key]}, the policy {wanted}; "
                    "its samples are needed for that: use `stormwatch report --sla`"
                )
        ceiling = row["ceiling"]
        if objective.ceiling != (ceiling["threshold"] if ceiling else None):
            raise ReportError(
                f"objective {name!r}: another ceiling needs its samples: use `stormwatch report --sla`"
            )
        row["comparison"] = objective.comparison
        row["threshold"] = (
            objective.threshold if objective.unit == "s" else round(objective.threshold * 100, 12)
        )
        row["samples_needed"] = None
        row["reason"] = "" if not row["doubts"] else row["reason"]
        row["verdict"] = judge_objective(row)
    unknown = rows.keys() - policy.objectives.keys()
    report["objectives"] = [row for row in report["objectives"] if row["name"] not in unknown]
    report["verdict"] = judge_report(report)


def rows_not_passed(report: Mapping[str, Any], allow_inconclusive: Collection[str] = ()) -> list[Row]:
    """Return every row that is not a pass, worst first."""
    rows = [
        Row("objective", row["name"], row["title"], row["verdict"], reason(row))
        for row in report["objectives"]
    ]
    rows += [
        Row("integrity", row["name"], row["title"], row["verdict"], _integrity_reason(row))
        for row in report["integrity"]
    ]
    rows += [
        Row("measurement", row["name"], row["title"], row["verdict"], f"{limited(row)}. {row['explanation']}")
        for row in report["measurement"]["checks"]
    ]
    rows = [
        Row(row.section, row.name, row.title, row.verdict, row.reason, allowed=True)
        if row.verdict == "inconclusive" and row.name in allow_inconclusive
        else row
        for row in rows
        if row.verdict != "pass"
    ]
    return sorted(rows, key=lambda row: (row.verdict != "fail", row.allowed))


def names(report: Mapping[str, Any]) -> set[str]:
    """Return the names of all rows of a report."""
    rows = [*report["objectives"], *report["integrity"], *report["measurement"]["checks"]]
    return {row["name"] for row in rows}


def gate_verdict(rows: Collection[Row]) -> Verdict:
    """Return the verdict once allowed rows are left out."""
    return worst(row.verdict for row in rows if not row.allowed)


def _claims(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    claims: list[tuple[str, str, str]] = [
        (f"objective {row['name']!r}", row["verdict"], judge_objective(row)) for row in report["objectives"]
    ]
    claims += [
        (f"integrity row {row['name']!r}", row["verdict"], judge_integrity(row))
        for row in report["integrity"]
    ]
    measurement = report["measurement"]
    claims.append(
        (
            "the measurement",
            measurement["verdict"],
            worst(check["verdict"] for check in measurement["checks"]),
        )
    )
    claims.append(("the report", report["verdict"], judge_report(report)))
    return claims


def _integrity_reason(row: Mapping[str, Any]) -> str:
    if not row["violations"]:
        return f"Not judged: {'; '.join(row['doubts'])}"
    shown = "; ".join(_example(example) for example in row["examples"][:3])
    return f"{row['violations']} of {row['looked_at']}: {shown}"


def _example(example: Mapping[str, Any]) -> str:
    place = " ".join(f"{key} {example[key]}" for key in ("game", "event", "actor") if key in example)
    return f"{place}: {example['detail']}" if place else str(example["detail"])


@cache
def _validator() -> jsonschema.protocols.Validator:
    return jsonschema.Draft202012Validator(report_schema())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
