"""pytest plugin: gives failure scenarios their `experiment` and puts what they found into a run folder.

Loaded by every pytest in the environment, so nothing heavy is imported before a scenario asks for it.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeGuard

import pytest

from harness import web_proxies

if TYPE_CHECKING:
    from harness.experiment import Experiment, Testbeds
    from harness.system import System

#: What a session ends with that was refused before anything was done.
_WRONG_USAGE: Final = 2

_RUN: Final = pytest.StashKey[Path]()
_TESTBEDS: Final = pytest.StashKey["Testbeds"]()
_EXPERIMENT: Final = pytest.StashKey["Experiment"]()
_SESSION: Final = pytest.StashKey[pytest.Session]()
#: Whether an earlier phase of a scenario has left its result.
_CONCLUDED: Final = pytest.StashKey[bool]()
#: What went wrong at the session's end, to be told in its summary.
_TROUBLE: Final = pytest.StashKey[list[str]]()

#: In the node ids of scenarios that came along in the harness's wheel.
_IN_WHEEL: Final = "harness/_bundled/"
#: Node ids that are as good as names of folders, on any file system.
_PLAIN: Final = re.compile(r"((?:[a-z0-9_]+/)*)test_([a-z0-9_]+)\.py::test_([a-z0-9_]+(?:\[[a-z0-9_.-]+\])?)")
#: Bytes of a name that are kept: file systems take 255, and others append to it.
_LONGEST_NAME: Final = 100


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
        "--stormwatch-system",
        metavar="FILE",
        help="file of the system that is put to the test (default: STORMWATCH_SYSTEM, system in "
        "[tool.stormwatch] of pyproject.toml, else the only one installed)",
    )
    group.addoption(
        "--stormwatch-local",
        action="store_true",
        help="break local stacks, whatever the environment says (SUPABASE_URL ...)",
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


@pytest.hookimpl(tryfirst=True)  # before any is deselected by its marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count what a team has written itself among the main scenarios."""
    from harness.files import SHIPPED

    for item in items:
        if _is_scenario(item) and not item.path.is_relative_to(SHIPPED / "scenarios"):
            item.add_marker("main")


@pytest.hookimpl(tryfirst=True)  # before a worker says that it is ready
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which scenarios are to run, so that one that is lost on the way is missed."""
    scenarios = [_describe(item) for item in session.items if _is_scenario(item)]
    if not scenarios or session.config.option.collectonly:
        return
    web_proxies.leave_out()
    from harness.experiment.suite import write_plan
    from harness.history import RunFolder

    _see_that_it_may_be_broken(session.config)
    run = RunFolder(session.config.stash[_RUN])
    a_worker = hasattr(session.config, "workerinput")
    try:
        write_plan(run, scenarios)
    except OSError as error:
        if not a_worker:  # a worker has nobody to tell: each of its scenarios will say so
            raise pytest.UsageError(
                f"can't write to {run.path}: {error.strerror}; "
                "give a writable folder with --stormwatch-reports or STORMWATCH_REPORTS"
            ) from error
    if not a_worker:
        _begin(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Begin the session in the process that hands scenarios to workers, too."""
    if (node.config.stash[_RUN] / "scenarios" / "plan.json").exists():
        web_proxies.leave_out()
        _see_that_it_may_be_broken(node.config)
        _begin(node.config)


def _begin(config: pytest.Config) -> None:
    """Have `latest` lead here before anything is started, and signals end the session in order."""
    from harness.files import DocumentError
    from harness.history import RunFolder
    from harness.report.scenarios import read_plan

    run = RunFolder(config.stash[_RUN])
    try:
        times = Counter(scenario.id for scenario in read_plan(run))
        if twice := [id for id in times if times[id] > 1]:
            # One of the results would be lost.
            raise pytest.UsageError(f"collected more than once: {', '.join(twice)}; name its file once")
        if not config.getoption("--stormwatch-run"):
            run.point_latest_here()
    except DocumentError as error:
        raise pytest.UsageError(str(error)) from error
    _end_as_by_ctrl_c()


def _see_that_it_may_be_broken(config: pytest.Config) -> None:
    """End the session if no system is named, or a deployment that nobody consented to break."""
    from harness.experiment.setup import deployment
    from harness.target import ConsentError, TargetError, forget_deployment

    if config.getoption("--stormwatch-local"):
        forget_deployment()
    if hasattr(config, "workerinput"):
        return  # whoever started the workers looks
    system_of(config)
    try:
        deployment()
    except (ConsentError, TargetError) as error:
        pytest.exit(f"stormwatch: {error}", returncode=_WRONG_USAGE)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """One failure experiment: a stack of its own, games being played, faults, and a verdict.

    See :class:`harness.experiment.Experiment` for what it can do.
    """
    from harness.experiment import Experiment
    from harness.sla.policy import load_policy

    subject = Experiment(
        session=request.config.stash[_RUN],
        testbeds=_testbeds(request.config),
        policy=load_policy(),
        **_describe(request.node),
    )
    request.node.stash[_EXPERIMENT] = subject
    return subject


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write each scenario's result into the run folder: also if it crashed, was skipped or never began."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy's wrappers are untyped
    if _is_scenario(item) and (report.when == "call" or report.outcome != "passed"):
        try:
            _conclude(item, call, report)
        except Exception as error:  # the results of all others must not be lost with this one
            report.outcome = "failed"
            report.longrepr = f"its result can't be written: {type(error).__name__}: {error}"
    return report  # type: ignore[return-value]  # as above


def _conclude(item: pytest.Function, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    from harness.experiment.results import conclude
    from harness.history import RunFolder

    error = call.excinfo.value if call.excinfo is not None else None
    if error is None and report.outcome != "passed":
        error = AssertionError(report.longreprtext)  # strict xfail: it passed and should not have
    seconds = time.time() - call.start
    subject = item.stash.get(_EXPERIMENT, None)
    if subject is not None:
        subject.conclude(error, seconds)
    else:
        run = RunFolder(item.config.stash[_RUN])
        conclude(run, _describe(item), error, seconds, first=not item.stash.get(_CONCLUDED, False))
    item.stash[_CONCLUDED] = True


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what experiments took place on."""
    session.config.stash[_SESSION] = session
    testbeds = session.config.stash.get(_TESTBEDS, None)
    if testbeds is not None:
        try:
            testbeds.close()
        except Exception as error:  # the report must be written all the same
            session.config.stash[_TROUBLE] = [f"what the scenarios ran on did not end in order: {error}"]


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Write the report of a session that made its own run folder, and say where it is."""
    run_path = config.stash[_RUN]
    if hasattr(config, "workerinput") or not run_path.exists():
        return
    lines = config.stash.get(_TROUBLE, [])
    if notice := web_proxies.notice():
        lines.append(notice)
    try:
        lines += _report(terminalreporter, exitstatus, config)
    except Exception as error:
        lines += [f"no report: {error}; try `stormwatch report {os.path.relpath(run_path)}`"]
        config.stash[_SESSION].exitstatus = pytest.ExitCode.INTERNAL_ERROR
    if lines:
        terminalreporter.section("stormwatch")
        for line in lines:
            terminalreporter.line(line)


def _report(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> list[str]:
    """Account for every scenario and, if the run folder is this session's own, write its report."""
    from harness.experiment.results import account_for_crash, account_for_missing
    from harness.files import make_folder
    from harness.history import RunFolder

    run = RunFolder(config.stash[_RUN])
    for report in terminalreporter.getreports("failed"):
        if report.when == "???":  # what xdist says of a worker that died: it knows of no phase
            account_for_crash(run, scenario_id(report.nodeid), str(report.longrepr))
    if config.getoption("--stormwatch-run"):
        return []
    from harness.history.run import machine, utc_now, versions
    from harness.report import write_reports
    from harness.sla.policy import load_policy

    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    account_for_missing(run, interrupted=interrupted)
    make_folder(run.history, exist_ok=True)  # the scenarios' histories lie in folders of their own
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
    return [f"verdict: {document.verdict}    report: {os.path.relpath(run.path / 'report.html')}"]


def system_of(config: pytest.Config) -> type[System]:
    """Return the system that is put to the test; end the session where none can be had."""
    from harness.system import SystemFileError
    from harness.system.beside import put_to_the_test

    try:
        return put_to_the_test(config.getoption("--stormwatch-system"))
    except SystemFileError as error:
        pytest.exit(f"stormwatch: {error}", returncode=_WRONG_USAGE)


def _testbeds(config: pytest.Config) -> Testbeds:
    """Return what gives this process's experiments their stack and games."""
    if _TESTBEDS not in config.stash:
        from harness.experiment import Testbeds
        from harness.sla.policy import load_policy

        shared = not config.getoption("--stormwatch-apart")
        folder = config.stash[_RUN] / "testbeds"
        system = system_of(config)  # which names its policy, too
        config.stash[_TESTBEDS] = Testbeds(folder, load_policy(), system, shared=shared)
    return config.stash[_TESTBEDS]


def _is_scenario(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and "experiment" in item.fixturenames


def _describe(item: pytest.Function) -> dict[str, str]:
    """Return a scenario's id, title, and the command that runs it alone."""
    from harness.system.find import SETTING

    named = item.config.getoption("--stormwatch-system") or os.environ.get(SETTING)
    system = [f"--stormwatch-system={named}"] if named else []
    said = item.obj.__doc__
    told = inspect.cleandoc(said).strip() if isinstance(said, str) else ""
    return {
        "id": scenario_id(item.nodeid),
        "title": told.partition("\n")[0] or item.nodeid.partition("::")[2],
        "command": shlex.join(["pytest", _found_by(item), *system]),
    }


def _found_by(item: pytest.Function) -> str:
    """Return what names a scenario to pytest in the folder that the session was begun in."""
    path, _, name = item.nodeid.partition("::")
    here = item.config.invocation_params.dir / path
    return item.nodeid if here.is_file() and here.samefile(item.path) else f"{item.path}::{name}"


def scenario_id(nodeid: str) -> str:
    """Return a scenario's id, also the name of its folder: no other node id has the same.

    A digest of the node id is part of it, unless the rest tells all of the node id.

    Examples
    --------
    >>> scenario_id("failure/test_outage.py::test_refused[down]")
    'failure-outage.refused[down]'
    >>> scenario_id("test_outage.py::test_refused[p/q]")
    'outage.refused[p-q]~21efbd30c7e5'
    """
    nodeid = nodeid.rpartition(_IN_WHEEL)[2]
    if (plain := _PLAIN.fullmatch(nodeid)) and len(nodeid) <= _LONGEST_NAME:
        folder, file, name = plain.groups()
        return f"{folder.replace('/', '-')}{file}.{name}"
    path, _, name = nodeid.partition("::")
    told = re.sub(r"(^|[/.:])test_", r"\1", f"{path.removesuffix('.py')}.{name}")
    told = re.sub(r"[^\w.\[\]]+", "-", told).lstrip(".-").encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{told}~{hashlib.sha256(nodeid.encode(errors='surrogatepass')).hexdigest()[:12]}"


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
