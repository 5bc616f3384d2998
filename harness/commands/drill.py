"""`stormwatch drill`: practise what a team hopes never to need, timed and judged."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option
from harness.commands._notify import notify_option, tell_of
from harness.commands._progress import interruptible
from harness.commands._reports import reports_option
from harness.commands._system import local_option, system_option, use_system
from harness.output import Exit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.documents.report import Report
    from harness.drills.practice import Exercise
    from harness.experiment import Expectation
    from harness.report.notices import NoticeSettings

_EXIT_CODES: Final = (
    "Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no report could be made, 130 given up."
)
#: Options of every drill, in the order of the help.
_OPTIONS: Final = (
    click.option("--games", type=click.IntRange(1, 1000), default=12, show_default=True, help="At a time."),
    click.option("--players", type=click.IntRange(1, 100), default=2, show_default=True, help="A game."),
    click.option(
        "--sla",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Policy to judge by, as for `stormwatch run`.",
    ),
    reports_option("Where the drill's folder is made."),
    local_option,
    system_option,
    json_option,
    notify_option,
)


def _drill_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group(name="drill")
def command() -> None:
    """Practise what a team hopes never to need, timed and judged.

    On a local stack, or on the deployment that the environment names, with consent to load and break it. What
    can't be practised there is named, and not judged.
    """


@command.command(name="recovery", epilog=_EXIT_CODES)
@click.option(
    "--archive-every",
    "archive_s",
    type=click.IntRange(1, 3600),
    default=2,
    show_default=True,
    help="Seconds from one archived piece of the WAL to the next: what a loss may cost.",
)
@_drill_options
def recovery(archive_s: int, games: int, players: int, **options: Any) -> None:
    """Lose the database in the middle of play, and bring it back from a backup.

    Games are played on a local stack whose Postgres archives its WAL. A base backup is taken; then the server
    is killed, its data are removed, and both are brought back from the backup and the archive. Judged are the
    recovery time and the recovery point (`recovery_time`, `data_loss` in [recovery] of the policy), and that
    nothing is moved early or twice afterwards, all that was committed is heard, and what each player heard
    last is where the game is. Moves that the backup lacks are named as lost with it.
    """
    from harness.drills.practice import Exercise
    from harness.drills.recovery import SHOWN, recover

    use_system(options["system"])
    play = partial(recover, games=games, players=players, archive_s=archive_s)
    exercise = Exercise("The database is lost in mid-run and comes back from its backup.", play)
    _carry_out("recovery", {"recovery": exercise}, SHOWN, **options)


@command.command(name="rollback", epilog=_EXIT_CODES)
@click.option(
    "--only", "names", multiple=True, metavar="WAY", help="This way alone; may be given several times."
)
@click.option(
    "--previous",
    default="",
    metavar="COMMAND",
    help="Starts the previous version, on the address that the service is told. [default: the same version]",
)
@_drill_options
def rollback(names: tuple[str, ...], previous: str, games: int, players: int, **options: Any) -> None:
    """Take a release back in each way there is, while games are played, and roll it forward again.

    The schedule is turned off, the previous version is started in the service's place, and what the system's
    file names (`rollbacks` of its levers) is done: flags off, the trigger dropped, all of it. Each is timed,
    against `rollback` in [recovery] of the policy, and what players noticed of it is told.
    """
    from harness.drills.rollback import SHOWN, ways_of
    from harness.system import find_system

    use_system(options["system"])
    try:
        words = shlex.split(previous)
    except ValueError as error:
        raise click.UsageError(f"--previous {previous!r}: {error}") from error
    ways = ways_of(find_system(), words, games=games, players=players)
    if strange := sorted(set(names) - set(ways)):
        raise click.UsageError(f"--only {strange[0]}: no such way; there are {', '.join(ways)}")
    chosen = {name: way for name, way in ways.items() if not names or name in names}
    _carry_out("rollback", chosen, SHOWN, **options)


def _carry_out(
    drill: str,
    exercises: Mapping[str, Exercise],
    shown: Collection[Expectation],
    *,
    sla: Path | None,
    reports: Path,
    local: bool,
    as_json: bool,
    notices: NoticeSettings,
    **_: object,
) -> None:
    from harness.drills.practice import practise
    from harness.experiment.setup import deployment
    from harness.files import DocumentError
    from harness.history import create_run
    from harness.history.command import command_line
    from harness.report.gate import EXIT_CODES
    from harness.sla.policy import PolicyError, load_policy
    from harness.system import find_system
    from harness.target import ConsentError, TargetError, forget_deployment

    if local:
        forget_deployment()
    # General options may stand before it.
    line = command_line(["stormwatch", *dropwhile(lambda word: word != "drill", sys.argv[1:])])
    with said_as(click.UsageError, PolicyError, DocumentError, ConsentError, TargetError):
        policy = load_policy(sla)
        deployment()  # whether it may be broken
        run = create_run(
            reports.absolute(), f"drill-{drill}", expects_load=False, expects_scenarios=True, command=line
        )
    try:
        with interruptible():
            report = practise(run, policy, find_system(), exercises, line)
    except KeyboardInterrupt:
        click.echo(f"given up; what was recorded lies in {run.path}", err=True)
        sys.exit(Exit.INTERRUPTED)
    if as_json:
        click.echo(report.text())
    else:
        _print(report, {one.name for one in shown})
        click.echo(f"report: {os.path.relpath(run.path / 'report.html')}")
    tell_of(report, run.path, notices, command=f"drill {drill}")
    sys.exit(EXIT_CODES[report.verdict])


def _print(report: Report, shown: Collection[str]) -> None:
    """Print the expectations that are ``shown`` of each exercise, and all that did not hold."""
    from rich.table import Table
    from rich.text import Text

    from harness import output
    from harness.report.words import MARKS, MEANING, STYLES

    console, table = output.console(), Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "exercise", "expected", "measured", "limit", ""):
        table.add_column(heading, overflow="fold")
    for fault in report.faults:
        for row in fault.expectations:
            if row.name in shown or row.verdict != "pass":
                measured, limit = (
                    "" if value is None else f"{value:.4g} {row.unit}"
                    for value in (row.measured, row.threshold)
                )
                mark = Text(MARKS[row.verdict], style=STYLES[row.verdict])
                table.add_row(mark, fault.scenario, row.name, measured, limit, row.explanation)
    if table.row_count:
        console.print(table)
    for scenario in report.scenarios:
        if scenario.outcome != "passed":
            console.print(Text(f"{scenario.id} {scenario.outcome}: {scenario.message}"))
    console.print(
        Text.assemble((report.verdict.upper(), STYLES[report.verdict]), f"  {MEANING[report.verdict]}")
    )
