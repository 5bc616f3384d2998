"""`stormwatch clean`: remove what runs have left on a target."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._system import running_stack

if TYPE_CHECKING:
    from harness.system.cleaning import Leftover
    from harness.target import Permission, Target

#: A run that goes on writes at least so often: what is newer is left alone unless it is named.
_GOES_ON: Final = timedelta(minutes=10)


@click.command(
    epilog="\b\nstormwatch clean --list            what runs have left, nothing is removed\n"
    "stormwatch clean sw0123abcd-       what one run has left\n"
    "stormwatch clean                   what all runs have left that ended ten minutes ago or earlier"
)
@click.argument("prefix", required=False)
@click.option("--list", "only_list", is_flag=True, help="Show what is left, remove nothing.")
@click.option("--stack", "stack_id", metavar="ID", help="A running stack, not what the environment names.")
def command(prefix: str | None, only_list: bool, stack_id: str | None) -> None:
    """Remove games that runs have left behind, found by the mark in their ids.

    A run removes its games at its end, also after Ctrl-C; one that was killed can't. Games of anybody
    else are never touched. Exits 1 if something could not be removed.
    """
    from harness.system.cleaning import CleaningError, clean, leftovers
    from harness.target import ConsentError, TargetError
    from harness.target.marks import is_prefix

    if prefix is not None and not is_prefix(prefix):
        raise click.UsageError(f"{prefix!r} is no prefix of a run: they look like sw0123abcd-")
    trouble = False
    with (
        said_as(click.UsageError, ConsentError, TargetError),
        said_as(click.ClickException, CleaningError),
    ):
        target, permission = _find(stack_id, prefix, ask=not only_list)
        found = [left for left in leftovers(target) if prefix in {None, left.prefix}]
        for left in found if only_list else ():
            click.echo(_describe(left))
        if only_list or permission is None:
            return
        for left in found:
            if prefix is None and datetime.now(UTC) - left.newest < _GOES_ON:
                click.echo(f"{_describe(left)}: left alone, it may still go on; name it to remove it")
                continue
            cleaned = clean(permission, left.prefix)
            click.echo(str(cleaned))
            trouble |= cleaned.left is not None
    if not found:
        click.echo("nothing is left of any run" if prefix is None else f"nothing is left of {prefix}")
    if trouble:
        raise click.ClickException("not all could be removed")


def _find(stack_id: str | None, prefix: str | None, *, ask: bool) -> tuple[Target, Permission | None]:
    """Return the target, and the permission to remove games from it if that is to be done."""
    from harness.target import Action, Target, consent

    stack = running_stack(stack_id)
    if stack is not None:
        return stack.target, stack.permission
    target = Target.from_environment()
    what = prefix or "all of them that ended ten minutes ago or earlier"
    plan = [f"games that runs of Stormwatch have left are removed: {what}"]
    otherwise = "take --list to see what is left"
    return target, consent.ask(target, [Action.LOAD], plan, otherwise=otherwise) if ask else None


def _describe(left: Leftover) -> str:
    rows = f"{left.games} games" + (f", {left.others} events and transitions" if left.others else "")
    return f"{left.prefix}: {rows}, the newest of {left.newest:%Y-%m-%d %H:%M:%S} UTC"
