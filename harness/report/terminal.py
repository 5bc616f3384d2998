"""The summary of a report in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import output
from harness.report.gate import rows_not_passed
from harness.report.words import (
    MARKS,
    MEANING,
    count,
    expected,
    faults_of_load,
    interval,
    measured,
    message,
    not_met,
    scenarios_not_passed,
    target,
)

_STYLES: Final[Mapping[str, str]] = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "not applicable": "dim",
}

#: How outcomes of scenarios look; the others like what is inconclusive.
_VERDICTS: Final[Mapping[str, str]] = {"failed": "fail", "error": "fail"}


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the verdict, every objective and integrity row, and why each that is no pass is not one."""
    console = console or output.console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "objective", "promised", "measured", "interval"):
        table.add_column(heading, overflow="fold")
    table.add_column("samples", justify="right")
    for row in report["objectives"]:
        table.add_row(
            _mark(row["verdict"]),
            Text(row["title"]),
            target(row),
            measured(row),
            interval(row),
            count(row["samples"]),
        )
    console.print(table)
    console.print()
    line = Text("integrity  ")
    for row in report["integrity"]:
        line.append(f"{MARKS[row['verdict']]} ", style=_STYLES[row["verdict"]])
        line.append(f"{row['title'].lower()} {row['violations']}   ")
    console.print(line)
    if report["scenarios"]:
        passed = sum(row["outcome"] == "passed" for row in report["scenarios"])
        console.print(f"scenarios  {passed} of {len(report['scenarios'])} passed")
    console.print()
    for item in rows_not_passed(report):
        console.print(_reason(item.verdict, item.title, item.reason))
    for fault in faults_of_load(report):
        for row in not_met(fault):
            console.print(_reason(row["verdict"], fault["name"], f"{row['name']}: {expected(row)}"))
    for row in scenarios_not_passed(report):
        said = message(row).partition("\n")[0]
        again = f"\n  again: {row['command']}" if row["command"] else ""
        console.print(
            _reason(
                _VERDICTS.get(row["outcome"], "inconclusive"), row["id"], f"{said or row['outcome']}{again}"
            )
        )
    verdict = report["verdict"]
    console.print(Text.assemble((verdict.upper(), _STYLES[verdict]), f"  {MEANING[verdict]}"))


def _reason(verdict: str, title: str, reason: str) -> Text:
    verdict = verdict if verdict in _STYLES else "inconclusive"
    return Text.assemble((f"{MARKS[verdict]} {title}", _STYLES[verdict]), f": {reason}")


def _mark(verdict: str) -> Text:
    return Text(MARKS[verdict], style=_STYLES[verdict])
