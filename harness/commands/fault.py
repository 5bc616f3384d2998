"""`stormwatch fault`: break something of a running stack, then mend it."""

from __future__ import annotations

import difflib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import print_json
from harness.commands._system import end_in_order_on_signals, running_stack
from harness.documents.words import Words, begin

if TYPE_CHECKING:
    from harness.faults import Fault, FaultTarget
    from harness.faults.parameters import Parameter
    from harness.history import HistoryWriter
    from harness.system import System

_RANDOM: Final = "random"
_MEND: Final = "mend"
_EXAMPLES: Final = """\b
Examples:
  stormwatch up                                                    in another shell
  stormwatch fault network:latency service-postgres --latency 2s --jitter 100ms --for 10s
  stormwatch fault network:down service-pubnub --for 10s
  stormwatch fault network:reset_peer load-service --share 30%     until Ctrl-C
  stormwatch fault database:connections --for 8s
  stormwatch fault process:pause service-1 --for 15s
  stormwatch fault random --seed 7 --for 60s --dry-run             what would happen when
  stormwatch fault mend                                            after one that was killed (kill -9)
"""


class _Faults(click.Group):
    """A command for each kind of fault, made from what the fault says of itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from harness.faults import kinds

        return [*kinds(_system_if_any(ctx)), _RANDOM, _MEND]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _RANDOM:
            return _random
        if cmd_name == _MEND:
            return _mend
        from harness.faults import FaultError, MissingPartError, find_kind

        try:
            system = _system(ctx)
            return _command_of(find_kind(cmd_name, system), system.words)
        except MissingPartError as error:
            raise click.UsageError(str(error), ctx) from None
        except FaultError as error:
            near = difflib.get_close_matches(cmd_name, self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]}?" if near else "see `stormwatch fault --list`"
            raise click.UsageError(f"{error}; {hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_faults(formatter, _system_if_any(ctx))
        with formatter.section("Several at a time"):
            formatter.write_dl([(_RANDOM, _random.get_short_help_str(limit=100))])
        with formatter.section("Afterwards"):
            formatter.write_dl([(_MEND, _mend.get_short_help_str(limit=100))])


def _write_faults(formatter: click.HelpFormatter, system: type[System] | None) -> None:
    from harness.faults import kinds, places

    known, words = kinds(system), system.words if system else Words()
    for place, about in places(system).items():
        with formatter.section(f"{place}: {about[0].lower()}{about[1:].replace('``', '').removesuffix('.')}"):
            formatter.write_dl(
                [
                    (name, words.spoken(_first_line(kind)))
                    for name, kind in known.items()
                    if kind.place == place
                ]
            )


def _list(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    from harness.faults import kinds

    if value and not ctx.resilient_parsing:
        if ctx.params.get("as_json"):
            known = kinds(_system_if_any(ctx))
            print_json([{"name": name, "title": _first_line(kind)} for name, kind in known.items()])
            ctx.exit()
        formatter = click.HelpFormatter(max_width=100)
        _write_faults(formatter, _system_if_any(ctx))
        click.echo(formatter.getvalue().strip())
        ctx.exit()


@click.group(
    cls=_Faults,
    epilog=_EXAMPLES,
    subcommand_metavar="FAULT [TARGET] [OPTIONS]",
    context_settings={"max_content_width": 110},
)
@click.option("--list", is_flag=True, expose_value=False, callback=_list, help="List every fault and exit.")
@click.option("--json", "as_json", is_flag=True, is_eager=True, help="With --list: print JSON.")
@click.option("--system", metavar="FILE", is_eager=True,
              help="Of which system. [default: of the running stack, else the one named]")  # fmt: skip
@click.option("--stack", "stack_id", metavar="ID", is_eager=True,
              help="Which running stack, if there are several.")  # fmt: skip
@click.option("--run", "run_folder", metavar="DIR",
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Run folder whose history takes the fault's begin and end.")  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context, system: str | None, stack_id: str | None, run_folder: Path | None, *, as_json: bool
) -> None:
    """Break something of a running stack for a while, then mend it.

    The stack is the one that `stormwatch up` (or locust) runs; without one, the deployment that the
    environment describes. `stormwatch fault NAME --help` explains a fault and its options. Says at the
    end whether anything came across the fault; exit code 1 if nothing did.
    """
    if as_json:
        raise click.UsageError("--json goes with --list")
    ctx.obj = {"system": _system(ctx), "stack": stack_id, "run": run_folder}


def _system(ctx: click.Context) -> type[System]:
    """Return the system whose faults are spoken of: the one named, else that of a running stack.

    Raises
    ------
    click.UsageError
        There is none.
    """
    from harness.stack import running_stacks
    from harness.system import SystemFileError, find_system
    from harness.target import deployment_named

    named, stack_id = ctx.params.get("system"), ctx.params.get("stack_id")
    stacks = [] if named or (stack_id is None and deployment_named()) else running_stacks()
    meant = [stack for stack in stacks if stack_id in {None, stack.id}]
    try:
        return meant[0].system if len(meant) == 1 else find_system(named)
    except SystemFileError as error:
        raise click.UsageError(str(error)) from error


def _system_if_any(ctx: click.Context) -> type[System] | None:
    """Return the same; None: there is none. Help is to be had all the same."""
    try:
        return _system(ctx)
    except click.UsageError:
        return None


def _command_of(kind: type[Fault], words: Words) -> click.Command:
    from dataclasses import MISSING, fields

    from harness.faults.parameters import parameters

    default = next(field.default for field in fields(kind) if field.name == "target")
    target = click.Argument(["target"], required=default is MISSING)
    wait = click.Option(["--for", "for_"], metavar="TIME", help="How long it lasts. [default: until Ctrl-C]")

    def apply(target: str | None, for_: str | None, **values: Any) -> None:
        from harness.faults import FaultError

        ctx = click.get_current_context()
        with said_as(click.UsageError, FaultError):
            fault = kind(target, **values) if target is not None else kind(**values)
        _inject(ctx, fault, _seconds(for_, ctx))

    return click.Command(
        name=f"{kind.place}:{kind.name}",
        callback=apply,
        params=[target, *(_option(parameter, words) for parameter in parameters(kind)), wait],
        help=words.spoken(kind.__doc__ or ""),
        epilog=None if default is MISSING else f"TARGET is {default} if left out.",
    )


def _option(parameter: Parameter, words: Words) -> click.Option:
    types: dict[str, click.ParamType[Any]] = {"count": click.INT, "choice": click.Choice(parameter.choices)}
    metavars = {"duration": "TIME", "share": "PERCENT", "count": "NUMBER", "key": "KEY"}
    return click.Option(
        [f"--{parameter.option}", parameter.name],
        type=types.get(parameter.kind, click.STRING),
        default=parameter.default,
        show_default=True,
        metavar=metavars.get(parameter.kind),
        help=f"{begin(words.spoken(parameter.help))}.",
    )


def _inject(ctx: click.Context, fault: Fault, for_s: float | None) -> None:
    from harness.faults import FaultError, NotExercisedError
    from harness.stack import StackError

    end_in_order_on_signals()
    lasts = "until Ctrl-C" if for_s is None else f"for {for_s:g} s"
    on = _target(ctx, f"{fault.describe()}, {lasts}")
    with (
        said_as(click.ClickException, FaultError, StackError, NotExercisedError),
        _history(ctx) as history,
        fault.inject(on, history),
    ):
        _wait(fault, lasts, for_s)
    click.echo(f"{fault}: undone; it was exercised", err=True)


@click.command(_RANDOM)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the timeline; equal seeds, equal timelines."
)
@click.option("--for", "for_", default="30s", show_default=True, metavar="TIME", help="How long it takes.")
@click.option("--only", metavar="TEXT", default="", help="Only faults whose name has this in it (network:).")
@click.option("--dry-run", is_flag=True, help="Print the timeline, break nothing.")
@click.pass_context
def _random(ctx: click.Context, seed: int, for_: str, only: str, dry_run: bool) -> None:
    """Faults of all kinds at random times, drawn from a seed and printed as a timeline."""
    from harness.faults import FaultError
    from harness.faults.schedule import Schedule, candidates
    from harness.stack import StackError

    end_in_order_on_signals()
    with said_as(click.ClickException, FaultError, StackError):
        on = _target(ctx, f"faults of all kinds at random times, for {for_}")
        usable = [fault for fault in candidates(on) if only in str(fault)]
        schedule = Schedule.random(usable, seed=seed, for_s=_seconds(for_, ctx) or 0.0)
        click.echo(str(schedule))
        if dry_run:
            return
        with _history(ctx) as history:
            outcomes = schedule.run(on, history, say=lambda line: click.echo(line, err=True))
    troubled = [outcome for outcome in outcomes if outcome.trouble]
    if troubled:
        raise click.ClickException(f"{len(troubled)} of {len(outcomes)} faults did not do what they should")


@click.command(_MEND)
@click.pass_context
def _mend(ctx: click.Context) -> None:
    """Undo what was left broken by a `stormwatch fault` that was killed.

    Paused parts go on and missing ones are started again, proxies are up and without toxics, the PubNub
    emulator answers as it should, and the database is rid of sessions, triggers, users and settings of
    faults. Says what it undid. Faults that are still running are undone as well.
    """
    from harness.faults import FaultError
    from harness.faults.mend import mend
    from harness.stack import StackError

    undone = 0
    with said_as(click.ClickException, FaultError, StackError):
        for line in mend(_target(ctx, "what faults have left behind is undone")):
            click.echo(line)
            undone += 1
    if not undone:
        click.echo("nothing was left to mend")


def _target(ctx: click.Context, doing: str) -> FaultTarget:
    """Return the deployment that the environment names, if it may be broken, or the running stack.

    Parameters
    ----------
    doing : what is about to be done, in a line.
    """
    from harness.faults import Deployment
    from harness.stack import running_stacks
    from harness.target import Action, ConsentError, Target, TargetError
    from harness.target.consent import ask

    stack = running_stack(ctx.obj["stack"])
    if stack is not None:
        click.echo(f"on the local stack {stack.id}, {stack.target.service_url}", err=True)
        return stack
    stacks = ", ".join(stack.id for stack in running_stacks()) or "none is running"
    with said_as(click.UsageError, TargetError, ConsentError):
        permission = ask(
            Target.from_environment(),
            [Action.BREAK],
            [doing],
            optional=[Action.TICK],
            otherwise=f"name a stack of ours with --stack ({stacks})",
            say=lambda line: click.echo(line, err=True),
        )
    return Deployment(permission, ctx.obj["system"])


@contextmanager
def _history(ctx: click.Context) -> Iterator[HistoryWriter | None]:
    folder: Path | None = ctx.obj["run"]
    if folder is None:
        yield None
        return
    from harness.files import DocumentError
    from harness.history import HistoryWriter, open_run

    try:
        run = open_run(folder)
        with HistoryWriter(run.history, "fault", run.id) as history:
            yield history
    except (DocumentError, OSError) as error:
        raise click.ClickException(f"--run {folder}: {error}") from error


def _wait(fault: Fault, lasts: str, for_s: float | None) -> None:
    """Say that it is applied, and wait for so long, or until Ctrl-C, which is a way to end a fault early."""
    try:
        click.echo(f"{fault.describe()}: applied, {lasts}", err=True)
        if for_s is None:
            signal.pause()
        else:
            time.sleep(for_s)
    except KeyboardInterrupt:
        click.echo("Ctrl-C: undoing it", err=True)


def _seconds(text: str | None, ctx: click.Context) -> float | None:
    from harness.faults.parameters import LONGEST_S
    from harness.sla.units import parse_duration

    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--for: {error}", ctx) from None
    if not seconds:
        raise click.UsageError(f"--for: {text!r} is no time at all", ctx)
    if seconds > LONGEST_S:
        raise click.UsageError(f"--for: {text!r} is longer than {LONGEST_S / 60:g} minutes", ctx)
    return seconds


def _first_line(kind: type[Fault]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
