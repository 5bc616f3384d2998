"""Markdown of a report: for the summary of a CI job and for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from harness.documents.base import Example
from harness.documents.report import Report
from harness.documents.rows import DriftRow, ScenarioRow
from harness.documents.shown import CalibrationShown, Seen, Stage, ValidationShown
from harness.documents.words import Words
from harness.output import one_line
from harness.report import calibration, validation
from harness.report.words import (
    MEANING,
    count,
    example,
    expected,
    grows,
    growth_interval,
    growth_reason,
    interval,
    limited,
    measured,
    message,
    place,
    reason,
    share,
    short_seconds,
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
#: Examples that are shown of what broke a rule.
_EXAMPLES: Final = 3


def render_markdown(report: Report) -> str:
    """Return the Markdown view of a report: the verdict, every row, and why where it is not a pass."""
    run = report.run
    lines = [f"## Stormwatch: {_badge(report.verdict)}", "", MEANING[report.verdict], ""]
    lines += [f"⚠️ {text(run.left_behind)}", ""] if run.left_behind else []
    lines += _reasons(report)
    lines += table(
        "objective|promised|measured|interval|samples:|",
        [
            (
                *map(text, (row.title, target(row), measured(row), interval(row))),
                count(row.samples),
                _badge(row.verdict),
            )
            for row in report.objectives
        ],
    )
    integrity = [
        (text(row.title), count(row.violations), count(row.looked_at), _badge(row.verdict))
        for row in report.integrity
    ]
    lines += ["", *table("integrity|violations:|looked at:|", integrity)]
    lines += _drift(report.drift) if report.drift else []
    lines += _scenarios(report.scenarios) if report.scenarios else []
    lines += _stages(report.stages) if report.stages else []
    lines += _sight(report.sight) if report.sight else []
    lines += _folded("Can the measurement be trusted?", _measurement(report))
    lines += [
        "",
        f"Run {code(run.id)}, profile {text(run.profile or 'none')}, seed {text(str(run.seed))}.",
        *([f"Again: {code(run.command)}"] if run.command else []),
    ]
    return "\n".join(lines) + "\n"


def _scenarios(rows: Sequence[ScenarioRow]) -> list[str]:
    passed = sum(row.outcome == "passed" for row in rows)
    cells = [
        (_code_cell(row.id), "" if row.seconds is None else f"{row.seconds:.1f}", _badge(row.outcome))
        for row in rows
    ]
    title = f"Failure scenarios: {passed} of {len(rows)} passed"
    return _folded(title, table("scenario|seconds:|", cells))


def _drift(rows: Sequence[DriftRow]) -> list[str]:
    cells = [
        (*map(text, (row.title, grows(row), growth_interval(row), growth_reason(row))), _badge(row.verdict))
        for row in rows
    ]
    return _folded("What grows while it goes on", table("series|grows|interval|why|", cells))


def _stages(rows: Sequence[Stage]) -> list[str]:
    cells = [
        (
            text(row.title),
            *(text(format_quantity(value, "s")) for value in (row.p50, row.p95, row.p99)),
            share(row.budget_share),
            count(row.samples),
        )
        for row in rows
    ]
    headings = "stage|median:|p95:|p99:|p95 of budget:|samples:"
    return _folded("Where the time of a broadcast goes", table(headings, cells))


def _sight(rows: Sequence[Seen]) -> list[str]:
    cells = [(text(row.part), row.state, text(row.what)) for row in rows]
    return _folded("What can be seen of the system", table("part||", cells))


def _measurement(report: Report) -> list[str]:
    checks = [(text(row.title), text(limited(row)), _badge(row.verdict)) for row in report.measurement.checks]
    notes = ["", *(f"- {text(note)}" for note in report.notes)] if report.notes else []
    found = report.measurement.calibration
    return [
        *table("check|measured|", checks),
        *notes,
        "",
        *([calibration.NONE] if found is None else _calibration(found)),
        "",
        *_validation(report.measurement.validation),
    ]


def _validation(found: ValidationShown | None) -> list[str]:
    if found is None:
        return [validation.NONE]
    complaints = [f"- {text(complaint)}" for complaint in validation.complaints(found)]
    return [text(validation.summary(found)), *(["", *complaints] if complaints else [])]


def _calibration(found: CalibrationShown) -> list[str]:
    lines = [text(calibration.summary(found))]
    if complaints := calibration.complaints(found):
        lines += ["", *(f"- {text(complaint)}" for complaint in complaints)]
    if delays := calibration.delays(found):
        paths = [
            (
                f"{text(path.title)} ({_code_cell(path.place)})",
                path.floor,
                *(calibration.signed(row.error) if row else "–" for row in path.delays),
                _badge(path.verdict),
            )
            for path in calibration.paths(found)
        ]
        headings = "|".join(f"{short_seconds(delay)}:" for delay in delays)
        lines += ["", "Error of the delays that were injected, over the floor of each path:", ""]
        lines += table(f"path|floor:|{headings}|", paths)
    losses = [
        (text(row.title), figures["injected"], figures["reported"], _badge(row.verdict))
        for row in calibration.losses(found)
        for figures in [calibration.figures(row)]
    ]
    return [*lines, "", *table("losses|injected:|reported:|", losses)]


# --- why it is no pass ---------------------------------------------------------------------------------


def _reasons(report: Report) -> list[str]:
    found, system = [], report.run.words
    for objective in report.objectives:
        found += _reason(objective.title, objective.verdict, reason(objective))
    for rule in report.integrity:
        doubts = [f"not judged: {text(doubt)}" for doubt in rule.doubts]
        doubts += [f"not applicable: {text(rule.absent)}"] if rule.absent else []
        broke = _examples(rule.examples, system)
        found += _reason(rule.title, rule.verdict, rule.explanation, [*doubts, *broke])
    for check in report.measurement.checks:
        found += _reason(check.title, check.verdict, check.explanation)
    for row in report.drift:
        if row.verdict == "fail":
            found += _reason(row.title, row.verdict, growth_reason(row))
    for fault in report.faults_of_load:
        for one in fault.unmet:
            broke = [text(example(entry, system)) for entry in one.examples[:_EXAMPLES]]
            found += _reason(fault.name, one.verdict, f"{one.name}: {expected(one)}", broke)
    for scenario in report.scenarios_not_passed:
        found += _scenario(scenario)
    return [*found, ""] if found else []


def _reason(title: str, verdict: str, why: str, more: Iterable[str] = ()) -> list[str]:
    if verdict == "pass":
        return []
    return [f"- **{text(title)}**: {_badge(verdict)}. {text(why)}", *(f"  - {line}" for line in more)]


def _examples(examples: Sequence[Example], system: Words) -> list[str]:
    found = []
    for entry in examples[:_EXAMPLES]:
        names = [f"{key} {code(name)}" for key, name in place(entry, system).items()]
        found.append(": ".join(filter(None, (", ".join(names), text(str(entry["detail"]))))))
    return found


def _scenario(row: ScenarioRow) -> list[str]:
    """What became of a scenario, the first lines of what it said, and how to run it again."""
    said = [line for line in message(row).splitlines() if line.strip()]
    found = [f"- **{code(row.id)}**: {_badge(row.outcome)}."]
    found += [f"  - {text(line.strip())}" for line in said[:_MESSAGE_LINES]]
    if len(said) > _MESSAGE_LINES:
        found.append(f"  - and {len(said) - _MESSAGE_LINES} lines more")
    if row.command:
        found.append(f"  - again: {code(row.command)}")
    return found


# --- Markdown ------------------------------------------------------------------------------------------


def _badge(verdict: str) -> str:
    return _BADGES.get(verdict, f"⚠️ {verdict}")


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    """Return lines that show when their title is opened."""
    return ["", f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def table(headings: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of cells that are Markdown; headings are ``left|right:``."""
    columns = headings.split("|")
    head = [f"| {' | '.join(column.rstrip(':') for column in columns)} |".replace("  ", " ")]
    rule = [f"|{'|'.join('--:' if column.endswith(':') else '---' for column in columns)}|"]
    return head + rule + [f"| {' | '.join(row)} |" for row in rows]


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
_MARKUP: Final = re.compile(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|(?<=_)_|_(?=_))")
#: What begins an entity, and a tag or an address in pointed brackets.
_ENTITY: Final = re.compile(r"&(?=[#\w])")
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
#: What addresses and mentions have within them or begin with.
_LINKED: Final = re.compile(
    r":(?=//)|@|#(?=\d)|\bwww(?=\.)|\b(?:mailto|javascript|data|xmpp)(?=:)", re.IGNORECASE
)
#: What begins a heading or a list where it stands first.
_BEGINS_BLOCK: Final = re.compile(r"^(\d*)([-#+=.)])(?=[-#=\s]|$)")
