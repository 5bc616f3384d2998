"""One run of the load: what it starts, its windows, its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

import gevent
from gevent.event import Event
from locust.env import Environment

from harness.files import DocumentError
from harness.history import HistoryWriter, RunFolder, now_ns
from harness.history.names import Actor, Reading, Writer
from harness.history.run import utc_now
from harness.history.witnesses import Doubt, Witness, doubts_about
from harness.limits import Reserve
from harness.load.cron import Cron
from harness.load.observers import ObserverError, ObserverProcess
from harness.load.preflight import remove_items
from harness.load.processes import WatchedProcesses
from harness.load.worker_run import RunSpec, observe_itself
from harness.load.workers import Workers
from harness.observe.process import Assignment
from harness.observe.readings import reading
from harness.system import Ticks, find_system
from harness.target import Action

log = logging.getLogger(__name__)

#: How long an interrupted run waits for late events.
INTERRUPTED_DRAIN_S: Final = 2.0
#: How long late events are waited for at the end, at least.
_LATE_S: Final = 2.0
#: How long the database may take to be read to its end.
_LAST_LOOK_S: Final = 15.0
#: Between two looks at whether a process of the target was restarted.
_PROCESSES_EVERY_S: Final = 2.0
#: Between two looks at whether the names of a deployment still lead where they led.
_ADDRESSES_EVERY_S: Final = 5.0

#: The windows of a run, in order, as the log announces them.
_WINDOWS: Final = {
    "warm-up": "{items} begin in waves",
    "steady": "from here on it counts",
    "drain": "{items} finish, late events arrive",
}


class Unplayable(Exception):
    """No game of a run can be started; one line says why."""


@dataclass
class Window:
    """A declared span of a run."""

    name: str
    start_ns: int
    end_ns: int | None = None


class Run:
    """A run that goes on; made, it has begun.

    Parameters
    ----------
    folder : takes the record.
    spec : what is played, and where.
    processes : the target's on this machine, to be watched.
    workers : who plays.
    environment : Locust's.
    doubts : what the record will lack, whatever happens.
    removes_games : whether the run's games are removed at its end.

    Raises
    ------
    ObserverError, WorkersError, OSError
        It can't begin; what was started is stopped.
    """

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        processes: WatchedProcesses,
        workers: Workers,
        environment: Environment,
        doubts: Sequence[Doubt],
        *,
        removes_games: bool,
    ) -> None:
        spec.permission.require(Action.LOAD)
        self.folder = folder
        self.options = spec.options
        self.ending = False
        self.ended = Event()
        self._spec = spec
        self._workers = workers
        self._environment = environment
        self._removes_games = removes_games
        self._windows: list[Window] = []
        self._doubts = list(doubts)
        self._completed = False
        #: Whether a name of the target leads elsewhere by now, where nobody consented to load.
        self._moved = False
        self._all_spawned = self._drain_began = 0.0
        self._chores: list[gevent.Greenlet] = []
        with ExitStack() as failing:
            # The master's own rows: cron's ticks, the number of users. Workers write rows of their own.
            self._history = HistoryWriter(folder.history, Writer.CRON, spec.run_id)
            failing.callback(self._close_history)
            self._reserve = Reserve()
            failing.callback(self._reserve.release)
            failing.callback(self._remove_games)
            self._watch = self._start_watching(processes)
            # In order: what it has put into the database is to be taken away.
            failing.callback(self._watch.stop, 0.0)
            failing.callback(workers.end, 0.0)
            workers.begin(spec)
            _see_that_it_can_read(self._watch)
            self._cron = self._start_cron()
            if self._cron is not None:
                failing.callback(self._cron.stop, within_s=0.0)
            self._begin_chores(processes)
            self._undo = failing.pop_all()
        self._began = time.monotonic()
        self._open_window("warm-up")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first wave."""
        return time.monotonic() - self._began

    def advance(self) -> bool:
        """Open the next window when it is time; return whether the run goes on.

        Raises
        ------
        Unplayable
            No game can be started: it is no run.
        """
        if (why := self._workers.unplayable) is not None and self._windows[-1].name == "warm-up":
            raise Unplayable(why)
        now = time.monotonic()
        if self.ending or self._moved:
            return False
        if not self._all_spawned and self._users() >= self.options.games:
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
        self._reserve.release()
        if self._completed:
            left_s = self._drain_began + self.options.drain_s - time.monotonic()
            late_s = max(_LATE_S, left_s)
        else:
            log.warning("interrupted: what was seen so far is kept and judged as inconclusive")
            self._workers.drain()
            late_s = INTERRUPTED_DRAIN_S
        # Cron goes on to the last look: a game left in the middle must not be overdue by our doing.
        self._doubts += self._workers.end(late_s)
        self._doubts += self._watch.stop(_LAST_LOOK_S)
        if self._cron is not None:
            self._cron.stop(within_s=INTERRUPTED_DRAIN_S)
        self._remove_games()
        self._close_history()
        self._close_window()
        left = self._watch.left
        self._write(finished_at=utc_now(), interrupted=not self._completed, left_behind=left)

    def abandon(self) -> None:
        """Stop everything at once: the run is none."""
        self.ending = True
        self._undo.close()

    # -- its beginning -------------------------------------------------------------------------

    def _start_watching(self, processes: WatchedProcesses) -> ObserverProcess:
        """Start the observer of the database, of /health and of the target's processes."""
        target = self._spec.permission.target
        settings = {
            "system": self._spec.system,
            "prefix": self._spec.prefix,
            "may_watch": Action.WATCH in self._spec.permission,
            "probe_s": self.options.probe_s,
            "processes": processes.processes(),
            "logs": dict(processes.logs),
            "services": processes.services or {"service": target.service_url},
        }
        assignment = Assignment(Writer.WATCH, self._spec.run_id, self.folder.history, target, settings)
        return ObserverProcess("harness.observe.watch", assignment, self.folder.logs)

    def _start_cron(self) -> Cron | None:
        permission = self._spec.permission
        system = find_system(self._spec.system)(permission.target)
        if Action.TICK not in permission or not isinstance(system, Ticks):
            return None
        cron = Cron(
            system,
            permission,
            self.options.tick_s,
            self._history,
            self._environment.events.request,
            self.folder.schedule_off,
        )
        cron.start()
        return cron

    def _begin_chores(self, processes: WatchedProcesses) -> None:
        self._chores += [
            gevent.spawn(self._count_users),
            gevent.spawn(self._workers.compare_clocks, self._history),
            gevent.spawn(self._follow_processes, processes),
            gevent.spawn(self._follow_addresses),
        ]
        if self._workers.apart:
            self._chores.append(gevent.spawn(observe_itself, self._spec.name, self._history))

    # -- while it goes on ----------------------------------------------------------------------

    def _count_users(self) -> None:
        while True:
            self._history.append(reading(Reading.USERS, Actor.LOAD, self._users()))
            gevent.sleep(1.0)

    def _follow_processes(self, processes: WatchedProcesses) -> None:
        """Tell the observer of processes that were restarted."""
        known = processes.processes()
        while True:
            gevent.sleep(_PROCESSES_EVERY_S)
            now = processes.processes()
            if now != known:
                self._watch.send(do="processes", processes=now)
                known = now

    def _follow_addresses(self) -> None:
        """End the run as soon as a name of the target leads where nobody consented to."""
        while True:
            gevent.sleep(_ADDRESSES_EVERY_S)
            moved = self._spec.permission.moved()
            if moved is not None:
                log.error("%s: nobody consented to that, the run ends", moved)
                self._doubts.append(Doubt(Witness.RUN, moved))
                self._moved = True
                return

    def _users(self) -> int:
        runner = self._environment.runner
        return 0 if runner is None else runner.user_count

    def _steady_is_over(self, now: float) -> bool:
        if self.options.run_time_s is not None:
            return now >= self._began + self.options.run_time_s
        return now_ns() >= self._windows[-1].start_ns + round(self.options.duration_s * 1e9)

    # -- its record ----------------------------------------------------------------------------

    def _open_window(self, name: str) -> None:
        items = find_system(self._spec.system).words.items
        log.info("%s: %s", name, _WINDOWS[name].format(items=items))
        self._close_window()
        self._windows.append(Window(name, now_ns()))
        self._write()

    def _close_window(self) -> None:
        if self._windows and self._windows[-1].end_ns is None:
            self._windows[-1].end_ns = now_ns()

    def _write(self, **fields: Any) -> None:
        try:
            self.folder.update(
                windows=[asdict(window) for window in self._windows],
                missing=[doubt.entry() for doubt in self._doubts],
                recorders=[Writer.CRON, Writer.WATCH, *self._workers.recorders],
                **fields,
            )
        except (OSError, DocumentError) as error:
            log.error("run.json can't be written: %s; the run goes on", error)  # noqa: TRY400 - foreseen: no traceback

    # -- its end -------------------------------------------------------------------------------

    def _remove_games(self) -> None:
        """Remove what the run made, where it would stay behind."""
        if not self._removes_games:
            return
        prefix = self._spec.prefix
        if self._moved:
            log.warning(
                "what the run made is left where it is: `stormwatch clean %s` removes it, "
                "once the target's name leads there again",
                prefix,
            )
            return
        cleaned = remove_items(self._spec.permission, find_system(self._spec.system), prefix)
        if cleaned.left:
            log.warning("%s; try `stormwatch clean %s`", cleaned, prefix)
        else:
            log.info("%s", cleaned)
        self._write(cleaned=asdict(cleaned))

    def _close_history(self) -> None:
        gevent.killall(self._chores)
        try:
            self._history.close()
        except OSError as error:
            reason = f"cron could not write its whole history: {error.strerror}"
            self._doubts += doubts_about(Writer.CRON, reason)


def _see_that_it_can_read(watch: ObserverProcess) -> None:
    if "error" in (report := watch.wait_until_ready()):
        raise ObserverError(f"DATABASE_URL can't be read: {report['error']}; set it right, or leave it out")
