"""Markdown of a report: for the summary of a CI job and for a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.report import calibration
from harness.report.words import (
    MEANING,
    count,
    example,
    expected,
    faults_of_load,
    interval,
    limited,
    measured,
    message,
    not_met,
    reason,
    scenarios_not_passed,
    share,
    target,
)
from harness.sla.units import format_quantity

_BADGES: Final[Mapping[str, str]] = {
    "pass": "✅ pass",
    "fail": "❌ fail",
    "inconclusive": "❔ inconclusive",
    "passed": "✅ passed",
    "failed": "❌ failed",
    "skipped": "➖ skipped",
}

#: Lines of a scenario's message that are shown: what failed stands first.
_MESSAGE_LINES: Final = 4


def render_markdown(report: Mapping[str, Any]) -> str:
    """Return the Markdown view of a report: the verdict, every row, and why where it is not a pass."""
    run = report["run"]
    lines = [f"## Stormwatch: {_badge(report['verdict'])}", "", MEANING[report["verdict"]], ""]
    lines += _reasons(report)
    lines += ["| objective | promised | measured | interval | samples | |", "|---|---|---|---|--:|---|"]
    lines += [
        f"| {_text(row['title'])} | {target(row)} | {measured(row)} | {interval(row)} "
        f"| {count(row['samples'])} | {_badge(row['verdict'])} |"
        for row in report["objectives"]
    ]
    lines += ["", "| integrity | violations | looked at | |", "|---|--:|--:|---|"]
    lines += [
        f"| {_text(row['title'])} | {count(row['violations'])} | {count(row['looked_at'])} "
        f"| {_badge(row['verdict'])} |"
        for row in report["integrity"]
    ]
    lines += _scenarios(report["scenarios"])
    lines += _stages(report["stages"])
    lines += ["", "<details><summary>Can the measurement be trusted?</summary>", ""]
    lines += ["| check | measured | |", "|---|---|---|"]
    lines += [
        f"| {_text(row['title'])} | {limited(row)} | {_badge(row['verdict'])} |"
        for row in report["measurement"]["checks"]
    ]
    if notes := report.get("notes"):
        lines += ["", *(f"- {_text(note)}" for note in notes)]
    lines += ["", *_calibration(report["measurement"].get("calibration"))]
    lines += [
        "",
        "</details>",
        "",
        f"Run `{run['id']}`, profile {run.get('profile') or 'none'}, seed {run['seed']}.",
    ]
    if run.get("command"):
        lines.append(f"Again: `{run['command']}`")
    return "\n".join(lines) + "\n"


def _scenarios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    passed = sum(row["outcome"] == "passed" for row in rows)
    lines = ["", f"<details><summary>Failure scenarios: {passed} of {len(rows)} passed</summary>", ""]
    lines += ["| scenario | seconds | |", "|---|--:|---|"]
    lines += [
        f"| `{_text(row['id'])}` | {_seconds(row['seconds'])} | {_badge(row['outcome'])} |" for row in rows
    ]
    return [*lines, "", "</details>"]


def _stages(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    budgeted = any("budget_share" in row for row in rows)
    headings = ["stage", "median", "p95", "p99", *(["p95 of budget"] if budgeted else []), "samples"]
    lines = ["", "<details><summary>Where the time of a broadcast goes</summary>", ""]
    lines += [f"| {' | '.join(headings)} |", f"|---|{'--:|' * (len(headings) - 1)}"]
    for row in rows:
        figures = [format_quantity(row[key], "s") for key in ("p50", "p95", "p99")]
        figures += [share(row.get("budget_share"))] if budgeted else []
        lines.append(f"| {row['title']} | {' | '.join(figures)} | {count(row['samples'])} |")
    return [*lines, "", "</details>"]


def _calibration(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return [calibration.NONE]
    delays = calibration.injected(found)
    complaints = [f"- {_text(complaint)}" for complaint in calibration.complaints(found)]
    lines = [calibration.summary(found), *(["", *complaints] if complaints else [])]
    if delays:
        lines += ["", "Error of the delays that were injected, over the floor of each path:", ""]
        lines += [f"| path | floor | {' | '.join(delays)} | |", f"|---|--:|{'--:|' * len(delays)}---|"]
    lines += [
        f"| {_text(row['title'])} (`{row['place']}`) | {row['floor']} "
        f"| {' | '.join(one['error'] or '–' for one in row['errors'])} | {_badge(row['verdict'])} |"
        for row in calibration.paths(found)
        if delays
    ]
    lines += ["", "| losses | injected | reported | |", "|---|--:|--:|---|"]
    lines += [
        f"| {_text(row['title'])} | {row['injected']} | {row['reported']} | {_badge(row['verdict'])} |"
        for row in calibration.losses(found)
    ]
    return lines


def _reasons(report: Mapping[str, Any]) -> list[str]:
    found = [
        f"- **{_text(row['title'])}**: {_badge(row['verdict'])}. {_text(reason(row))}"
        for row in _not_passed(report["objectives"])
    ]
    for row in _not_passed(report["integrity"]):
        found.append(f"- **{_text(row['title'])}**: {_badge(row['verdict'])}. {_text(row['explanation'])}")
        found += [f"  - not judged: {_text(doubt)}" for doubt in row["doubts"]]
        found += [f"  - {_example(example)}" for example in row["examples"][:3]]
    found += [
        f"- **{_text(row['title'])}**: {_badge(row['verdict'])}. {_text(row['explanation'])}"
        for row in _not_passed(report["measurement"]["checks"])
    ]
    for fault in faults_of_load(report):
        for row in not_met(fault):
            why = f"{row['name']}: {expected(row)}"
            found.append(f"- **{_text(fault['name'])}**: {_badge(row['verdict'])}. {_text(why)}")
            found += [f"  - {_text(example(entry))}" for entry in (row.get("examples") or [])[:3]]
    for row in scenarios_not_passed(report):
        found += _scenario(row)
    return [*found, ""] if found else []


def _scenario(row: Mapping[str, Any]) -> list[str]:
    """What became of a scenario, the first lines of what it said, and how to run it again."""
    said = [line for line in message(row).splitlines() if line.strip()]
    found = [f"- **`{_text(row['id'])}`**: {_badge(row['outcome'])}."]
    found += [f"  - {_text(line.strip())}" for line in said[:_MESSAGE_LINES]]
    if len(said) > _MESSAGE_LINES:
        found.append(f"  - and {len(said) - _MESSAGE_LINES} lines more")
    if row["command"]:
        found.append(f"  - again: `{_text(row['command'])}`")
    return found


def _not_passed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["verdict"] != "pass"]


def _badge(verdict: str) -> str:
    return _BADGES.get(verdict, f"⚠️ {verdict}")


def _example(example: Mapping[str, Any]) -> str:
    place = ", ".join(
        f"{key} `{_text(str(example[key]))}`" for key in ("game", "event", "actor") if key in example
    )
    return f"{place}: {_text(str(example['detail']))}" if place else _text(str(example["detail"]))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _text(text: str) -> str:
    """Text that stays in its cell and is not markup."""
    return (
        text.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        .replace("\n", " ")
        .replace("`", "'")
    )
