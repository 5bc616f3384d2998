"""One item, played for real on the deployment that is named, else on a local stack."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from harness.judge import Evidence
    from harness.stack import StackProcess
    from harness.target import Permission

#: One item, two players, and as little time around it as can be.
_OPTIONS: Final = ("--games=1", "--players=2", "--duration=100ms", "--probe=500ms")

#: How long an interrupted load may take to remove what it made.
_END_LIMIT_S: Final = 30.0


@contextmanager
def permitted(
    load_options: Sequence[str], further: Sequence[str] = ()
) -> Iterator[tuple[Permission, Sequence[StackProcess]]]:
    """Yield the permission to load the deployment that is named, else a stack that is started now.

    With it come the system's processes on that stack.

    Parameters
    ----------
    further : what will be done besides, a line each.

    Raises
    ------
    LoadOptionsError, TargetError, ConsentError, StackError
        It can't be had.
    """
    from harness.experiment.load import check_load_options
    from harness.stack import is_of_system, start_stack
    from harness.target import Action, Target, consent, deployment_named

    plan = check_load_options([*_OPTIONS, *load_options], {}).splitlines()
    if deployment_named():
        target = Target.from_environment()
        yield consent.ask(target, [Action.LOAD], [*plan, *further], optional=[Action.TICK]), ()
        return
    click.echo("starting a local stack", err=True)
    with start_stack() as stack:
        yield stack.permission, [part for name, part in stack.parts.items() if is_of_system(name)]


def played(permission: Permission, load_options: Sequence[str]) -> Evidence:
    """Play one item; return what was seen of it.

    Raises
    ------
    ProcessError
        It could not be played; the message says why.
    """
    from harness.experiment.load import ONE_ITEM, LoadProcess
    from harness.history import create_run, read_history
    from harness.judge import evidence_of
    from harness.process import ProcessError
    from harness.sla.policy import load_policy

    with tempfile.TemporaryDirectory(prefix="stormwatch-") as folder:
        run = create_run(Path(folder), "check")
        options = [*_OPTIONS, *load_options]
        with LoadProcess(run, permission.environment(), options, ONE_ITEM) as load:
            try:
                load.wait()
            except BaseException:  # Ctrl-C: what was made is removed before the end
                load.finish(_END_LIMIT_S)
                raise
            if load.exit_code:
                raise ProcessError(load.last_words(1))
        return evidence_of(read_history(run.history), run.read(), load_policy())
