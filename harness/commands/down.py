"""`stormwatch down`: end a stack that runs."""

from __future__ import annotations

import click

#: A run that has a stack writes its report before it ends.
_LIMIT_S = 120.0


@click.command()
@click.option("--stack", "stack_id", metavar="ID", help="Which running stack, if there are several.")
def command(stack_id: str | None) -> None:
    """End a running stack, as Ctrl-C in its terminal would.

    The process that started it (`stormwatch up`, locust, pytest) is sent SIGTERM. That works also for a
    `stormwatch up &` of a script, which its shell made ignore Ctrl-C and `kill -INT`.
    """
    import psutil

    from harness.stack import StackError, find_stack, running_stacks

    if stack_id is None and not running_stacks():
        click.echo("no stack is running")
        return
    try:
        stack = find_stack(stack_id)
    except StackError as error:
        raise click.ClickException(str(error).replace("choose one of", "choose by --stack one of")) from None
    what = f"stack {stack.id} (pid {stack.owner})"
    try:
        owner = psutil.Process(stack.owner)
        owner.terminate()
        owner.wait(_LIMIT_S)
    except psutil.NoSuchProcess:
        pass  # it ended by itself meanwhile
    except psutil.AccessDenied as error:
        raise click.ClickException(f"{what} is another user's: not allowed to end it") from error
    except psutil.TimeoutExpired as error:
        raise click.ClickException(f"{what} was asked to end and did not within {_LIMIT_S:g} s") from error
    click.echo(f"{what} ended")
