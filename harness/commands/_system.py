"""Which system a command is about: the option `--stack`, else the environment, else the running stack."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from harness.stack import RemoteStack


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
