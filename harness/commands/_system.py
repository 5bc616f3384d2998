"""Which system a command is about, and where: the options `--system` and `--stack`, else the environment."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import click

from harness.commands._errors import said_as

if TYPE_CHECKING:
    from harness.stack import RemoteStack


#: `--system FILE`; what it says is taken by :func:`use_system`.
system_option: Final = click.option(
    "--system",
    "system",
    metavar="FILE",
    help="The system under test: its file, or the name of an installed one. [default: STORMWATCH_SYSTEM, "
    "else system in [tool.stormwatch] of pyproject.toml, else the one that is installed]",
)

#: `--local`; who is told it calls :func:`harness.target.forget_deployment`.
local_option: Final = click.option(
    "--local", is_flag=True, help="On local stacks, whatever the environment says (SUPABASE_URL ...)."
)


def use_system(named: str | None) -> None:
    """Make ``named`` the system under test, for this process and all that it starts, with its policy.

    Parameters
    ----------
    named : as `--system` says; None: the one that the environment or the project names.

    Raises
    ------
    click.UsageError
        There is none, or none that can be used.
    """
    from harness.system import SystemFileError
    from harness.system.beside import put_to_the_test

    with said_as(click.UsageError, SystemFileError):
        put_to_the_test(named)


def running_stack(stack_id: str | None) -> RemoteStack | None:
    """Return the running stack that is meant; None: the deployment that the environment names.

    Raises
    ------
    click.UsageError
        None is running, or several are and none was chosen.
    """
    from harness.stack import StackError, find_stack, running_stacks
    from harness.target import deployment_named

    if stack_id is None and deployment_named():
        return None
    try:
        return find_stack(stack_id)
    except StackError as error:
        known = stack_id or running_stacks()
        hint = "" if known else ", or name a deployment in the environment (SUPABASE_URL ...)"
        raise click.UsageError(f"{error}{hint}") from None


def end_in_order_on_signals() -> None:
    """Undo what was done also on signals that would end the process anyway: SIGTERM, a closed terminal."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
