"""The processes of the system under test as parts of the stack."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.process import ProcessSpec, answers_http
from harness.stack.errors import StackError
from harness.system import HasProcesses, Local, Program, System
from harness.system.find import failure_of
from harness.target import Target

#: How long it may take to answer while it starts.
_ANSWER_S = 2.0


def programs_of(system: type[System], target: Target, local: Local) -> Sequence[Program]:
    """Return the processes of one replica.

    Raises
    ------
    StackError
        Its file does not tell them; the message names the line and what is wrong.
    """
    described = system(target)
    if not isinstance(described, HasProcesses):
        raise StackError(
            f"{inspect.getfile(system)}: {system.__name__} has no `processes`, which say how it is "
            "started on a local stack: write them, or name a deployment in the environment (SUPABASE_URL ...)"
        )
    try:
        programs = list(described.processes(local))
    except Exception as error:
        raise StackError(failure_of(system, "processes", error)) from error
    others = [type(one).__name__ for one in programs if not isinstance(one, Program)]
    if others or not programs or programs[0].ready is None:
        what = others[0] if others else "none that has `ready`, the path that tells that it serves"
        raise StackError(
            f"{inspect.getfile(system)}: processes: it returned {what}: return a list of Program, first the "
            "one that listens on local.port"
        )
    return programs


def spec(
    system: type[System],
    program: Program,
    name: str,
    port: int,
    log_path: Path,
    environment: Mapping[str, str],
) -> ProcessSpec:
    """Return how a process of the system is run as the part ``name``.

    It is ready once it answers at all: whether it is healthy is for the checks to judge.
    """
    ready = program.ready
    return ProcessSpec(
        name=name,
        command=program.command,
        address=("127.0.0.1", port) if ready else None,
        log_path=log_path,
        is_ready=lambda: ready is None or answers_http(port, ready, timeout_s=_ANSWER_S),
        environment=environment,
        way_out=program.way_out,
        folder=program.folder or Path(inspect.getfile(system)).absolute().parent,
    )
