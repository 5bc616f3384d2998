"""The summary of a report in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import output
from harness.documents.report import Report
from harness.documents.verdict import RowVerdict
from harness.report.gate import rows_not_passed
from harness.report.words import (
    MARKS,
    MEANING,
    STYLES,
    count,
    expected,
    interval,
    measured,
    message,
    target,
)

#: How outcomes of scenarios look; the others like what is inconclusive.
_VERDICTS: Final[dict[str, RowVerdict]] = {"failed": "fail"}


def print_summary(report: Report, console: Console | None = None) -> None:
    """Print the verdict, every objective and integrity row, and why each that is no pass is not one."""
    console = console or output.console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "objective", "promised", "measured", "interval"):
        table.add_column(heading, overflow="fold")
    table.add_column("samples", justify="right")
    for row in report.objectives:
        table.add_row(
            _mark(row.verdict),
            Text(row.title),
            target(row),
            measured(row),
            interval(row),
            count(row.samples),
        )
    console.print(table)
    console.print()
    line = Text("integrity  ")
    for rule in report.integrity:
        line.append(f"{MARKS[rule.verdict]} ", style=STYLES[rule.verdict])
        line.append(f"{rule.title.lower()} {rule.violations}   ")
    console.print(line)
    if report.scenarios:
        passed = sum(scenario.outcome == "passed" for scenario in report.scenarios)
        skipped = sum(scenario.outcome == "skipped" for scenario in report.scenarios)
        told = f"{passed} of {len(report.scenarios) - skipped} passed"
        console.print(f"scenarios  {told}" + (f", {skipped} skipped" if skipped else ""))
    console.print()
    for reason in _reasons(report):
        console.print(reason, soft_wrap=True)
    if report.run.left_behind:
        console.print(Text(report.run.left_behind, style=STYLES["fail"]))
    verdict = report.verdict
    console.print(Text.assemble((verdict.upper(), STYLES[verdict]), f"  {MEANING[verdict]}"))


def _reasons(report: Report) -> Iterator[Text]:
    """Why each row that is no pass is not one."""
    for row in rows_not_passed(report):
        yield _reason(row.verdict, row.title, row.reason)
    for fault in report.faults_of_load:
        for one in fault.unmet:
            yield _reason(one.verdict, fault.name, f"{one.name}: {expected(one)}")
    skipped = Counter[str]()
    for scenario in report.scenarios_not_passed:
        if scenario.outcome == "skipped":
            # The fault in front is another one each time, the reason is the system's.
            skipped[message(scenario).partition("\n")[0].rpartition(": ")[2]] += 1
            continue
        said = message(scenario).partition("\n")[0]
        again = f"\n  again: {scenario.command}" if scenario.command else ""
        verdict = _VERDICTS.get(scenario.outcome, "inconclusive")
        yield _reason(verdict, scenario.id, f"{said or scenario.outcome}{again}")
    for why, times in skipped.most_common():
        yield _reason("inconclusive", f"{times} skipped", why)


def _reason(verdict: RowVerdict, title: str, reason: str) -> Text:
    return Text.assemble((f"{MARKS[verdict]} {title}", STYLES[verdict]), f": {reason}")


def _mark(verdict: RowVerdict) -> Text:
    return Text(MARKS[verdict], style=STYLES[verdict])
