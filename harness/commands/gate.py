"""`stormwatch gate`: exit by the verdict of one report or several."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option, print_json
from harness.commands._policy import named_changes, policy_from

if TYPE_CHECKING:
    from harness.documents.report import Report
    from harness.documents.verdict import Verdict
    from harness.report.gate import Row


@click.command(name="gate")
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path), metavar="[REPORT]...")
@click.option(
    "--sla",
    type=click.Path(path_type=Path),
    help="Judge the report's figures by the thresholds of this policy instead of its own.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one threshold, and leave the others: broadcast_latency.threshold=1s.",
)
@click.option(
    "--allow-inconclusive",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Let this objective, integrity row, measurement check or fault of the load be inconclusive. "
    "A fail still fails.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    reports: tuple[Path, ...],
    sla: Path | None,
    changes: tuple[str, ...],
    allowed: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Exit by the verdict of REPORT: report.json or its folder (default: reports/latest).

    Reads nothing but the report, derives every verdict again from its figures, and prints the rows
    that are no pass. Of several reports the worst decides.

    A report that contradicts itself was edited and is refused. Thresholds that were edited in it can't be
    told from those it was made with: name the policy with --sla where that matters. Then the thresholds are
    those of the file, with the changes of the profile that was run. What needs more than the report's
    figures (tolerances, recovery, limits of the measurement, another quantile, confidence or ceiling) is
    refused: `stormwatch report --sla/--set` judges the record again.

    Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no readable report (or an edited one).
    """
    from harness.files import DocumentError
    from harness.report import gate

    named = named_changes(changes)
    if sla:
        policy_from(sla, changes)  # what is wrong with it is wrong usage, whatever the reports say
    codes: list[int] = []
    told: list[dict[str, Any]] = []
    known: set[str] = set()
    read = 0
    for path in reports or (Path("reports/latest"),):
        try:
            report = gate.read_report(path)
            if sla or named:
                report = _judged_again(report, sla, named, changes)
        except DocumentError as error:
            click.echo(f"Error: {error}", err=True)
            codes.append(gate.UNREADABLE)
            continue
        read += 1
        known |= gate.names(report)
        rows = gate.rows_not_passed(report, allowed) + gate.faults_not_passed(report, allowed)
        verdict = gate.gate_verdict(rows)
        told.append({"run": report.run.id, "verdict": verdict, "rows": rows})
        if not as_json:
            _tell(report.run.id, verdict, rows)
        codes.append(gate.EXIT_CODES[verdict])
    if read and (unknown := set(allowed) - known):
        raise click.UsageError(
            f"--allow-inconclusive {', '.join(sorted(unknown))}: no such row; "
            f"the reports have {', '.join(sorted(known))}"
        )
    if as_json:
        print_json(told)
    # Unreadable evidence is worse than a fail: nobody knows what it says.
    context.exit(max(codes, key=[0, 3, 1, 4].index))


def _tell(run: str, verdict: Verdict, rows: Iterable[Row]) -> None:
    from harness.output import one_line

    click.echo(f"{run}: {verdict}")
    for row in rows:
        mark = "allowed" if row.allowed else row.verdict
        click.echo(f"  {mark:<12} {row.section} {row.name}: {one_line(row.reason)}")


def _judged_again(
    report: Report, sla: Path | None, named: dict[str, str], changes: tuple[str, ...]
) -> Report:
    from harness.report.gate import change_thresholds, judge_again
    from harness.sla.policy import PolicyError

    if sla:
        return judge_again(report, policy_from(sla, changes, profile=report.run.profile))
    with said_as(click.UsageError, PolicyError):
        return change_thresholds(report, named)
