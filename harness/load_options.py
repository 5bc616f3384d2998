"""The options of the load, declared once: arguments, the web form, profiles and run.json are made from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final, Literal, get_type_hints

#: How the text of an option is read: a whole number of at least 1, one or "auto", a duration with unit, a
#: duration or "auto", a whole number or "random".
Kind = Literal["count", "auto-count", "duration", "auto", "random"]

#: Players ask for the timer every 10 s of a game of two minutes. Scaled down to a game of seconds that
#: would be a load of timer reads and little else; three reads a game keep the mix of calls sensible.
SYNCS_PER_GAME: Final = 3

#: Players whose deliveries one observer records in time, on a core of its own: 0.34 ms of CPU each.
PLAYERS_AN_OBSERVER: Final = 1000
#: Open files that an observer has for each of its players, on the safe side.
_FILES_A_PLAYER: Final = 2


@dataclass(frozen=True)
class Option:
    """An option as users give it."""

    kind: Kind
    #: Default, as a user would write it.
    usual: int | str
    help: str
    #: Field of :class:`LoadOptions`.
    field: str = ""

    @property
    def key(self) -> str:
        """Its name in the web form, in a namespace and in run.json's ``options_from``."""
        return self.field.removesuffix("_s")

    @property
    def name(self) -> str:
        """Its name in a profile and, after two dashes, on the command line."""
        return self.key.replace("_", "-")


@dataclass(frozen=True)
class LoadOptions:
    """The options of a run, checked; durations in seconds."""

    games: Annotated[int, Option("count", 200, "{items} at the same time")]
    players: Annotated[int, Option("count", 4, "{players} in each {item}, each with a client of its own")]
    tick_s: Annotated[float, Option("duration", "1s", "interval at which cron, or the system itself, ticks")]
    sync_s: Annotated[
        float,
        Option(
            "auto",
            "auto",
            f"time between a {{player}}'s looks at the timer; auto: {SYNCS_PER_GAME} looks in each {{item}}",
        ),
    ]
    wave_size: Annotated[int, Option("count", 25, "{items} that begin at once while the load builds up")]
    wave_every_s: Annotated[float, Option("duration", "1s", "time from wave to wave")]
    duration_s: Annotated[
        float,
        Option(
            "duration",
            "2min",
            "length of the steady window, which is judged; Locust's run time limits waves, warm-up and "
            "steady window together",
        ),
    ]
    drain_s: Annotated[
        float, Option("duration", "30s", "longest wait at the end for {items} to finish and events to arrive")
    ]
    probe_s: Annotated[float, Option("duration", "1s", "interval of health probes")]
    observers: Annotated[
        int,
        Option(
            "auto-count",
            "auto",
            f"subscriber processes to each Locust process; auto: one for {PLAYERS_AN_OBSERVER} of its "
            "{players}, but no more than cores unless the limit on open files asks for it",
        ),
    ]
    seed: Annotated[
        int,
        Option("random", "random", "whole number that fixes what {players} do when; the report tells it"),
    ]
    #: State -> how long its timer runs, in seconds. Which states there are, the system's lifecycle says.
    lengths: dict[str, float]
    #: Longest time from the first wave to the drain; overrides ``duration_s``. None: not limited.
    run_time_s: float | None = None

    @property
    def phases_s(self) -> float:
        """Sum of the lengths of all timers."""
        return sum(self.lengths.values())

    @property
    def game_s(self) -> float:
        """The longest that a game takes when the service keeps its word: each phase waits for a tick."""
        return self.phases_s + len(self.lengths) * self.tick_s

    @property
    def spawning_s(self) -> float:
        """From the first wave of games to the last."""
        return (math.ceil(self.games / self.wave_size) - 1) * self.wave_every_s

    @property
    def warm_up_s(self) -> float:
        """Spawning and the first cycle of the last wave."""
        return self.spawning_s + self.game_s

    def spawned(self, elapsed_s: float) -> int:
        """Return how many games there should be ``elapsed_s`` after the first wave."""
        return min(self.games, self.wave_size * (1 + int(elapsed_s / self.wave_every_s)))

    def words(self) -> list[str]:
        """Return the arguments that mean these options, defaults included."""
        given = asdict(self)
        lengths = {f"{state}_s": seconds for state, seconds in given.pop("lengths").items()}
        texts = {
            Option("count", "", "", field).name: f"{value:.10g}s" if field.endswith("_s") else f"{value}"
            for field, value in (given | lengths).items()
            if value is not None
        }
        return [f"--{name}={text}" for name, text in texts.items()]


def observers_for(players: int, *, cores: int, files: int) -> int:
    """Return how many observers serve the players of one Locust process.

    Parameters
    ----------
    cores : of the machine; more processes than these would be in each other's way.
    files : open files that a process is allowed.
    """
    wanted = min(math.ceil(players / PLAYERS_AN_OBSERVER), cores)
    return max(wanted, math.ceil(players * _FILES_A_PLAYER / files), 1)


def _options() -> Iterator[Option]:
    for field, hint in get_type_hints(LoadOptions, include_extras=True).items():
        if option := next(iter(getattr(hint, "__metadata__", ())), None):
            yield replace(option, field=field)


#: Every option by its key, in the order of help and web form.
OPTIONS: Final = {option.key: option for option in _options()}
