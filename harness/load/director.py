"""Directs a run, in the master or in the only process: target, run folder, windows, cron, eyes, report."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import Event
from locust.env import Environment

from harness.files import make_folder
from harness.history import HistoryWriter, RunFolder, RunFolderError, create_run, now_ns
from harness.history.command import command_line
from harness.history.run import utc_now
from harness.history.witnesses import Doubt, Witness, doubts_about
from harness.load.capacity import see_that_it_fits_here
from harness.load.cron import Cron
from harness.load.observers import ObserverError, ObserverProcess
from harness.load.options import OptionError, load_options
from harness.load.origins import in_words, origins_of_ours
from harness.load.plan import load_plan
from harness.load.preflight import TargetUnusable, check_drive, check_target, earlier_runs, remove_games
from harness.load.processes import WatchedProcesses
from harness.load.worker_run import RunSpec, observe_itself
from harness.load.workers import Workers, WorkersError
from harness.load_options import LoadOptions
from harness.observe.process import Assignment
from harness.observe.readings import reading
from harness.target import (
    Action,
    ConsentError,
    Permission,
    Target,
    TargetError,
    deployment_named,
    forget_deployment,
)
from harness.target.cleaning import new_prefix
from harness.target.consent import ask

log = logging.getLogger(__name__)

#: An interrupted run waits so long for what is on its way.
INTERRUPTED_DRAIN_S: Final = 2.0
#: The least that late events get at the end.
LATE_S: Final = 2.0
#: How long the database may take to be read to its end.
LAST_LOOK_S: Final = 15.0

#: How often it is looked whether a part of the target became another process.
_PROCESSES_EVERY_S: Final = 2.0

#: How often it is looked whether the names of a deployment still lead where they led.
_ADDRESSES_EVERY_S: Final = 5.0

EXIT_USAGE: Final = 2
EXIT_NO_REPORT: Final = 4
#: What shells say of a process that Ctrl-C ended.
EXIT_INTERRUPTED: Final = 130


#: The windows of a run, in order, as the log announces them.
_WINDOWS: Final = {
    "warm-up": "games begin in waves",
    "steady": "from here on it counts",
    "drain": "games finish, late events arrive",
}


class CannotBegin(Exception):
    """The run can't begin; one line names the thing and the way out."""


@dataclass
class Window:
    """A declared part of a run."""

    name: str
    start_ns: int
    end_ns: int | None = None


class Director:
    """One run after the other, on one target.

    Parameters
    ----------
    environment : Locust's.
    workers : who plays.
    given : the command line, or what the web form made of it.
    """

    def __init__(self, environment: Environment, workers: Workers, given: argparse.Namespace) -> None:
        self.exit_code = 0
        self._environment = environment
        self._workers = workers
        self._given = given
        self._closing = ExitStack()
        self._parts: WatchedProcesses = WatchedProcesses()
        self._stack_is_here = True
        self._permission: Permission | None = None
        self._next_run: RunFolder | None = None
        self._run: Run | None = None

    @property
    def folder(self) -> RunFolder | None:
        """Where the run of now is recorded; None between runs."""
        return None if self._run is None else self._run.folder

    # -- before the first run ------------------------------------------------------------------

    def prepare(self) -> None:
        """Find or start the target and see that it can be driven.

        Raises
        ------
        CannotBegin
            It can't, or there is nowhere to write.
        """
        try:
            options = load_options(self._given)
            _see_that_it_can_be_written(Path(self._given.reports))
            found = self._find(options)
            self._stack_is_here = found is None or bool(self._parts.names)
            self.see_that_it_fits(options)
            self._permission = permission = found or self._start_stack()
            ill = check_target(permission.target)
            unserved = check_drive(permission)
        except (OptionError, TargetError, ConsentError, TargetUnusable, RunFolderError) as error:
            raise CannotBegin(str(error)) from error
        if ill:
            log.warning("the service says that it is unhealthy already: %s", ", ".join(ill))
        if unserved:
            log.warning("the service could not serve a first game: %s", unserved)
        if left := [] if permission.own else earlier_runs(permission.target):
            log.warning(
                "games of earlier runs are left (%s): `stormwatch clean` removes them", ", ".join(left)
            )
        self._environment.host = permission.target.service_url

    def see_that_it_fits(self, options: LoadOptions) -> None:
        """See that this machine can play ``options``; raises :class:`OptionError` with the numbers."""
        see_that_it_fits_here(options, self._given, own_stack=self._stack_is_here)

    def _find(self, options: LoadOptions) -> Permission | None:
        """Return the permission to load the deployment that was named; None if none was."""
        if self._given.local:
            forget_deployment()
            self._environment.host = None
        host = self._environment.host
        if not host and not deployment_named():
            return None
        target = Target.from_environment(host=host)
        self._parts = WatchedProcesses.of_others(target)
        return ask(target, [Action.LOAD], load_plan(options), optional=[Action.TICK], say=log.info)

    def close(self) -> None:
        """Stop what was started; remove the folder of a run that never began."""
        self._closing.close()
        if self._next_run is not None:
            _remove(self._next_run)
            self._next_run = None

    def _logs(self) -> Path | None:
        """Return where the stack's logs go: with the run, if it is clear already which one that is."""
        if not self._given.headless:
            return None
        self._next_run = self._folder()
        return self._next_run.logs

    def _start_stack(self) -> Permission:
        from harness.stack import StackError, StackOptions, start_stack

        log.info("starting a local stack")
        try:
            stack = start_stack(StackOptions(log_folder=self._logs()), say=log.info)
        except StackError as error:
            raise CannotBegin(str(error)) from error
        self._closing.callback(stack.stop)
        self._parts = WatchedProcesses.of_own(stack)
        return stack.permission

    # -- a run ---------------------------------------------------------------------------------

    def tick(self) -> tuple[int, float] | None:
        """Say how many games there should be now, and how many may be spawned a second; None ends the run.

        Called about each second while a run goes on; the first call begins it.
        """
        if self._run is None:
            try:
                self._run = self._begin()
                self.exit_code = 0
            except CannotBegin as error:
                log.error("%s", error)  # noqa: TRY400 - foreseen: no traceback - the message says it all
                self.exit_code = EXIT_USAGE
                return None
        if not self._run.advance(_users(self._environment)):
            return None
        options = self._run.options
        return options.spawned(self._run.elapsed_s), float(options.wave_size)

    def end(self) -> None:
        """End the run of now, if there is one, and have it judged; a second caller waits for the first."""
        run = self._run
        if run is None:
            return
        if run.ending:
            run.ended.wait()
            return
        try:
            run.end()
            if not self._given.no_report:
                self.exit_code = _judge(run.folder)
        finally:
            self._run = None
            run.ended.set()

    def _begin(self) -> Run:
        assert self._permission is not None
        # Between consent and a run that is begun in the web UI, days may lie.
        if moved := self._permission.moved():
            raise CannotBegin(f"{moved}: nobody consented to that; start Locust again")
        try:
            options = load_options(self._given)
            self.see_that_it_fits(options)
            folder = self._folder()
        except (OptionError, RunFolderError) as error:
            raise CannotBegin(str(error)) from error
        run = Run(folder, options, self._permission, self._workers, self._environment)
        try:
            run.begin(self._parts)
            if not _is_given():
                folder.point_latest_here()
        except BaseException as error:  # Ctrl-C as well: this greenlet is killed then
            run.abandon()
            _remove(folder)
            self.exit_code = EXIT_INTERRUPTED
            if isinstance(error, (ObserverError, WorkersError, RunFolderError, OSError)):
                raise CannotBegin(str(error)) from error
            raise
        if origins := in_words(self._given):
            log.info("not left to defaults: %s", origins)
        log.info("the record of this run: %s", folder.path)
        return run

    def _folder(self) -> RunFolder:
        if given := os.environ.get("STORMWATCH_RUN_DIR"):
            folder = RunFolder(Path(given).absolute())
            try:
                make_folder(folder.history, exist_ok=True)
                make_folder(folder.logs, exist_ok=True)
            except OSError as error:
                raise RunFolderError(f"STORMWATCH_RUN_DIR={given}: {error.strerror}") from error
            return folder
        prepared, self._next_run = self._next_run, None
        return prepared or create_run(Path(self._given.reports).absolute(), "concurrent-games")


class Run:
    """One run of the load: what it started, its windows, its end."""

    def __init__(
        self,
        folder: RunFolder,
        options: LoadOptions,
        permission: Permission,
        workers: Workers,
        environment: Environment,
    ) -> None:
        permission.require(Action.LOAD)
        self.folder = folder
        self.options = options
        self.ending = False
        self.ended = Event()
        self._permission = permission
        self._target = permission.target
        self._workers = workers
        self._environment = environment
        self._prefix = new_prefix()
        self._windows: list[Window] = []
        self._missing: list[Doubt] = []
        self._completed = False
        #: A name of the target leads elsewhere by now: nobody consented to that.
        self._moved = False
        self._began = self._all_spawned = self._drain_began = 0.0
        self._history: HistoryWriter | None = None
        self._watch: ObserverProcess | None = None
        self._cron: Cron | None = None
        self._chores: list[gevent.Greenlet] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first wave."""
        return time.monotonic() - self._began

    def begin(self, parts: WatchedProcesses) -> None:
        """Start the eyes, the players and cron.

        Raises
        ------
        ObserverError, WorkersError, OSError
            One of them can't.
        """
        if self._target.database_url is None:
            reason = "no DATABASE_URL: transitions, triggers and the outbox were not read"
            self._missing.append(Doubt(Witness.DATABASE, reason))
        self.folder.update(
            options=asdict(self.options),
            options_from=self._origins(),
            target=self._target.public(),
            seed=self.options.seed,
            **self._profile(),
            **self._command(),
            game_prefix=self._prefix,
            interrupted=False,
            windows=[],
            missing=self._doubts(),
        )
        given = self._environment.parsed_options
        assert given is not None
        spec = RunSpec(
            self.folder.id,
            self.folder.path,
            self._prefix,
            self.options,
            self._permission,
            anyway=given.anyway,
        )
        # What is the master's own: cron's ticks, the number of users. (Workers write of themselves.)
        self._history = HistoryWriter(self.folder.history, "cron", self.folder.id)
        self._watch = ObserverProcess(
            "harness.observe.watch",
            Assignment(
                "observer-watch",
                self.folder.id,
                self.folder.history,
                self._target,
                {
                    "prefix": self._prefix,
                    "probe_s": self.options.probe_s,
                    "processes": parts.processes(),
                    "logs": dict(parts.logs),
                    "metrics": parts.metrics or {"service": f"{self._target.service_url}/metrics"},
                },
            ),
            self.folder.logs,
        )
        self._workers.begin(spec)
        if "error" in (report := self._watch.wait_until_ready()):
            raise ObserverError(
                f"DATABASE_URL can't be read: {report['error']}; set it right, or leave it out"
            )
        events = self._environment.events.request
        if Action.TICK in self._permission:
            self._cron = Cron(self._permission, self.options.tick_s, self._history, events)
            self._cron.start()
        else:
            self._leave_ticks_to_the_target()
        self._chores = [
            gevent.spawn(self._count_users, self._history),
            gevent.spawn(self._workers.compare_clocks, self._history),
            gevent.spawn(self._follow_processes, parts, self._watch),
            gevent.spawn(self._follow_addresses),
        ]
        if self._workers.apart:
            self._chores.append(gevent.spawn(observe_itself, spec.name, self._history))
        self._began = time.monotonic()
        self._open_window("warm-up")

    def _leave_ticks_to_the_target(self) -> None:
        reason = f"no ticks of ours: {Action.TICK.setting} does not name the target's address"
        self.folder.update(absent=[Doubt(Witness.CRON, reason).entry()])
        if "tick" not in self._origins():
            reason = "how often the target's own cron ticks is not known: say it with --tick"
            self._missing.append(Doubt(Witness.SCHEDULE, reason))

    def advance(self, users: int) -> bool:
        """Open the next window when it is time; return whether the run goes on."""
        now = time.monotonic()
        if self.ending or self._moved:
            return False
        if not self._all_spawned and users >= self.options.games:
            self._all_spawned = now
        match self._windows[-1].name:
            case "warm-up":
                if self._all_spawned and now >= self._all_spawned + self.options.game_s:
                    self._open_window("steady")
            case "steady" if self._steady_is_over(now):
                self._open_window("drain")
                self._drain_began = now
                self._workers.drain()
            case "drain":
                self._completed = self._workers.drained or now >= self._drain_began + self.options.drain_s
        return not self._completed

    def end(self) -> None:
        """Let late events arrive, look once more, stop everything and complete ``run.json``."""
        self.ending = True
        assert self._watch is not None
        if self._completed:
            left_s = self._drain_began + self.options.drain_s - time.monotonic()
            late_s = max(LATE_S, left_s)
        else:
            log.warning("interrupted: what was seen so far is kept and judged as inconclusive")
            self._workers.drain()
            late_s = INTERRUPTED_DRAIN_S
        # Cron goes on to the last look: a game left in the middle must not be overdue by our doing.
        self._missing += self._workers.end(late_s)
        self._missing += self._watch.stop(LAST_LOOK_S)
        if self._cron is not None:
            self._cron.stop(within_s=INTERRUPTED_DRAIN_S)
        self._remove_games()
        self._close_history()
        self._close_window()
        self._write(finished_at=utc_now(), interrupted=not self._completed)

    def abandon(self) -> None:
        """Stop what was started of a run that could not begin."""
        self.ending = True
        self._workers.end(0.0)
        if self._watch is not None:
            self._watch.kill()
        if self._cron is not None:
            self._cron.stop(within_s=0.0)
        self._remove_games()
        self._close_history()

    def _remove_games(self) -> None:
        """Remove what the run made, where it would stay behind."""
        given = self._environment.parsed_options
        assert given is not None
        if given.keep_games or (self._permission.own and given.headless):
            return  # asked for, or the stack is about to go with all that is in it
        if self._moved:
            log.warning(
                "the run's games are left where they were made: `stormwatch clean %s` removes them, "
                "once the target's name leads there again",
                self._prefix,
            )
            return
        cleaned = remove_games(self._permission, self._prefix)
        if cleaned.left:
            log.warning("%s; try `stormwatch clean %s`", cleaned, self._prefix)
        else:
            log.info("%s", cleaned)
        self._write(cleaned=asdict(cleaned))

    def _follow_addresses(self) -> None:
        """End the run as soon as a name of the target leads where nobody consented to."""
        while True:
            gevent.sleep(_ADDRESSES_EVERY_S)
            moved = self._permission.moved()
            if moved is not None:
                log.error("%s: nobody consented to that, the run ends", moved)
                self._missing.append(Doubt(Witness.RUN, moved))
                self._moved = True
                return

    def _profile(self) -> dict[str, str]:
        # Whoever handed over a run folder has said already what profile it runs.
        profile = getattr(self._environment.parsed_options, "profile", None)
        return {"profile": profile} if profile else {}

    def _origins(self) -> dict[str, str]:
        given = self._environment.parsed_options
        assert given is not None
        return origins_of_ours(given)

    def _command(self) -> dict[str, str]:
        # Whoever handed over a run folder has said already how to do it again, and more than the load.
        if _is_given():
            return {}
        given = self._environment.parsed_options
        assert given is not None
        return {"command": again(self.options, self._target, given)}

    def _steady_is_over(self, now: float) -> bool:
        if self.options.run_time_s is not None:
            return now >= self._began + self.options.run_time_s
        return now_ns() >= self._windows[-1].start_ns + round(self.options.duration_s * 1e9)

    def _open_window(self, name: str) -> None:
        log.info("%s: %s", name, _WINDOWS[name])
        self._close_window()
        self._windows.append(Window(name, now_ns()))
        self._write()

    def _close_window(self) -> None:
        if self._windows and self._windows[-1].end_ns is None:
            self._windows[-1].end_ns = now_ns()

    def _write(self, **fields: Any) -> None:
        windows = [asdict(window) for window in self._windows]
        try:
            self.folder.update(windows=windows, missing=self._doubts(), recorders=self._recorders(), **fields)
        except OSError as error:
            log.error("%s/run.json: %s; the run goes on", self.folder.path, error.strerror)  # noqa: TRY400 - foreseen: no traceback

    def _close_history(self) -> None:
        gevent.killall(self._chores)
        if self._history is not None:
            try:
                self._history.close()
            except OSError as error:
                reason = f"cron could not write its whole history: {error.strerror}"
                self._missing += doubts_about("cron", reason)

    def _recorders(self) -> list[str]:
        return ["cron", "observer-watch", *self._workers.recorders]

    def _doubts(self) -> list[dict[str, str]]:
        return [doubt.entry() for doubt in self._missing]

    def _count_users(self, history: HistoryWriter) -> None:
        while True:
            history.append(reading("users", "load", _users(self._environment)))
            gevent.sleep(1.0)

    def _follow_processes(self, parts: WatchedProcesses, watch: ObserverProcess) -> None:
        known = parts.processes()
        while True:
            gevent.sleep(_PROCESSES_EVERY_S)
            processes = parts.processes()
            if processes != known:
                watch.send(do="processes", processes=processes)
                known = processes


def again(options: LoadOptions, target: Target, given: argparse.Namespace) -> str:
    """Return the command that plays the same load again, with all that was left to defaults or chance."""
    words = ["locust", "-f", given.locustfile, "--headless"]
    if target.origin != "embedded":
        words.append(f"--host={target.service_url}")
    if given.processes is not None:
        words.append(f"--processes={given.processes}")
    if given.anyway:
        words.append("--anyway")
    return command_line(words + options.words())


def _is_given() -> bool:
    """Return whether the run's folder is another's, handed over to be written into."""
    return bool(os.environ.get("STORMWATCH_RUN_DIR"))


def _remove(folder: RunFolder) -> None:
    """Remove the folder of a run that never began, unless it is another's."""
    if not _is_given():
        shutil.rmtree(folder.path, ignore_errors=True)


def _users(environment: Environment) -> int:
    return 0 if environment.runner is None else environment.runner.user_count


def _judge(folder: RunFolder) -> int:
    """Write the reports of a finished run, show the objectives, and return the gate's exit code."""
    from harness.output import plain
    from harness.report import write_reports
    from harness.report.gate import verdict_exit_code
    from harness.report.terminal import print_summary
    from harness.sla.policy import load_policy

    try:
        policy = load_policy()
        profile = folder.read().get("profile")
        if profile in policy.profiles:
            policy = load_policy(profile=profile)
        document = write_reports(folder, policy)
    except Exception as error:  # whatever it is: the record is there, and judging can be tried again
        log.exception("%s: the report could not be written", folder.path)
        print(plain(f"no report: {error}; try `stormwatch report {os.path.relpath(folder.path)}`"))
        return EXIT_NO_REPORT
    print_summary(document)
    print(f"report: {os.path.relpath(folder.path / 'report.html')}")
    return verdict_exit_code(document)


def _see_that_it_can_be_written(reports: Path) -> None:
    try:
        make_folder(reports, exist_ok=True)
        with tempfile.TemporaryFile(dir=reports):
            pass
    except OSError as error:
        raise RunFolderError(
            f"can't write to {reports}: {error.strerror}; "
            "give a writable folder with --reports or STORMWATCH_REPORTS"
        ) from error
