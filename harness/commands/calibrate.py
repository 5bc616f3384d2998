"""`stormwatch calibrate`: inject what is known, and compare it with what the harness reports."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from harness.commands._json import json_option
from harness.commands._progress import Progress, interruptible
from harness.commands._reports import reports_option
from harness.commands._system import system_option, use_system
from harness.output import Exit
from harness.report.gate import EXIT_CODES

if TYPE_CHECKING:
    from harness.documents.calibration import Calibration
    from harness.history import RunFolder

#: What could not be measured is neither right nor wrong.
_NOT_MEASURED: Final = EXIT_CODES["inconclusive"]


class _NotMeasured(click.ClickException):
    exit_code = _NOT_MEASURED


def _milliseconds(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[int]:
    from harness.calibrate.plan import LONGEST_MS
    from harness.sla.units import parse_duration

    found = []
    for value in values:
        try:
            milliseconds = parse_duration(value) * 1000
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if not milliseconds.is_integer() or milliseconds > LONGEST_MS:
            raise click.BadParameter(
                f"{value!r} is not a whole number of milliseconds up to {LONGEST_MS}: Toxiproxy counts "
                "milliseconds, and services wait some 3 s for PubNub"
            )
        found.append(int(milliseconds))
    return found


@click.command(
    name="calibrate",
    epilog="Exit codes: 0 all as injected, 1 something was reported wrongly, 2 wrong usage, 3 it could not "
    "be measured (by what stands in the table: the machine was too busy, a part failed), 130 given up. "
    "Nothing else should run on the machine meanwhile.",
)
@click.option(
    "--delay",
    "delays_ms",
    multiple=True,
    callback=_milliseconds,
    metavar="TIME",
    help="Inject this delay; may be given several times. The baseline of 0 ms is always measured. "
    "[default: 0, 5, 50, 500 and 2000 ms]",
)
@click.option(
    "--repetitions",
    type=click.IntRange(10, 400),
    default=50,
    show_default=True,
    help="Samples of each path under each delay. More of them tell smaller errors apart.",
)
@reports_option("Where the calibration's folder is made; the reports of runs there show the newest one.")
@system_option
@json_option
def command(
    delays_ms: list[int], repetitions: int, reports: Path, system: str | None, *, as_json: bool
) -> None:
    """Inject known delays and losses, and compare them with what the harness reports.

    Games are played on a local stack, and measured, as in every run. Meanwhile are injected:

    \b
      a delay of what players hear      shown by PubNub delivery, and by commit to received
      a delay of what is published      shown by commit to received
      a delay of the service's answers  shown by requests, and by ticks of cron
      lost, repeated and overtaken messages, of which only the emulator knows

    A delay has to be reported within 2 ms + 1 % over the floor, which is what the same run reports for 0 ms
    before and after it; losses have to be exact, game by game. Like an objective, each row has an interval
    and passes only if all of it is within what is allowed. Steps during which the machine was busy are
    repeated. Takes some three minutes, more on a busy machine.

    \b
      stormwatch calibrate
      stormwatch calibrate --delay 50ms --delay 500ms --repetitions 200
    """
    from harness.calibrate.inject import CalibrationError, inject
    from harness.calibrate.judge import calibration
    from harness.calibrate.measure import measure
    from harness.calibrate.plan import DELAYS_MS, Plan, paths_of
    from harness.documents.calibration import NAME
    from harness.faults import FaultError
    from harness.files import DocumentError, write_atomically
    from harness.history import HistoryError, create_run
    from harness.process import ProcessError
    from harness.stack import StackError
    from harness.system import find_system
    from harness.target import forget_deployment

    use_system(system)
    plan = Plan(tuple(delays_ms) or DELAYS_MS, repetitions, paths_of(find_system()))
    if not plan.paths:
        raise click.UsageError(
            f"{find_system().name} is not on PubNub, asked for timers or told to tick: nothing to compare"
        )
    try:
        run = create_run(reports.absolute(), "calibrate")
    except DocumentError as error:
        raise click.UsageError(str(error)) from error
    forget_deployment()  # what is calibrated is a local stack
    try:
        with interruptible(), Progress() as progress:
            inject(run, plan, find_system(), say=progress)
            progress("comparing", plan.steps, plan.steps)
            found = calibration(run, plan, measure(run, plan))
            path = run.path / NAME
            write_atomically(path, found.text())
    except KeyboardInterrupt:
        _give_up(run)
    except (CalibrationError, ProcessError, StackError, FaultError, HistoryError, OSError) as error:
        raise _NotMeasured(f"it could not be measured: {error}\nlogs: {run.logs}") from error
    if as_json:
        click.echo(found.text(), nl=False)
    else:
        _print(found)
        click.echo(os.path.relpath(path))
    sys.exit(EXIT_CODES[found.verdict])


def _give_up(run: RunFolder) -> NoReturn:
    shutil.rmtree(run.path, ignore_errors=True)
    click.echo("given up; nothing is left of it", err=True)
    sys.exit(Exit.INTERRUPTED)


def _print(calibration: Calibration) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness import output
    from harness.report.calibration import complaint, figures
    from harness.report.words import MARKS, STYLES

    console = output.console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("path", overflow="fold")
    for heading in ("floor", "injected", "reported", "error", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    last = None
    for row in calibration.rows:
        found = figures(row)
        table.add_row(
            Text(MARKS[row.verdict], style=STYLES[row.verdict]),
            row.title if row.path != last else "",
            *(found[key] for key in ("floor", "injected", "reported", "error", "allowed")),
        )
        last = row.path
    console.print(table)
    console.print()
    for doubt in calibration.doubts:
        console.print(Text(f"? {doubt}", style=STYLES["inconclusive"]))
    for row in calibration.rows:
        if row.verdict != "pass":
            console.print(Text(f"{MARKS[row.verdict]} {complaint(row)}", style=STYLES[row.verdict]))
    verdict = calibration.verdict
    console.print(Text(verdict.upper(), style=STYLES[verdict]), Text(_MEANING[verdict]))


_MEANING: Final[Mapping[str, str]] = {
    "pass": "What was injected is what is reported.",
    "fail": "The harness reports something else than what was injected.",
    "inconclusive": "It could not be told whether the harness reports what was injected.",
}
