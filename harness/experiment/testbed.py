"""Where experiments take place: a stack with games played on it, kept while experiments agree on them."""

from __future__ import annotations

import asyncio
import glob
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from harness.experiment.load import LoadProcess
from harness.faults import Deployment, FaultTarget
from harness.history import HistoryWriter, RunFolder, create_run, now_ns, read_history
from harness.history.run import utc_now
from harness.history.witnesses import Witness, read_doubts
from harness.judge import Evidence, evidence_of
from harness.observe.database import due_soon, note_overdue
from harness.sla.policy import Policy
from harness.sla.units import parse_duration
from harness.stack import StackOptions, start_stack
from harness.system import HasProcesses, Lifecycle, System, Ticks
from harness.system.cleaning import clean
from harness.system.find import place_of
from harness.target import Action, ConsentError, Permission, Target, deployment_named
from harness.target.consent import ask
from harness.target.sessions import TROUBLE

log = logging.getLogger(__name__)

#: How long the games may take to begin.
_BEGIN_LIMIT_S: Final = 60.0
#: How long they may take to come to their end, over the length of a game; how long the load may take then.
_DRAIN_S: Final = 25.0
_END_LIMIT_S: Final = 10.0


@dataclass(frozen=True)
class Setup:
    """What a testbed is made of: equal setups are interchangeable. Durations are in the policy's notation."""

    count: int = 12
    players: int = 2
    #: State -> length of its timer, where it is not the system's short one.
    lengths: Mapping[str, str] = field(default_factory=dict)
    tick: str = "500ms"
    replicas: int = 1
    seed: int = 1
    #: Further environment of the service.
    service: Mapping[str, str] = field(default_factory=dict)
    #: Whether timers may be extended (by a grace period, by a late bid).
    extensions: bool = True
    #: Whether each process of the service ticks by itself, besides cron.
    own_ticks: bool = False
    #: Games that begin at once, and from one such wave to the next.
    wave_size: int = 25
    wave_every: str = "1s"

    def environment(self, system: type[System]) -> dict[str, str]:
        """Return what the processes of ``system`` are told besides what they must know."""
        found = {} if self.extensions else dict(system.without_extensions)
        return found | dict(system.own_ticks or {} if self.own_ticks else {}) | dict(self.service)

    def lengths_of(self, lifecycle: Lifecycle) -> dict[str, str]:
        """Return how long each timer runs: the nearest to what is asked for that the system allows."""
        return {
            state: timed.nearest(self.lengths.get(state, timed.short_text))
            for state, timed in lifecycle.timed.items()
        }

    def game_s(self, lifecycle: Lifecycle) -> float:
        """Return the longest that a game takes, in seconds: each timer waits for a tick."""
        lengths = self.lengths_of(lifecycle).values()
        return sum(map(parse_duration, lengths)) + len(lengths) * parse_duration(self.tick)

    def load_options(self, system: type[System]) -> list[str]:
        """Return what Locust is started with to play on ``system``."""
        options = {
            "system": place_of(system),
            "games": self.count,
            "players": self.players,
            **self.lengths_of(system.lifecycle),
            "tick": self.tick,
            "seed": self.seed,
            "wave-size": self.wave_size,
            "wave-every": self.wave_every,
            "duration": "24h",
            "drain": f"{self.game_s(system.lifecycle) + _DRAIN_S:g}s",
        }
        # They go with their stack; those on a deployment are removed by the testbed.
        return [*(f"--{name}={value}" for name, value in options.items()), "--keep-games"]


class Testbed:
    """A running stack (or the deployment that the environment names) and load, and their record.

    Parameters
    ----------
    setup : what it is made of.
    run : folder that takes the record.
    policy : what the record is judged by.
    system : what is put to the test.

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

    def __init__(self, setup: Setup, run: RunFolder, policy: Policy, system: type[System]) -> None:
        self.setup = setup
        self.run = run
        self.game_s = setup.game_s(system.lifecycle)
        self._policy = policy
        self._closing = ExitStack()
        with ExitStack() as failing:
            permission = deployment()
            self.stack: FaultTarget
            if permission is None:
                options = StackOptions(
                    system=system,
                    replicas=setup.replicas,
                    service_env=setup.environment(system),
                    log_folder=run.logs,
                )
                self.stack = failing.enter_context(start_stack(options))
            else:
                self.stack = Deployment(permission)
                failing.callback(self._remove_games)
            self.history = failing.enter_context(HistoryWriter(run.history, "faults", run.id))
            self.system = system(self.stack.target)
            self.load = LoadProcess(run, self.stack.permission.environment(), setup.load_options(system))
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

    @property
    def prefix(self) -> str:
        """What the ids of its games begin with."""
        prefix = self.run.read().game_prefix
        assert prefix is not None  # the load says it before its first window
        return prefix

    def look_for_overdue(self) -> int:
        """Record which games are past due right now; return when that was asked, Unix ns.

        Raises
        ------
        TROUBLE
            The database can't be read.
        """
        asked_ns = now_ns()
        url = self.stack.target.database_url
        assert url is not None  # a local stack has one, and nothing takes place on a deployment without
        asyncio.run(note_overdue(url, self.prefix, self.history, type(self.system)))
        return asked_ns

    def falls_due(self, from_s: float, to_s: float) -> bool:
        """Tell whether a game falls due in that time from now, in seconds; True also where nobody can tell.

        Raises
        ------
        TROUBLE
            The database can't be read.
        """
        url = self.stack.target.database_url
        assert url is not None  # as above
        return asyncio.run(due_soon(url, self.prefix, from_s, to_s, type(self.system))) != 0

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
            self.load.finish(self.game_s + _DRAIN_S + _END_LIMIT_S)

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


#: What is told before a deployment is broken.
PLAN: Final = (
    "failure scenarios, one after the other: some dozen games at a time are played, while its network, its "
    "PubNub and its database are broken as far as they are within reach, each for seconds",
    f"ticks, which move other people's overdue games too, if {Action.TICK.setting} names it; "
    "without them, and without a cron of its own, no game moves and nothing can be told",
    "afterwards: each fault is undone, the scenarios' games are removed",
)


@cache
def deployment() -> Permission | None:
    """Return the permission to break what the environment names; None where there is to be a local stack.

    Raises
    ------
    TargetError
        It is named by halves.
    ConsentError
        Nobody consented to its being loaded and broken.
    """
    if not deployment_named():
        return None
    return ask(
        Target.from_environment(),
        [Action.LOAD, Action.BREAK],
        PLAN,
        optional=[Action.TICK, Action.WATCH],
        otherwise="take --stormwatch-local for stacks of our own",
    )


def lacking(setup: Setup, system: type[System], needs: Sequence[type] = ()) -> str | None:
    """Return what the system lacks for an experiment with this setup; None: nothing.

    Parameters
    ----------
    needs : what the system must be or have: classes, and protocols of `harness.system`.
    """
    for kind in needs:
        if not issubclass(system, kind):
            about = (kind.__doc__ or "").partition("\n")[0]
            return f"{system.name} is no {kind.__name__}: {about}"
    if strange := setup.lengths.keys() - system.lifecycle.timed.keys():
        return f"{system.name} has no timer in a state {min(strange)!r}"
    if setup.own_ticks and system.own_ticks is None and issubclass(system, Ticks):
        return f"the processes of {system.name} do not tick by themselves"
    return None


def impossible(setup: Setup, system: type[System]) -> str | None:
    """Return why an experiment with this setup can't take place on the target; None if it can."""
    try:
        permission = deployment()
    except ConsentError as error:
        return str(error)
    if permission is None:
        if issubclass(system, HasProcesses):
            return None
        return (
            f"{system.name} can't be started here, as its file has no `processes`, and no deployment is named"
        )
    if permission.target.database_url is None:
        return (
            "the target is a deployment, and DATABASE_URL is not set: nobody could see what became of games"
        )
    environment = setup.environment(system)
    if environment or setup.replicas != Setup.replicas:
        wanted = [*(f"{name}={value}" for name, value in environment.items())]
        wanted += [f"{setup.replicas} replicas"] if setup.replicas != Setup.replicas else []
        return f"the target is a deployment: its service can't be started with {', '.join(wanted)}"
    return None


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
