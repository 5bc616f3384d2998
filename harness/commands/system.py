"""`stormwatch system`: try out the file that describes a system under test."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option, print_json
from harness.commands._one_item import permitted, played
from harness.commands._system import local_option, use_system

if TYPE_CHECKING:
    from harness.documents.shown import Seen
    from harness.stack import StackProcess

#: Without these nothing can be judged.
_NEEDED: Final = ("driven", "heard", "witnessed")


@click.group(name="system")
def command() -> None:
    """Try out the file that describes a system under test."""


@command.command(
    epilog="\b\nstormwatch system check auction.py          on a local stack, or where SUPABASE_URL says\n"
    "stormwatch system check auction.py --json   the table as data"
)
@click.argument("file")
@local_option
@json_option
@click.argument("load_options", nargs=-1, type=click.UNPROCESSED)
def check(file: str, local: bool, as_json: bool, load_options: tuple[str, ...]) -> None:
    """Play one item of the system that FILE describes, and show what can be seen of it.

    That is on the deployment that the environment names (SUPABASE_URL ...), after it said what it will do
    there and found consent that names its address (STORMWATCH_MAY_LOAD); else on a local stack. FILE may be
    the name of an installed system. What follows `--` goes to the load: lengths of timers, --tick.

    Exits 0 if an item was driven, heard of and witnessed, 2 if not.
    """
    from harness.experiment.load import LoadOptionsError
    from harness.judge.sight import sight, unheard
    from harness.process import ProcessError
    from harness.stack import StackError
    from harness.target import ConsentError, TargetError, forget_deployment

    use_system(file)
    if local:
        forget_deployment()
    with (
        said_as(click.UsageError, ConsentError, LoadOptionsError, TargetError, StackError, ProcessError),
        permitted(load_options) as (permission, processes),
    ):
        try:
            evidence = played(permission, load_options)
        except ProcessError:
            _last_lines(processes)
            raise
        rows = sight(evidence)
        missing = [row.part for row in rows if row.part in _NEEDED and row.state != "seen"]
        if missing:
            _last_lines(processes)
    if as_json:
        print_json(rows)
    else:
        _table(rows)
    if missing:
        raise click.UsageError(f"nothing could be judged: not {' and not '.join(missing)}")
    if unheard(evidence)[0].total():
        click.echo(
            "not all was heard. Where the first moves are missing, have `start` call item.listen() before "
            "the first of them; else `read` took messages for something else, or they were never sent",
            err=True,
        )


def _last_lines(processes: Sequence[StackProcess]) -> None:
    """Show what the system's processes said last: their logs go with the stack."""
    for process in processes:
        said = process.tail() or "nothing"
        click.echo(f"{process.name} said last:\n{textwrap.indent(said, '  ')}", err=True)


def _table(rows: list[Seen]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness import output

    marks = {"seen": Text("yes", "green"), "not seen": Text("NO", "bold red"), "absent": Text("–", "dim")}
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("what can be seen here", "", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Text: what comes from a message or an error must not be read as markup.
        table.add_row(row.part, marks[row.state], Text(row.what))
    output.console().print(table)
