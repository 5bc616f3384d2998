"""Where experiments take place: a stack with games played on it, kept while experiments agree on them."""

from __future__ import annotations

import asyncio
import glob
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pandas as pd

from harness.experiment.load import LoadProcess
from harness.experiment.setup import DRAIN_S, Setup, deployment
from harness.faults import Deployment, FaultTarget
from harness.history import HistoryWriter, RunFolder, create_run, now_ns, read_history
from harness.history.run import utc_now
from harness.history.witnesses import Witness, read_doubts
from harness.judge import Evidence, evidence_of
from harness.judge.evidence import NS
from harness.judge.findings import Expectation, applicable
from harness.observe.database import due_soon, note_overdue
from harness.sla.policy import Policy
from harness.stack import StackOptions, is_of_system, start_stack
from harness.system import System
from harness.system.beside import load_of
from harness.system.cleaning import clean
from harness.target.sessions import TROUBLE

log = logging.getLogger(__name__)

#: How long the games may take to begin.
_BEGIN_LIMIT_S: Final = 60.0
#: How long the load may take once they have come to their end.
_END_LIMIT_S: Final = 10.0


def timers_left_s(
    moves: pd.DataFrame, length_s: Callable[[str], float | None], at_ns: int
) -> pd.Series[float]:
    """Return how long the timers that run at ``at_ns`` have left, in seconds; one of an item, the newest.

    Parameters
    ----------
    moves : transitions with the columns ``game``, ``to`` and ``moved_ns``.
    length_s : how long the timer of a state runs, in seconds; None: it has none.
    at_ns : when, Unix ns.
    """
    newest = moves.sort_values("moved_ns").drop_duplicates("game", keep="last")
    lengths_s = newest["to"].astype(object).map(length_s).astype(float)
    return (lengths_s - (at_ns - newest["moved_ns"]) / NS).dropna()


class Testbed:
    """A running stack (or the deployment that the environment names) and load, and their record.

    Parameters
    ----------
    setup : what it is made of.
    run : folder that takes the record.
    policy : what the record is judged by.
    system : what is put to the test.
    on : where; None: the deployment that the environment names, else a stack of its own.

    Attributes
    ----------
    system : what is put to the test, at its address.
    game_s : the longest that a game takes, in seconds.
    stack : the running parts, or the deployment.
    history : takes what the experiments themselves do: faults, and what is found overdue.
    settled_since_ns : since when nothing has been disturbed, Unix ns; None while that is not known.
    """

    #: Not a test, whatever its name begins with.
    __test__ = False

    def __init__(
        self,
        setup: Setup,
        run: RunFolder,
        policy: Policy,
        system: type[System],
        *,
        on: FaultTarget | None = None,
    ) -> None:
        self.setup = setup
        self.run = run
        self.game_s = setup.game_s(system)
        self._policy = policy
        self._closing = ExitStack()
        with ExitStack() as failing:
            place = on or _deployment(system)
            self.stack: FaultTarget
            if place is None:
                options = StackOptions(
                    system=system,
                    replicas=setup.replicas,
                    service_env=setup.environment(system),
                    folder=setup.folder,
                    log_folder=run.logs,
                    postgres=setup.postgres,
                )
                self.stack = failing.enter_context(start_stack(options))
            else:
                self.stack = place
                failing.callback(self._remove_games)
            self.history = failing.enter_context(HistoryWriter(run.history, "faults", run.id))
            self.system = system(self.stack.target)
            environment = self.stack.permission.environment()
            self.load = LoadProcess(run, environment, setup.load_options(system), load_of(system))
            failing.enter_context(self.load)
            self.load.wait_for("warm-up", _BEGIN_LIMIT_S)
            self.settled_since_ns: int | None = now_ns()
            self._closing = failing.pop_all()

    def evidence(self) -> Evidence:
        """Return what the record holds by now."""
        self.history.flush()
        return evidence_of(read_history(self.run.history), self.run.read(), self._policy)

    @property
    def absent(self) -> frozenset[Witness]:
        """What its record does without by choice, or because the system has no such thing."""
        return frozenset(doubt.witness for doubt in read_doubts(self.run.read().absent))

    def applicable(self, expectations: Iterable[Expectation]) -> list[Expectation]:
        """Return the expectations of what the system has and the record tells.

        One of something that not every system has says by a method ``applies`` whether a system has it.
        """
        fit = applicable(expectations, self.absent)
        return [one for one in fit if getattr(one, "applies", lambda _: True)(self.system)]

    @property
    def processes(self) -> list[str]:
        """The parts of the stack that are the system's own processes; a deployment has none within reach."""
        return [name for name in self.stack.parts if is_of_system(name)]

    @property
    def prefix(self) -> str:
        """What the ids of its games begin with."""
        prefix = self.run.read().game_prefix
        assert prefix is not None  # the load says it before its first window
        return prefix

    def look_for_overdue(self) -> int:
        """Record which games are past due now, where anybody can tell; return when that was asked, Unix ns.

        Raises
        ------
        TROUBLE
            The database can't be read.
        """
        asked_ns = now_ns()
        if (url := self.stack.target.database_url) is not None:
            asyncio.run(note_overdue(url, self.prefix, self.history, type(self.system)))
        return asked_ns

    def falls_due(self, from_s: float, to_s: float) -> bool:
        """Tell whether a game falls due in that time from now, in seconds; True also where nobody can tell.

        Without a database, it is told by when each state began, and how long it lasts.

        Raises
        ------
        TROUBLE
            The database can't be read.
        """
        url = self.stack.target.database_url
        if url is not None:
            return asyncio.run(due_soon(url, self.prefix, from_s, to_s, type(self.system))) != 0
        evidence = self.evidence()
        left_s = timers_left_s(evidence.transitions, evidence.run.length_s, now_ns())
        return evidence.transitions.empty or bool(left_s.between(from_s, to_s).any())

    def fallen_due(self, since_ns: int) -> int | None:
        """Return how many timers fell due since then, moved or not; None: the database can't be asked."""
        try:
            self.look_for_overdue()
        except TROUBLE:
            return None
        evidence = self.evidence()
        found = [evidence.transitions["intended_ns"], evidence.overdue["intended_ns"]]
        return sum(int((due >= since_ns).sum()) for due in found)

    def finish(self) -> None:
        """Let the games come to their end, so that the record is whole.

        Raises
        ------
        ProcessError
            They did not, in time.
        """
        if self.load.exit_code is None:
            self.load.finish(self.game_s + DRAIN_S + _END_LIMIT_S)

    def _remove_games(self) -> None:
        prefix = self.run.read().game_prefix
        if prefix is None:
            return  # nothing was begun
        cleaned = clean(self.stack.permission, type(self.system), prefix)
        self.run.update(cleaned=asdict(cleaned))
        if cleaned.left:
            log.warning("%s; try `stormwatch clean %s`", cleaned, prefix)

    def close(self) -> None:
        """End everything at once, finished or not."""
        self._closing.close()
        self.run.update(finished_at=utc_now())


def _deployment(system: type[System]) -> Deployment | None:
    permission = deployment()
    return None if permission is None else Deployment(permission, system)


class Testbeds:
    """Gives experiments their testbed: the one of the experiment before where that left it as it found it.

    Starting a stack and a load takes longer than most experiments. At most one testbed is open at a time;
    use as a context manager, or :meth:`close` it.

    Parameters
    ----------
    folder : takes a run folder for each testbed.
    policy : what their records are judged by.
    system : what is put to the test.
    shared : False: each experiment gets a testbed of its own.
    """

    #: Not a test, whatever its name begins with.
    __test__ = False

    def __init__(self, folder: Path, policy: Policy, system: type[System], *, shared: bool = True) -> None:
        self.system = system
        self._folder = folder
        self._policy = policy
        self._shared = shared
        self._open: Testbed | None = None

    def take(self, setup: Setup, name: str) -> Testbed:
        """Return a testbed of ``setup``; whoever takes it gives it back to be taken again.

        Parameters
        ----------
        setup : what it is made of.
        name : of its run folder, should it have to be made.

        Raises
        ------
        ProcessError
            It can't be had.
        """
        testbed, self._open = self._open, None
        if testbed is not None:
            if testbed.setup == setup and testbed.load.exit_code is None:
                return testbed
            testbed.close()
        number = len(list(self._folder.glob(f"{glob.escape(name)}*"))) if self._folder.exists() else 0
        run = create_run(self._folder, "failure", run_id=f"{name}-{number + 1}" if number else name)
        return Testbed(setup, run, self._policy, self.system)

    def give_back(self, testbed: Testbed) -> None:
        """Keep ``testbed``, which is as it was, for the next experiment."""
        if self._shared:
            self._open = testbed
        else:
            testbed.close()

    def close(self) -> None:
        """End what is open."""
        testbed, self._open = self._open, None
        if testbed is not None:
            testbed.close()
