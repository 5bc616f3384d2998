"""What an experiment asks for, and whether it can be had: of the system, and here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from harness.faults import Fault
from harness.sla.units import parse_duration
from harness.system import HasProcesses, Lifecycle, System, Ticks, tick_of
from harness.system.find import place_of
from harness.target import Action, ConsentError, Permission, Target, deployment_named
from harness.target.consent import ask

#: How long games may take to come to their end, over the length of a game.
DRAIN_S: Final = 25.0


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
    #: Further settings of Postgres.
    postgres: Mapping[str, str] = field(default_factory=dict)
    #: Games that begin at once, and from one such wave to the next.
    wave_size: int = 25
    wave_every: str = "1s"
    #: Where the service's processes are run, another checkout; None: where the system's file says.
    folder: Path | None = None

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

    def game_s(self, system: type[System]) -> float:
        """Return the longest that a game takes, in seconds: each timer waits for a tick."""
        lengths = self.lengths_of(system.lifecycle).values()
        return sum(map(parse_duration, lengths)) + len(lengths) * parse_duration(tick_of(system, self.tick))

    def load_options(self, system: type[System]) -> list[str]:
        """Return what Locust is started with to play on ``system``."""
        options = {
            "system": place_of(system),
            "games": self.count,
            "players": self.players,
            **self.lengths_of(system.lifecycle),
            "tick": tick_of(system, self.tick),
            "seed": self.seed,
            "wave-size": self.wave_size,
            "wave-every": self.wave_every,
            "duration": "24h",
            "drain": f"{self.game_s(system) + DRAIN_S:g}s",
        }
        # They go with their stack; those on a deployment are removed by the testbed.
        return [*(f"--{name}={value}" for name, value in options.items()), "--keep-games"]


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
        otherwise="take --stormwatch-local (of a drill: --local) for stacks of our own",
    )


def lacking(setup: Setup, system: type[System], needs: Sequence[type | Fault] = ()) -> str | None:
    """Return what the system lacks for an experiment with this setup; None: nothing.

    Parameters
    ----------
    needs : what the system must be or have: classes, protocols of `harness.system`, and faults, whose levers
        it must have.
    """
    for need in needs:
        if isinstance(need, Fault):
            if (missing := need.lacks(system)) is not None:
                return f"{need}: {missing}"
        elif not issubclass(system, need):
            about = (need.__doc__ or "").partition("\n")[0]
            return f"{system.name} is no {need.__name__}: {about}"
    if strange := setup.lengths.keys() - system.lifecycle.timed.keys():
        return f"{system.name} has no timer in a state {min(strange)!r}"
    if setup.replicas > 1 and "postgres" not in system.needs:
        return (
            f"{system.name} has no database on a local stack (`needs` in its file): its processes share "
            "nothing, and none could stand in for another"
        )
    if setup.own_ticks and system.own_ticks is None and issubclass(system, Ticks):
        return f"the processes of {system.name} do not tick by themselves"
    return None


def impossible(setup: Setup, system: type[System], needs: Sequence[type | Fault] = ()) -> str | None:
    """Return why an experiment with this setup and these faults can't take place there; None if it can."""
    try:
        permission = deployment()
    except ConsentError as error:
        return str(error)
    if permission is None:
        if issubclass(system, HasProcesses):
            return _unneeded(system, [need for need in needs if isinstance(need, Fault)])
        return (
            f"{system.name} can't be started here, as its file has no `processes`, and no deployment is named"
        )
    if permission.target.database_url is None and system.witness.needs_database:
        return (
            "the target is a deployment, and DATABASE_URL is not set: nobody could see what became of games"
        )
    environment = setup.environment(system) | dict(setup.postgres)
    if environment or setup.replicas != Setup.replicas:
        wanted = [*(f"{name}={value}" for name, value in environment.items())]
        wanted += [f"{setup.replicas} replicas"] if setup.replicas != Setup.replicas else []
        return f"the target is a deployment: its service can't be started with {', '.join(wanted)}"
    return None


def _unneeded(system: type[System], faults: Sequence[Fault]) -> str | None:
    """Return which part a fault breaks that a local stack of ``system`` does without; None: none."""
    for fault in faults:
        if missing := ", ".join(sorted(fault.parts - system.needs)):
            return f"{fault}: {system.name} needs no {missing} on a local stack (`needs` in its file)"
    return None
