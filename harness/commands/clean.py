"""`stormwatch clean`: remove what runs have left on a target."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option, print_json
from harness.commands._system import running_stack, system_option, use_system

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
@json_option
@system_option
def command(
    prefix: str | None, only_list: bool, stack_id: str | None, system: str | None, *, as_json: bool
) -> None:
    """Remove what runs have left behind, found by the mark that each run puts on its items.

    A run removes what it made at its end, also after Ctrl-C; one that was killed can't. What anybody else
    has made is never touched. Exits 1 if something could not be removed.
    """
    from harness.system import find_system
    from harness.system.cleaning import CleaningError, clean, leftovers
    from harness.target import ConsentError, TargetError
    from harness.target.marks import is_prefix

    if prefix is not None and not is_prefix(prefix):
        raise click.UsageError(f"{prefix!r} is no prefix of a run: they look like sw0123abcd-")
    if as_json and not only_list:
        raise click.UsageError("--json goes with --list: what is removed is told as it goes")
    use_system(system)
    with (
        said_as(click.UsageError, ConsentError, TargetError),
        said_as(click.ClickException, CleaningError),
    ):
        described = find_system()
        target, permission = _find(stack_id, prefix, ask=not only_list)
        if only_list or permission is None:
            _tell(leftovers(described(target)), prefix, as_json=as_json)
            return
        prefixes = [prefix] if prefix is not None else _over(leftovers(described(target)))
        cleaned = [clean(permission, described, one) for one in prefixes]
    for one in cleaned:
        click.echo(str(one))
    if any(one.left for one in cleaned):
        raise click.ClickException("not all could be removed")


def _tell(found: list[Leftover], prefix: str | None, *, as_json: bool) -> None:
    """Show what all runs have left, or the one with this prefix."""
    found = [left for left in found if prefix in {None, left.prefix}]
    if as_json:
        print_json(found)
        return
    click.echo("\n".join(map(str, found)) or f"nothing is left of {prefix or 'any run'}")


def _over(found: list[Leftover]) -> list[str]:
    """Return the prefixes of the runs that are over, and tell of those that may not be."""
    if not found:
        click.echo("nothing is left of any run")
    goes_on = [left for left in found if datetime.now(UTC) - left.newest < _GOES_ON]
    for left in goes_on:
        click.echo(f"{left}: left alone, it may still go on; name it to remove it")
    return [left.prefix for left in found if left not in goes_on]


def _find(stack_id: str | None, prefix: str | None, *, ask: bool) -> tuple[Target, Permission | None]:
    """Return the target, and the permission to remove items from it if that is to be done."""
    from harness.target import Action, Target, consent

    stack = running_stack(stack_id)
    if stack is not None:
        return stack.target, stack.permission
    target = Target.from_environment()
    what = prefix or "all of them that ended ten minutes ago or earlier"
    plan = [f"what runs of Stormwatch have left is removed: {what}"]
    otherwise = "take --list to see what is left"
    return target, consent.ask(target, [Action.LOAD], plan, otherwise=otherwise) if ask else None
