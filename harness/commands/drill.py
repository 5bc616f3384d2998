"""`stormwatch drill`: practise what a team hopes never to need, timed and judged."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._progress import interruptible
from harness.commands._reports import reports_option
from harness.commands._system import system_option, use_system
from harness.output import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.documents.report import Report
    from harness.drills.practice import Exercise

_EXIT_CODES: Final = (
    "Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no report could be made, 130 given up."
)
_sla_option: Final = click.option(
    "--sla", type=click.Path(dir_okay=False, path_type=Path), help="Policy to judge by, as for `run`."
)
_json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print the report as JSON instead."
)
_games_option: Final = click.option(
    "--games", type=click.IntRange(1, 1000), default=12, show_default=True, help="Games at a time."
)
_players_option: Final = click.option(
    "--players", type=click.IntRange(1, 100), default=2, show_default=True, help="Players a game."
)


@click.group(name="drill")
def command() -> None:
    """Practise what a team hopes never to need, on a local stack of its own."""


@command.command(name="recovery", epilog=_EXIT_CODES)
@_games_option
@_players_option
@click.option(
    "--archive-every",
    "archive_s",
    type=click.IntRange(1, 3600),
    default=2,
    show_default=True,
    help="Seconds from one archived piece of the WAL to the next: what a loss may cost.",
)
@_sla_option
@reports_option("Where the drill's folder is made.")
@system_option
@_json_option
def recovery(
    games: int,
    players: int,
    archive_s: int,
    sla: Path | None,
    reports: Path,
    system: str | None,
    as_json: bool,
) -> None:
    """Lose the database in the middle of play, and bring it back from a backup.

    Games are played on a local stack whose Postgres archives its WAL. A base backup is taken; then the server
    is killed, its data are removed, and both are brought back from the backup and the archive. Judged are the
    recovery time and the recovery point (`recovery_time`, `data_loss` in [recovery] of the policy), and that
    nothing is moved early or twice afterwards, all that was committed is heard, and what each player heard
    last is where the game is. Moves that the backup lacks are named as lost with it.
    """
    from harness.drills import recover
    from harness.drills.practice import Exercise

    use_system(system)
    play = partial(recover, games=games, players=players, archive_s=archive_s)
    exercise = Exercise("The database is lost in mid-run and comes back from its backup.", play)
    _carry_out("recovery", {"recovery": exercise}, sla, reports, as_json=as_json)


def _carry_out(
    drill: str, exercises: Mapping[str, Exercise], sla: Path | None, reports: Path, *, as_json: bool
) -> None:
    from harness.drills import practise
    from harness.files import DocumentError
    from harness.history import create_run
    from harness.history.command import command_line
    from harness.report.gate import EXIT_CODES
    from harness.sla.policy import PolicyError, load_policy
    from harness.system import find_system
    from harness.target import forget_deployment

    line = command_line(["stormwatch", "drill", *sys.argv[2:]])
    with said_as(click.UsageError, PolicyError, DocumentError):
        policy = load_policy(sla)
        run = create_run(
            reports.absolute(), f"drill-{drill}", expects_load=False, expects_scenarios=True, command=line
        )
    forget_deployment()  # what is practised on is a local stack
    try:
        with interruptible():
            report = practise(run, policy, find_system(), exercises, line)
    except KeyboardInterrupt:
        click.echo(f"given up; what was recorded lies in {run.path}", err=True)
        sys.exit(Exit.INTERRUPTED)
    if as_json:
        click.echo(report.text())
    else:
        _print(report)
        click.echo(f"report: {os.path.relpath(run.path / 'report.html')}")
    sys.exit(EXIT_CODES[report.verdict])


def _print(report: Report) -> None:
    from rich.text import Text

    from harness import output
    from harness.report.words import MARKS, STYLES

    console = output.console()
    for fault in report.faults:
        for row in fault.expectations:
            line = Text(f"{MARKS[row.verdict]}  {row.name}", style=STYLES[row.verdict])
            if row.measured is not None:
                line.append(f": {row.measured:.4g} {row.unit}".rstrip(), style="default")
            if row.threshold and row.unit == "s":
                line.append(f" (limit {row.threshold:g} s)", style="default")
            if row.explanation:
                line.append(f"; {row.explanation}", style="dim")
            console.print(line)
    for scenario in report.scenarios:
        if scenario.outcome != "passed":
            console.print(Text(f"{scenario.outcome}: {scenario.message}"))
