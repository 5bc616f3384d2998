"""Markdown of a report: for the summary of a CI job and for a pull request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.output import one_line
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
    "not applicable": "➖ not applicable",
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
        _row(
            text(row["title"]),
            text(target(row)),
            text(measured(row)),
            text(interval(row)),
            count(row["samples"]),
            _badge(row["verdict"]),
        )
        for row in report["objectives"]
    ]
    lines += ["", "| integrity | violations | looked at | |", "|---|--:|--:|---|"]
    lines += [
        _row(text(row["title"]), count(row["violations"]), count(row["looked_at"]), _badge(row["verdict"]))
        for row in report["integrity"]
    ]
    lines += _scenarios(report["scenarios"])
    lines += _stages(report["stages"])
    lines += ["", "<details><summary>Can the measurement be trusted?</summary>", ""]
    lines += ["| check | measured | |", "|---|---|---|"]
    lines += [
        _row(text(row["title"]), text(limited(row)), _badge(row["verdict"]))
        for row in report["measurement"]["checks"]
    ]
    if notes := report.get("notes"):
        lines += ["", *(f"- {text(note)}" for note in notes)]
    lines += ["", *_calibration(report["measurement"].get("calibration"))]
    lines += [
        "",
        "</details>",
        "",
        f"Run {code(run['id'])}, profile {text(run.get('profile') or 'none')}, "
        f"seed {text(str(run['seed']))}.",
    ]
    if run.get("command"):
        lines.append(f"Again: {code(run['command'])}")
    return "\n".join(lines) + "\n"


def _scenarios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    passed = sum(row["outcome"] == "passed" for row in rows)
    lines = ["", f"<details><summary>Failure scenarios: {passed} of {len(rows)} passed</summary>", ""]
    lines += ["| scenario | seconds | |", "|---|--:|---|"]
    lines += [_row(_code_cell(row["id"]), _seconds(row["seconds"]), _badge(row["outcome"])) for row in rows]
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
        lines.append(_row(text(row["title"]), *map(text, figures), count(row["samples"])))
    return [*lines, "", "</details>"]


def _calibration(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return [calibration.NONE]
    delays = calibration.injected(found)
    complaints = [f"- {text(complaint)}" for complaint in calibration.complaints(found)]
    lines = [text(calibration.summary(found)), *(["", *complaints] if complaints else [])]
    if delays:
        lines += ["", "Error of the delays that were injected, over the floor of each path:", ""]
        lines += [f"| path | floor | {' | '.join(delays)} | |", f"|---|--:|{'--:|' * len(delays)}---|"]
    lines += [
        _row(
            f"{text(row['title'])} ({_code_cell(row['place'])})",
            row["floor"],
            *(one["error"] or "–" for one in row["errors"]),
            _badge(row["verdict"]),
        )
        for row in calibration.paths(found)
        if delays
    ]
    lines += ["", "| losses | injected | reported | |", "|---|--:|--:|---|"]
    lines += [
        _row(text(row["title"]), row["injected"], row["reported"], _badge(row["verdict"]))
        for row in calibration.losses(found)
    ]
    return lines


def _reasons(report: Mapping[str, Any]) -> list[str]:
    found = [
        f"- **{text(row['title'])}**: {_badge(row['verdict'])}. {text(reason(row))}"
        for row in _not_passed(report["objectives"])
    ]
    for row in _not_passed(report["integrity"]):
        found.append(f"- **{text(row['title'])}**: {_badge(row['verdict'])}. {text(row['explanation'])}")
        found += [f"  - not judged: {text(doubt)}" for doubt in row["doubts"]]
        found += [f"  - {_example(example)}" for example in row["examples"][:3]]
    found += [
        f"- **{text(row['title'])}**: {_badge(row['verdict'])}. {text(row['explanation'])}"
        for row in _not_passed(report["measurement"]["checks"])
    ]
    for fault in faults_of_load(report):
        for row in not_met(fault):
            why = f"{row['name']}: {expected(row)}"
            found.append(f"- **{text(fault['name'])}**: {_badge(row['verdict'])}. {text(why)}")
            found += [f"  - {text(example(entry))}" for entry in (row.get("examples") or [])[:3]]
    for row in scenarios_not_passed(report):
        found += _scenario(row)
    return [*found, ""] if found else []


def _scenario(row: Mapping[str, Any]) -> list[str]:
    """What became of a scenario, the first lines of what it said, and how to run it again."""
    said = [line for line in message(row).splitlines() if line.strip()]
    found = [f"- **{code(row['id'])}**: {_badge(row['outcome'])}."]
    found += [f"  - {text(line.strip())}" for line in said[:_MESSAGE_LINES]]
    if len(said) > _MESSAGE_LINES:
        found.append(f"  - and {len(said) - _MESSAGE_LINES} lines more")
    if row["command"]:
        found.append(f"  - again: {code(row['command'])}")
    return found


def _not_passed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["verdict"] != "pass"]


def _badge(verdict: str) -> str:
    return _BADGES.get(verdict, f"⚠️ {text(verdict)}")


def _example(example: Mapping[str, Any]) -> str:
    place = ", ".join(
        f"{key} {code(str(example[key]))}" for key in ("game", "event", "actor") if key in example
    )
    return f"{place}: {text(str(example['detail']))}" if place else text(str(example["detail"]))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _row(*cells: str) -> str:
    """A row of a table of ``cells`` in Markdown."""
    return f"| {' | '.join(cells)} |"


def text(words: str) -> str:
    """Return ``words`` as Markdown shows them: on one line, in their cell, and never as markup.

    Links are not made of them either, which GitHub does of bare addresses and mentions: an invisible word
    joiner keeps those apart.
    """
    found = _MARKUP.sub(r"\\\1", one_line(words))
    found = _ENTITY.sub("&amp;", found)
    found = _TAG.sub("&lt;", found)
    found = _LINKED.sub(lambda match: f"{match[0]}\u2060", found)
    return _BEGINS_BLOCK.sub(r"\1\\\2", found)


def code(words: str) -> str:
    """Return ``words`` as code, in which nothing is markup; outside of tables."""
    words = one_line(words)
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    padding = " " if words.startswith("`") or words.endswith("`") or not words else ""
    return f"{fence}{padding}{words}{padding}{fence}"


def _code_cell(words: str) -> str:
    """Words as code in a cell, which a bar would end even there."""
    return code(words.replace("|", "¦"))


#: Signs that are markup wherever they stand.
_MARKUP: Final = re.compile(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))")
#: What begins an entity, and a tag or an address in pointed brackets.
_ENTITY: Final = re.compile(r"&(?=[#\w])")
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
#: What addresses and mentions have within them or begin with.
_LINKED: Final = re.compile(
    r":(?=//)|@|#(?=\d)|\bwww(?=\.)|\b(?:mailto|javascript|data|xmpp)(?=:)", re.IGNORECASE
)
#: What begins a heading or a list where it stands first.
_BEGINS_BLOCK: Final = re.compile(r"^(\d*)([-#+=.)])(?=[-#=\s]|$)")
