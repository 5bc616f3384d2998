"""The gate: reads report.json and nothing else, trusts no verdict in it, and says pass or not.

The verdicts in a report follow from its rows, so the gate derives them again, and the rows must agree with
each other. A report that contradicts itself was edited or damaged: it is unreadable as evidence, whichever
way it errs. What was edited everywhere alike, a threshold for one, only a policy beside it can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

from harness.files import DocumentError, parse_json, read_json, read_text
from harness.report.reasons import conclusion, with_cause
from harness.report.words import decisive, expected, limited, reason
from harness.sla.policy import Objective, Policy, PolicyError, flatten, parse_threshold
from harness.sla.verdict import (
    NOT_APPLICABLE,
    RowVerdict,
    Verdict,
    judge_cases,
    judge_expectation,
    judge_fault,
    judge_integrity,
    judge_objective,
    judge_report,
    number,
    objective_verdicts,
    row_names,
    worst,
)

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
    verdict: RowVerdict
    reason: str
    #: It is inconclusive and that was allowed.
    allowed: bool = False


@cache
def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of report.json."""
    document: dict[str, Any] = read_json(SCHEMA_FILE)
    return document


def read_report(path: Path) -> dict[str, Any]:
    """Return the report at ``path`` (a file, or a run folder), valid and consistent.

    Raises
    ------
    ReportError
        It is missing, not JSON, of another schema, invalid, or its verdicts do not follow from its rows.
    """
    try:
        path = path / "report.json" if path.is_dir() else path
        text = read_text(path)
    except FileNotFoundError:
        raise ReportError(
            f"{path}: no such report; make one with `stormwatch run` or `stormwatch report`"
        ) from None
    except (OSError, DocumentError) as error:
        raise ReportError(f"{path}: can't be read: {error}") from error
    if not text.strip():
        raise ReportError(f"{path}: is empty; make it again with `stormwatch report`")
    try:
        report = parse_json(text)
    except DocumentError as error:
        raise ReportError(f"{path}: can't be read: {error}") from error
    validate(report, str(path))
    document: dict[str, Any] = report
    return document


def validate(report: Any, where: str = "report") -> None:
    """Check a report against its schema, its verdicts against its rows and these against each other.

    Raises
    ------
    ReportError
        It is of another schema, invalid, its verdicts do not follow from its rows, or rows contradict others.
    """
    known = report_schema()["$id"]
    found = report.get("schema") if isinstance(report, dict) else None
    if found != known:
        raise ReportError(
            f"{where}: schema is {found!r}, this gate reads {known!r}; make it again with `stormwatch report`"
        )
    error = jsonschema.exceptions.best_match(_validator().iter_errors(report))
    if error is not None:
        raise ReportError(f"{where}: {error.json_path}: {error.message[:300]}")
    for wrong in _contradictions(report):
        raise ReportError(f"{where}: {wrong}; the report was edited: make it again with `stormwatch report`")


def verdict_exit_code(report: Mapping[str, Any]) -> int:
    """Return the exit code for a report's verdict: 0 pass, 1 fail, 3 inconclusive."""
    return EXIT_CODES[report["verdict"]]


def judge_again(report: dict[str, Any], policy: Policy) -> None:
    """Replace the thresholds of a report by those of a policy and judge its figures by them, in place.

    Parameters
    ----------
    policy : with the changes of the profile that was run.

    Raises
    ------
    ReportError
        The policy asks for what only the record can answer: another quantile, tolerance, limit ...
    """
    for section in ("tolerances", "recovery", "measurement"):
        had = flatten(report["policy"].get(section) or {}, f"{section}.")
        asked = flatten(getattr(policy, section).model_dump(), f"{section}.")
        if had != asked:
            name = next((name for name, value in asked if (name, value) not in had), section)
            raise _needs_record(f"the policy's {name} is not that of the report")
    rows = {row["name"]: row for row in report["objectives"]}
    judged = []
    for name, objective in policy.objectives.items():
        if not _applies(objective, report):
            continue
        if (row := rows.get(name)) is None:
            raise _needs_record(f"objective {name!r} of the policy is not in the report")
        for field, wanted in (
            ("metric", objective.metric),
            ("quantile", objective.quantile),
            ("confidence", policy.confidence_of(objective)),
            ("assumed_icc", objective.assumed_icc if objective.kind == "rate" else None),
        ):
            if row.get(field) != wanted:
                raise _needs_record(
                    f"objective {name!r}: the report has {field} {row.get(field)}, the policy {wanted}"
                )
        # What was not measured has none.
        if row["samples"] and objective.ceiling != (row["ceiling"] or {}).get("threshold"):
            raise _needs_record(f"objective {name!r}: the policy has another ceiling")
        _set_threshold(row, objective.threshold, report["measurement"]["checks"])
        judged.append(row)
    if not judged:
        raise _needs_record("nothing that the policy promises is in the report")
    report["objectives"] = judged
    report["verdict"] = judge_report(report)


def change_thresholds(report: dict[str, Any], changes: Mapping[str, str]) -> None:
    """Replace single thresholds of a report (``{"broadcast_latency.threshold": "1s"}``), in place.

    Raises
    ------
    PolicyError
        A change names nothing, or its value is no threshold.
    ReportError
        It is no threshold that is to be changed: only the record can answer for that.
    """
    rows = {row["name"]: row for row in report["objectives"]}
    for name, text in changes.items():
        objective, _, field = name.removeprefix("objectives.").rpartition(".")
        row = rows.get(objective)
        if name.partition(".")[0] not in {"confidence", "tolerances", "measurement", "recovery"} and (
            row is None or field not in Objective.model_fields
        ):
            raise PolicyError(
                f"--set {name}: nothing is called so; "
                f"write one of {', '.join(f'{row}.threshold' for row in rows)}"
            )
        if row is None or field != "threshold":
            raise _needs_record(f"--set {name}={text} changes more than a threshold")
        try:
            _set_threshold(row, parse_threshold(text, row["unit"]), report["measurement"]["checks"])
        except ValueError as error:
            raise PolicyError(f"--set {name}: {error}") from error
    report["verdict"] = judge_report(report)


def _set_threshold(row: dict[str, Any], threshold: float, checks: Iterable[Mapping[str, Any]]) -> None:
    row["threshold"] = threshold if row["unit"] == "s" else round(threshold * 100, 12)
    row["samples_needed"] = None
    row["verdict"] = judge_objective(row)
    row["reason"] = conclusion(row, counted=False)
    row["reason"] = with_cause(row, checks)


def _needs_record(why: str) -> ReportError:
    return ReportError(f"{why}; that needs the record: use `stormwatch report --sla` or `--set`")


def _applies(objective: Objective, report: Mapping[str, Any]) -> bool:
    if not objective.applies_to(report["run"].get("profile")):
        return False
    if objective.metric != "scenarios_passed":
        return _loaded(report)
    return bool(report["scenarios"]) or any(row["metric"] == objective.metric for row in report["objectives"])


def rows_not_passed(report: Mapping[str, Any], allow_inconclusive: Collection[str] = ()) -> list[Row]:
    """Return every row that is not a pass, worst first, those that are not applicable last."""
    verdicts = objective_verdicts(report["objectives"])
    rows = [
        Row("objective", row["name"], row["title"], verdict, reason(row))
        for row, verdict in zip(report["objectives"], verdicts, strict=True)
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
    return sorted(rows, key=lambda row: (row.verdict == NOT_APPLICABLE, row.verdict != "fail", row.allowed))


def faults_not_passed(report: Mapping[str, Any], allow_inconclusive: Collection[str] = ()) -> list[Row]:
    """Return every fault of the load that was not recovered from as promised, or not for certain.

    And every fault of a scenario under which something happened that must never happen.
    """
    found = [(fault, judge_fault(fault)) for fault in report["faults"]]
    return [
        Row(
            "fault",
            name := " in ".join(filter(None, (fault["name"], fault["scenario"]))),
            name,
            verdict,
            "; ".join(f"{row['name']}: {expected(row)}" for row in decisive(fault)),
            allowed=verdict == "inconclusive" and fault["name"] in allow_inconclusive,
        )
        for fault, verdict in found
        if verdict != "pass"
    ]


def names(report: Mapping[str, Any]) -> set[str]:
    """Return the names of all rows of a report that may be allowed to be inconclusive."""
    sections = row_names(report)
    return {name for section in sections if section != "scenarios" for name in sections[section]}


def gate_verdict(rows: Collection[Row]) -> Verdict:
    """Return the verdict once allowed rows are left out."""
    return worst(row.verdict for row in rows if not row.allowed)


# --- what an honest report can't say -------------------------------------------------------------------


def _contradictions(report: Mapping[str, Any]) -> Iterator[str]:
    for claim, stated, derived in _claims(report):
        if stated != derived:
            yield f"{claim} says {stated}, but its figures say {derived}"
    yield from _missing_or_twice(report)
    for row in report["objectives"]:
        yield from _wrong_figures(row, report)
    for check in report["measurement"]["checks"]:
        if check["verdict"] == "pass" and check["limit"] is not None and not _within(check, report):
            yield f"measurement check {check['name']!r} says pass, but its figures say {limited(check)}"


def _claims(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is judged, its stated verdict, and the one that follows from its figures."""
    for row in report["objectives"]:
        yield f"objective {row['name']!r}", row["verdict"], judge_objective(row)
    for row in report["integrity"]:
        yield f"integrity row {row['name']!r}", row["verdict"], judge_integrity(row)
    for fault in report["faults"]:
        for row in fault["expectations"]:
            claim = f"fault {fault['name']!r}, {row['name']!r},"
            if fault["scenario"] is None:
                yield claim, row["verdict"], judge_expectation(row)
            elif row.get("integrity"):
                yield claim, row["verdict"], judge_cases(row)
    measurement = report["measurement"]
    found = worst(check["verdict"] for check in measurement["checks"])
    yield "the measurement", measurement["verdict"], found
    yield "the report", report["verdict"], judge_report(report)


def _missing_or_twice(report: Mapping[str, Any]) -> Iterator[str]:
    # Reports of before have no list of their rows.
    judged = report.get("rows") or {}
    for section, there in row_names(report).items():
        for name in Counter(judged.get(section, ())) - Counter(there):
            yield f"{name!r} was judged, but is missing in {section}"
        # One fault may be on several times.
        for name, times in Counter(there).items():
            if times > 1 and section != "faults":
                yield f"{name!r} is {times} times in {section}"
    if _loaded(report) and not report["integrity"]:
        yield "there was a load, but integrity has no rows"


def _wrong_figures(row: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    objective = f"objective {row['name']!r}"
    measured, low, high = (number(value) for value in (row["measured"], *row["interval"]))
    if measured is None or low is None or high is None:
        if (measured, low, high) != (None, None, None):
            yield f"{objective} has an interval without a figure, or half of one"
    # Latencies a little below nothing are within the error of clocks.
    elif not low <= max(measured, 0.0) <= high:
        yield f"{objective} measured {measured:g}, which is not within its interval of {low:g} to {high:g}"
    if row["metric"] == "scenarios_passed" and row["samples"]:
        outcomes = [scenario["outcome"] for scenario in report["scenarios"]]
        ran = len(outcomes) - outcomes.count("skipped")
        passed, unclear = outcomes.count("passed"), outcomes.count("inconclusive")
        if ran != row["samples"] or not _equal(
            (measured, low, high), (passed, passed, passed + unclear), ran
        ):
            yield f"{objective} does not follow from scenarios[]: {passed} of {ran} passed"


def _equal(shares: tuple[float | None, ...], counts: tuple[int, ...], of: int) -> bool:
    """Whether ``shares`` (percent) are those of ``counts``."""
    pairs = zip(shares, counts, strict=True)
    return all(share is not None and abs(share * of - 100 * count) < 1e-6 for share, count in pairs)


def _within(check: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Whether a measurement check is within its limit, or there is nothing that it could make doubtful."""
    measured = number(check["measured"])
    if measured is not None and measured <= check["limit"]:
        return True
    # A clock by which nothing was measured, readings without a steady state. Where an integrity row looked at
    # nothing, the report is no pass anyway.
    touched = [row for row in report["objectives"] if {"*", row["metric"]} & set(check["touches"])]
    judged = any(row["samples"] for row in touched)
    return not (judged and all(row["looked_at"] for row in report["integrity"]))


def _loaded(report: Mapping[str, Any]) -> bool:
    """Whether there was a load to judge; reports of before don't say, but their rows do."""
    said = report["run"].get("expects_load")
    return bool(said) or any(row["metric"] != "scenarios_passed" for row in report["objectives"])


# --- words ---------------------------------------------------------------------------------------------


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
