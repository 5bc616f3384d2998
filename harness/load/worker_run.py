"""A Locust process in a run: its run spec, its history, its subscribers."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import gevent
from gevent.event import AsyncResult, Event

from harness.files import DocumentError
from harness.history import HistoryWriter, RunFolder
from harness.history.names import Writer, load_writer, observer_writer
from harness.history.run import create_run
from harness.history.witnesses import Doubt, doubts_about
from harness.load.item import GivenTwice
from harness.load.lengths import system_named
from harness.load.subscribers import Subscribers
from harness.load_options import LoadOptions
from harness.observe.process import Assignment
from harness.observe.readings import OwnReadings
from harness.system import SystemFileError, find_system
from harness.system.find import SETTING, place_of
from harness.target import Permission
from harness.target.consent import handed_over

log = logging.getLogger(__name__)

#: How often the process's loop is asked whether it is awake.
_LAG_PROBE_S: Final = 0.02
#: How often it is looked whether players listen, and how long the first message may take over its timer.
_EARS_EVERY_S: Final = 0.5
_SILENT_S: Final = 2.0


@dataclass(frozen=True)
class RunSpec:
    """What the master tells every Locust process of a run. Holds the target's secrets."""

    run_id: str
    folder: Path
    #: How the ids of this run's games begin.
    prefix: str
    options: LoadOptions
    permission: Permission
    #: Where the system's description is found.
    system: str
    #: 0-based number of this process among those that play games; None: there is only one.
    index: int | None = None
    #: How many processes share the games.
    processes: int = 1
    #: Whether to play even if this machine's limits are too small for it.
    anyway: bool = False

    @property
    def name(self) -> str:
        """The process's name in the history."""
        return Writer.LOAD if self.index is None else load_writer(self.index + 1)

    @property
    def observers(self) -> list[str]:
        """Names of this process's observers in the history."""
        first = (self.index or 0) * self.options.observers + 1
        return [observer_writer(number) for number in range(first, first + self.options.observers)]

    @property
    def recorders(self) -> list[str]:
        """Names of those who write a history for this process."""
        return [self.name, *self.observers]

    def to_message(self) -> dict[str, Any]:
        """Return it as Locust sends it to a worker."""
        return {
            "run_id": self.run_id,
            "folder": str(self.folder),
            "prefix": self.prefix,
            "options": asdict(self.options),
            "permission": self.permission.environment(),
            "system": self.system,
            "called": find_system(self.system).name,
            "index": self.index,
            "processes": self.processes,
            "anyway": self.anyway,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Read it back.

        Raises
        ------
        SystemFileError
            The system is not found here, or is another one.
        """
        return cls(
            run_id=message["run_id"],
            folder=Path(message["folder"]),
            prefix=message["prefix"],
            options=LoadOptions(**message["options"]),
            permission=handed_over(message["permission"]),
            system=_system_here(message["system"], message["called"]),
            index=message["index"],
            processes=message["processes"],
            anyway=message["anyway"],
        )


class WorkerRun:
    """One Locust process that plays games of a run, from begin to end.

    Parameters
    ----------
    spec : what to do.
    reports : where to write if the master's run folder is not to be seen from here.
    """

    def __init__(self, spec: RunSpec, reports: Path) -> None:
        self.spec = spec
        self.options = spec.options
        self.target = spec.permission.target
        self.system = find_system(spec.system)(self.target)
        self.draining = Event()
        #: Games begun and not yet over.
        self.playing = 0
        #: Whether one could be started; if not, why the run can't go on.
        self.started = False
        self.unplayable: str | None = None
        self._failed = 0
        run = writable_run(spec, reports)
        #: Where this process's files lie.
        self.folder = run
        self.history = HistoryWriter(run.history, spec.name, spec.run_id)
        settings = {"system": spec.system}
        assignments = [
            Assignment(name, spec.run_id, run.history, self.target, settings) for name in spec.observers
        ]
        self.subscribers = Subscribers(assignments, run.logs)
        self._slots = 0
        #: Id of the server's -> the mark of the item that it was given to.
        self._known: dict[str, str] = {}
        self._own = gevent.spawn(observe_itself, spec.name, self.history)
        self._ears = gevent.spawn(self._see_that_they_hear)

    def wait_until_ready(self) -> None:
        """Wait for the subscribers.

        Raises
        ------
        ObserverError
            They could not begin.
        """
        self.subscribers.wait_until_ready()

    @property
    def is_elsewhere(self) -> bool:
        """Whether its files do not lie in the master's run folder."""
        return self.folder.path != self.spec.folder

    @property
    def drained(self) -> bool:
        """Whether no game is being played and no player listens any more."""
        return self.playing == 0 and self.subscribers.open == 0

    def next_slot(self) -> str:
        """Return the name of another host: unique in the run."""
        self._slots += 1
        return f"{self._slots}" if self.spec.index is None else f"{self.spec.index + 1}.{self._slots}"

    def may_begin(self, slot: str) -> bool:
        """Whether a host may have its next item played: a rollout shares them out between two versions."""
        return self.is_elsewhere or self.folder.lets_begin(slot, self.spec.processes)

    def item_id(self, slot: str, number: int) -> str:
        """Return the id of a host's next item: unique among all items of all runs."""
        return f"{self.spec.prefix}{slot.replace('.', '-')}-{number}"

    def failed(self, why: Exception) -> None:
        """Note that an item could not be played: where the whole first wave can't be started, none can."""
        self._failed += 1
        if isinstance(why.__cause__, GivenTwice):
            # Who hears of one would hear of the other: nothing could be judged.
            self.unplayable = str(why)
        share = min(self.options.games // self.spec.processes, self.options.wave_size)
        if not self.started and not self.draining.is_set() and self._failed >= share:
            self.unplayable = f"no {self.system.words.item} can be started: {why}"

    def first_known(self, id: str, mark: str) -> bool:
        """Note the server's ``id`` of an item; return False if another one has it."""
        return self._known.setdefault(id, mark) == mark

    def chance(self, *of: object) -> random.Random:
        """Return the random numbers of one game: the same for the same seed."""
        return random.Random(f"{self.options.seed}/{'/'.join(map(str, of))}")  # noqa: S311 - nothing secret

    def end(self, within_s: float) -> list[Doubt]:
        """Let the players hear what is still to come, then close; return what is missing of the record."""
        self.draining.set()
        missing = self.subscribers.stop(within_s)
        gevent.killall([self._own, self._ears])
        try:
            self.history.close()
        except OSError as error:
            reason = f"{self.spec.name} could not write its whole history: {error.strerror}"
            missing += doubts_about(self.spec.name, reason)
        return missing

    def abandon(self) -> None:
        """Close at once, as far as possible."""
        self.draining.set()
        gevent.killall([self._own, self._ears], block=False)
        self.subscribers.kill()
        self.history.flush()

    def _see_that_they_hear(self) -> None:
        """Say so where nobody has heard anything by the time that the first timer ran out."""
        while not self.subscribers.open:
            gevent.sleep(_EARS_EVERY_S)
        first = next(iter(self.system.lifecycle.timed))
        silent_s = self.options.lengths[first] + self.options.tick_s + _SILENT_S
        gevent.sleep(silent_s)
        if not self.subscribers.heard:
            log.warning(
                "no %s has heard anything for %.3g s: see that listener or channel, and read, of %s are "
                "right, and that it is there that the system publishes",
                self.system.words.player,
                silent_s,
                self.spec.system,
            )


def _system_here(masters: str, called: str) -> str:
    """Return where this machine has the system that the master plays: named here, else at the same path.

    Raises
    ------
    SystemFileError
        It has it not, or it names another one.
    """
    own = system_named().system or os.environ.get(SETTING)
    try:
        system = find_system(own or masters)
    except SystemFileError as error:
        if own:
            raise
        raise SystemFileError(
            f"{error}: that is where the master has it; give this worker --system FILE, or {SETTING}"
        ) from error
    if system.name != called:
        raise SystemFileError(
            f"the master plays {called!r}, and this worker has {system.name!r} ({place_of(system)}): give it "
            f"the master's by --system FILE, or {SETTING}"
        )
    return place_of(system)


def observe_itself(name: str, history: HistoryWriter) -> None:
    """Write this process's own readings each second, until killed; say so when they can't be written."""
    readings = OwnReadings(name, history)
    next_row = time.monotonic() + 1.0
    told = False
    while True:
        asked = time.monotonic()
        gevent.sleep(_LAG_PROBE_S)
        now = time.monotonic()
        readings.lagged(now - asked - _LAG_PROBE_S)
        if now >= next_row:
            readings.record()
            next_row = max(next_row + 1.0, now)
            error = history.error
            if error is not None and not told:
                log.error(
                    "%s: %s; the run goes on, rows are kept in memory until they can be written",
                    history.path,
                    error.strerror,
                )
            told = error is not None


_started: AsyncResult[WorkerRun] = AsyncResult()


def start_worker_run(worker_run: WorkerRun) -> None:
    """Make ``worker_run`` the one that this process's users play at."""
    global _started  # noqa: PLW0603 - a Locust process takes part in one run at a time
    if _started.ready():
        _started = AsyncResult()
    _started.set(worker_run)


def current_worker_run() -> WorkerRun:
    """Return this process's worker run, waiting for it if the master's run spec is still under way."""
    worker_run: WorkerRun = _started.get()
    return worker_run


def writable_run(spec: RunSpec, reports: Path) -> RunFolder:
    """Return the run's folder, or one of our own under ``reports`` if it can't be seen from here."""
    run = RunFolder(spec.folder)
    if _is_the_masters(run, spec) and os.access(run.history, os.W_OK):
        return run
    own = create_run(reports, "worker", of_run=spec.run_id)
    log.info("the master's run folder is not here: this worker's record goes to the master from %s", own.path)
    return own


def _is_the_masters(run: RunFolder, spec: RunSpec) -> bool:
    """Whether it is that folder, and none that has the same path on another machine."""
    try:
        return run.read().game_prefix == spec.prefix
    except (DocumentError, OSError):
        return False
