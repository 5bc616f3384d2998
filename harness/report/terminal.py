"""The summary of a report in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.report.gate import rows_not_passed
from harness.report.words import MARKS, MEANING, count, interval, measured, target

_STYLES: Final[Mapping[str, str]] = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def print_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the verdict, every objective and integrity row, and why each that is no pass is not one."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "objective", "promised", "measured", "interval"):
        table.add_column(heading, overflow="fold")
    table.add_column("samples", justify="right")
    for row in report["objectives"]:
        table.add_row(
            _mark(row["verdict"]),
            row["title"],
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
        console.print(
            f"[{_STYLES[item.verdict]}]{MARKS[item.verdict]} {escape(item.title)}[/]: {escape(item.reason)}"
        )
    verdict = report["verdict"]
    console.print(f"[{_STYLES[verdict]}]{verdict.upper()}[/]  {MEANING[verdict]}")


def _mark(verdict: str) -> Text:
    return Text(MARKS[verdict], style=_STYLES[verdict])
