"""`stormwatch gate`: exit by the verdict of one report or several."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="gate")
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path), metavar="[REPORT]...")
@click.option(
    "--sla",
    type=click.Path(path_type=Path),
    help="Judge the report's figures by the thresholds of this policy.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one threshold: broadcast_latency.threshold=1s.",
)
@click.option(
    "--allow-inconclusive",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Let this objective, integrity row or measurement check be inconclusive. A fail still fails.",
)
@click.pass_context
def command(
    context: click.Context,
    reports: tuple[Path, ...],
    sla: Path | None,
    changes: tuple[str, ...],
    allowed: tuple[str, ...],
) -> None:
    """Exit by the verdict of REPORT: report.json or its folder (default: reports/latest).

    Reads nothing but the report, derives every verdict again from its figures, and prints the rows
    that are no pass. Of several reports the worst decides.

    Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no readable report (or an edited one).
    """
    from harness.commands._policy import policy_from
    from harness.report import gate

    policy = policy_from(sla, changes) if sla or changes else None
    codes: list[int] = []
    known: set[str] = set()
    read = 0
    for path in reports or (Path("reports/latest"),):
        try:
            report = gate.read_report(path)
            if policy is not None:
                gate.judge_again(report, policy)
        except gate.ReportError as error:
            click.echo(f"Error: {error}", err=True)
            codes.append(gate.UNREADABLE)
            continue
        read += 1
        known |= gate.names(report)
        rows = gate.rows_not_passed(report, allowed)
        verdict = gate.gate_verdict(rows)
        click.echo(f"{report['run']['id']}: {verdict}")
        for row in rows:
            mark = "allowed" if row.allowed else row.verdict
            click.echo(f"  {mark:<12} {row.section} {row.name}: {row.reason}")
        codes.append(gate.EXIT_CODES[verdict])
    if read and (unknown := set(allowed) - known):
        raise click.UsageError(
            f"--allow-inconclusive {', '.join(sorted(unknown))}: no such row; "
            f"the reports have {', '.join(sorted(known))}"
        )
    # Unreadable evidence is worse than a fail: nobody knows what it says.
    context.exit(max(codes, key=[0, 3, 1, 4].index))
