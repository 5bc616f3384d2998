"""`stormwatch smoke`: does a deployment work at all? In seconds, and safe on production."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option, print_json
from harness.commands._notify import notify_option, tell
from harness.commands._one_item import permitted, played
from harness.commands._system import end_in_order_on_signals, local_option, system_option, use_system

if TYPE_CHECKING:
    from harness.documents.smoke import SmokeRow
    from harness.documents.verdict import Verdict
    from harness.report.notices import NoticeSettings
    from harness.system import System
    from harness.target import Permission


@click.command(
    name="smoke",
    epilog="Exit codes: 0 pass, 1 fail, 2 wrong usage or no consent, 3 inconclusive. What the target lacks "
    "is named and not judged.",
)
@click.argument("target", required=False)
@system_option
@local_option
@json_option
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows as JUnit XML, too."
)
@notify_option
@click.argument("load_options", nargs=-1, type=click.UNPROCESSED)
def command(
    target: str | None,
    *,
    system: str | None,
    local: bool,
    as_json: bool,
    junit: Path | None,
    notices: NoticeSettings,
    load_options: tuple[str, ...],
) -> None:
    """Look whether TARGET works at all: a few calls, and one item played from its start to its end.

    TARGET is the address of a deployment whose keys are in the environment (default: the one that it names,
    else a local stack). At most three items are made, and removed; nothing is broken. It takes consent that
    names the address (STORMWATCH_MAY_LOAD, and STORMWATCH_MAY_TICK for ticks).

    \b
      stormwatch smoke
      stormwatch smoke https://staging.example --junit smoke.xml
      stormwatch smoke -- --tick 10s       how often its own cron ticks, where that is seldom
    """
    from harness.experiment.load import LoadOptionsError
    from harness.experiment.smoke import PLAN
    from harness.report.gate import EXIT_CODES, Row
    from harness.stack import StackError
    from harness.system import find_system
    from harness.target import ConsentError, TargetError, forget_deployment, name_deployment

    if (target or "").startswith("-"):  # it stood behind `--`
        load_options, target = (str(target), *load_options), None
    if local and target is not None:
        raise click.UsageError(f"--local and {target}: which of the two is meant?")
    use_system(system)
    if local:
        forget_deployment()
    elif target is not None:
        name_deployment(target)
    kind = find_system()
    end_in_order_on_signals()
    options = [*_short(kind), *load_options]
    with (
        said_as(click.UsageError, ConsentError, LoadOptionsError, TargetError, StackError),
        permitted(options, PLAN) as (permission, _),
    ):
        rows = _looked(permission, kind(permission.target), options)
    verdict = _verdict(rows)
    if junit is not None:
        _write_junit(junit, rows)
    if as_json:
        print_json({"verdict": verdict, "target": permission.target.service_url, "rows": rows})
    else:
        _table(rows, verdict)
    about = f"stormwatch smoke {permission.target.service_url}"
    told = [Row("smoke", row.name, row.verdict, row.what) for row in rows]
    tell(verdict, told, junit, notices, about=about)
    sys.exit(EXIT_CODES[verdict])


def _short(system: type[System]) -> list[str]:
    """Return the options by which an item takes as little time as it can."""
    from harness.experiment.setup import Setup
    from harness.system import tick_of

    lengths = Setup().lengths_of(system.lifecycle)
    return [
        *(f"--{state}={length}" for state, length in lengths.items()),
        f"--tick={tick_of(system, '500ms')}",
    ]


def _looked(permission: Permission, system: System, options: list[str]) -> list[SmokeRow]:
    """Return all rows."""
    from harness.documents.smoke import SmokeRow
    from harness.experiment.smoke import look
    from harness.judge.smoke import PLAYED, ROWS, judge_item
    from harness.process import ProcessError

    rows = look(permission, system)
    try:
        evidence = played(permission, options)
    except ProcessError as error:
        why = str(error).removeprefix("stormwatch: ")
        told = {name: why if name == PLAYED else "no item was played" for name in ROWS}
        return rows + [SmokeRow(name=name, verdict="inconclusive", what=what) for name, what in told.items()]
    return rows + judge_item(evidence, system)


def _verdict(rows: list[SmokeRow]) -> Verdict:
    """Return the worst; where nothing could be judged, inconclusive."""
    from harness.documents.verdict import worst

    return (
        worst(row.verdict for row in rows) if any(row.verdict == "pass" for row in rows) else "inconclusive"
    )


def _write_junit(path: Path, rows: list[SmokeRow]) -> None:
    from harness.files import write_atomically
    from harness.report.junit import render_rows

    write_atomically(path, render_rows("smoke", [(row.name, row.verdict, row.what, row.ms) for row in rows]))


def _table(rows: list[SmokeRow], verdict: Verdict) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness import output

    styles = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "not applicable": "dim"}
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("looked at", "", "ms", ""):
        table.add_column(heading, overflow="fold", justify="right" if heading == "ms" else "left")
    for row in rows:
        # Text: what comes from a message or an error must not be read as markup.
        took = "" if row.ms is None else f"{row.ms:,.{0 if row.ms >= 10 else 1}f}"
        table.add_row(row.name, Text(row.verdict, styles[row.verdict]), took, Text(row.what))
    console = output.console()
    console.print(table)
    console.print(Text(verdict, styles[verdict]))
