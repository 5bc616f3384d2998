"""pytest plugin: gives failure scenarios their `experiment` and puts what they found into a run folder.

Loaded by every pytest in the environment, so nothing heavy is imported before a scenario asks for it.
"""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from harness.experiment import Arenas, Experiment

_RUN: Final = pytest.StashKey[Path]()
_ARENAS: Final = pytest.StashKey["Arenas"]()
_EXPERIMENT: Final = pytest.StashKey["Experiment"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the failure scenarios."""
    group = parser.getgroup("stormwatch", "Stormwatch failure scenarios")
    group.addoption(
        "--stormwatch-run",
        type=Path,
        metavar="DIR",
        help="run folder that takes the scenarios' records (default: a new one, with a report)",
    )
    group.addoption(
        "--stormwatch-reports",
        type=Path,
        metavar="DIR",
        default=None,
        help="where new run folders are made (default: STORMWATCH_REPORTS, else ./reports)",
    )
    group.addoption(
        "--stormwatch-apart",
        action="store_true",
        help="give each scenario a stack and games of its own (default: those that agree on them share them, "
        "one after the other)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle which run folder the scenarios of this session write to."""
    config.addinivalue_line("markers", "main: failure scenarios of the main job, `stormwatch run`")
    if hasattr(config, "workerinput"):
        config.stash[_RUN] = Path(config.workerinput["stormwatch_run"])
        return
    given: Path | None = config.getoption("--stormwatch-run")
    if given is None:
        from harness.history.run import new_run_id

        reports = config.getoption("--stormwatch-reports") or Path(
            os.environ.get("STORMWATCH_REPORTS", config.invocation_params.dir / "reports")
        )
        given = reports / new_run_id("failure")
    config.stash[_RUN] = given.absolute()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker the run folder."""
    node.workerinput["stormwatch_run"] = str(node.config.stash[_RUN])


@pytest.hookimpl(tryfirst=True)  # before a worker says that it is ready
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which scenarios are to run, so that one that is lost on the way is missed."""
    scenarios = [
        _describe(item)
        for item in session.items
        if isinstance(item, pytest.Function) and "experiment" in item.fixturenames
    ]
    if scenarios and not session.config.option.collectonly:
        from harness.experiment.suite import write_plan
        from harness.history import RunFolder

        write_plan(RunFolder(session.config.stash[_RUN]), scenarios)
        _end_as_by_ctrl_c()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Have the process that hands scenarios to workers end in order, too."""
    if (node.config.stash[_RUN] / "scenarios" / "plan.json").exists():
        _end_as_by_ctrl_c()


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Iterator[Experiment]:
    """One failure experiment: a stack of its own, games being played, faults, and a verdict.

    See :class:`harness.experiment.Experiment` for what it can do.
    """
    from harness.experiment import Experiment
    from harness.sla.policy import load_policy

    subject = Experiment(
        session=request.config.stash[_RUN],
        arenas=_arenas(request.config),
        policy=load_policy(),
        **_describe(request.node),
    )
    request.node.stash[_EXPERIMENT] = subject
    with subject:
        yield subject


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write each scenario's outcome beside its history, also when it crashed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy's wrappers are untyped
    subject = item.stash.get(_EXPERIMENT, None)
    if subject is not None:
        error = call.excinfo.value if call.excinfo is not None else None
        if report.when == "call" or (error is not None and report.outcome != "passed"):
            subject.conclude(report.outcome, error, seconds=time.time() - call.start)
    return report  # type: ignore[return-value]  # as above


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what experiments took place on."""
    arenas = session.config.stash.get(_ARENAS, None)
    if arenas is not None:
        arenas.close()


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Write the report of a session that made its own run folder, and say where it is."""
    run_path = config.stash[_RUN]
    if hasattr(config, "workerinput") or not run_path.exists():
        return
    from harness.experiment.suite import account_for_crash, account_for_missing
    from harness.history import RunFolder

    run = RunFolder(run_path)
    for report in terminalreporter.getreports("failed"):
        if report.when == "???":  # what xdist says of a worker that died: it knows of no phase
            account_for_crash(run, _id(report.nodeid), str(report.longrepr))
    if config.getoption("--stormwatch-run"):
        return
    from harness.history.run import machine, utc_now, versions
    from harness.report import write_reports
    from harness.sla.policy import load_policy

    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    account_for_missing(run, interrupted=interrupted)
    run.history.mkdir(exist_ok=True)  # the scenarios' histories lie in folders of their own
    run.update(
        kind="failure",
        expects_load=False,
        expects_scenarios=True,
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        finished_at=utc_now(),
        interrupted=interrupted,
        versions=versions(),
        machine=machine(),
    )
    document = write_reports(run, load_policy())
    run.point_latest_here()
    terminalreporter.section("stormwatch")
    terminalreporter.line(
        f"verdict: {document['verdict']}    report: {os.path.relpath(run.path / 'report.html')}"
    )


def _arenas(config: pytest.Config) -> Arenas:
    """Return what gives this process's experiments their stack and games."""
    if _ARENAS not in config.stash:
        from harness.experiment import Arenas
        from harness.sla.policy import load_policy

        shared = not config.getoption("--stormwatch-apart")
        config.stash[_ARENAS] = Arenas(config.stash[_RUN] / "arenas", load_policy(), shared=shared)
    return config.stash[_ARENAS]


def _describe(item: pytest.Function) -> dict[str, str]:
    """Return a scenario's id, title, and the command that runs it alone."""
    path, _, name = item.nodeid.partition("::")
    title = inspect.cleandoc(item.obj.__doc__ or name).splitlines()[0]
    return {
        "id": _id(item.nodeid),
        "title": title,
        "command": shlex.join(["pytest", f"{path}::{name}"]),
    }


def _id(nodeid: str) -> str:
    """Return the id of a scenario by what pytest calls it."""
    path, _, name = nodeid.partition("::")
    stem = Path(path).stem.removeprefix("test_")
    return f"{stem}.{name.replace('::', '.').removeprefix('test_')}".replace("/", "-")


def _end_as_by_ctrl_c() -> None:
    """Undo faults and write the report on signals that would end us anyway, as on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: a second signal must not break off what is being undone.
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, lambda *_: None)
    raise KeyboardInterrupt
