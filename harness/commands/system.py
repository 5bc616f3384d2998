"""`stormwatch system`: try out the file that describes a system under test."""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._system import use_system

if TYPE_CHECKING:
    from harness.documents.shown import Seen
    from harness.stack import StackProcess
    from harness.target import Permission

#: Without these nothing can be judged.
_NEEDED: Final = ("driven", "heard", "witnessed")
#: One item, two players, and as little time around it as can be.
_OPTIONS: Final = ("--games=1", "--players=2", "--duration=100ms", "--probe=500ms")


@click.group(name="system")
def command() -> None:
    """Try out the file that describes a system under test."""


@command.command(
    epilog="\b\nstormwatch system check auction.py          on a local stack, or where SUPABASE_URL says\n"
    "stormwatch system check auction.py --json   the table as data"
)
@click.argument("file")
@click.option("--local", is_flag=True, help="On a local stack, whatever the environment says (SUPABASE_URL).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
@click.argument("load_options", nargs=-1, type=click.UNPROCESSED)
def check(file: str, local: bool, as_json: bool, load_options: tuple[str, ...]) -> None:
    """Play one item of the system that FILE describes, and show what can be seen of it.

    That is on the deployment that the environment names (SUPABASE_URL ...), after it said what it will do
    there and found consent that names its address (STORMWATCH_MAY_LOAD); else on a local stack. FILE may be
    the name of an installed system. What follows `--` goes to the load: lengths of timers, --tick.

    Exits 0 if an item was driven, heard of and witnessed, 2 if not.
    """
    from harness.experiment.load import LoadOptionsError
    from harness.process import ProcessError
    from harness.stack import StackError
    from harness.target import ConsentError, TargetError, forget_deployment

    use_system(file)
    if local:
        forget_deployment()
    with (
        said_as(click.UsageError, ConsentError, LoadOptionsError, TargetError, StackError, ProcessError),
        _permitted(load_options) as (permission, processes),
    ):
        try:
            rows, unheard = _played(permission, load_options)
        except ProcessError:
            _last_lines(processes)
            raise
        missing = [row.part for row in rows if row.part in _NEEDED and row.state != "seen"]
        if missing:
            _last_lines(processes)
    if as_json:
        click.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    else:
        _table(rows)
    if missing:
        raise click.UsageError(f"nothing could be judged: not {' and not '.join(missing)}")
    if unheard:
        click.echo(
            "not all was heard. Where the first moves are missing, have `start` call item.listen() before "
            "the first of them; else `read` took messages for something else, or they were never sent",
            err=True,
        )


@contextmanager
def _permitted(load_options: tuple[str, ...]) -> Iterator[tuple[Permission, Sequence[StackProcess]]]:
    """Yield the permission to load the deployment that is named, else a stack that is started now.

    With it come the system's processes on that stack.
    """
    from harness.experiment.load import check_load_options
    from harness.stack import is_of_system, start_stack
    from harness.target import Action, Target, consent, deployment_named

    plan = check_load_options([*_OPTIONS, *load_options], {}).splitlines()
    if deployment_named():
        yield consent.ask(Target.from_environment(), [Action.LOAD], plan, optional=[Action.TICK]), ()
        return
    click.echo("starting a local stack", err=True)
    with start_stack() as stack:
        yield stack.permission, [part for name, part in stack.parts.items() if is_of_system(name)]


def _last_lines(processes: Sequence[StackProcess]) -> None:
    """Show what the system's processes said last: their logs go with the stack."""
    for process in processes:
        said = process.tail() or "nothing"
        click.echo(f"{process.name} said last:\n{textwrap.indent(said, '  ')}", err=True)


def _played(permission: Permission, load_options: tuple[str, ...]) -> tuple[list[Seen], int]:
    """Play one item; return what was seen of it, and how many messages of its moves never came.

    Raises
    ------
    ProcessError
        It could not be played; the message says why.
    """
    from harness.experiment.load import ONE_ITEM, LoadProcess
    from harness.history import create_run, read_history
    from harness.judge import evidence_of
    from harness.judge.sight import sight, unheard
    from harness.process import ProcessError
    from harness.sla.policy import load_policy

    with tempfile.TemporaryDirectory(prefix="stormwatch-") as folder:
        run = create_run(Path(folder), "check")
        options = [*_OPTIONS, *load_options]
        with LoadProcess(run, permission.environment(), options, ONE_ITEM) as load:
            load.wait()
            if load.exit_code:
                raise ProcessError(load.last_words(1))
        evidence = evidence_of(read_history(run.history), run.read(), load_policy())
        return sight(evidence), unheard(evidence)[0].total()


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
