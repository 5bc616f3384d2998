"""`stormwatch down`: end a stack that runs."""

from __future__ import annotations

from contextlib import suppress

import click

#: A run that has a stack writes its report before it ends.
_LIMIT_S = 120.0


@click.command()
@click.option("--stack", "stack_id", metavar="ID", help="Which running stack, if there are several.")
def command(stack_id: str | None) -> None:
    """End a running stack of `stormwatch up`, as Ctrl-C in its terminal would.

    That of a run, of locust or of pytest is ended only if --stack names it. Who started it is sent SIGTERM.
    That works also for a `stormwatch up &` of a script, which its shell made ignore Ctrl-C and `kill -INT`.
    """
    import psutil

    from harness.history.command import command_line
    from harness.stack import StackError, find_stack, running_stacks

    running = running_stacks()
    if stack_id is None and not running:
        click.echo("no stack is running")
        return
    if stack_id is None:
        of_up = [one for one in running if "up" in _words(one.owner)]
        if not of_up:
            others = (f"--stack {one.id} ends that of {command_line(_words(one.owner))}" for one in running)
            raise click.UsageError(f"no stack of `stormwatch up` is running: {'; '.join(others)}")
        stack_id = of_up[0].id if len(of_up) == 1 else None
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


def _words(pid: int) -> list[str]:
    """Return the words of the command that a process runs, without what runs it."""
    import psutil

    with suppress(psutil.Error):
        return [word for word in psutil.Process(pid).cmdline()[1:] if not word.startswith("-")][:4]
    return []
