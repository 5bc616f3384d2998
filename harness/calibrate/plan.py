"""What a calibration injects, where, how often, and what it allows for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from harness.experiment.setup import Setup
from harness.faults.network import Latency
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_PUBNUB
from harness.system import HasTimer, OnPubNub, System, Ticks

#: Milliseconds. 0 is the baseline: what harness and system need when nothing is injected, the floor.
DELAYS_MS: Final = (0, 5, 50, 500, 2000)
#: Services give PubNub some three seconds to answer, and then try again: a longer delay would be an error.
LONGEST_MS: Final = 2000

#: Of a delay, what may be reported of it more or less: seconds, and a share of the delay.
ALLOWED_S: Final = 0.002
ALLOWED_SHARE: Final = 0.01

#: Share of the machine's CPU above which a step is repeated, and a fail is put down to the machine.
BUSY_PERCENT: Final = 75.0

#: From the begin of one game to that of the next, while there are not enough.
_WAVE_S: Final = 0.19
#: What a timer runs longer than the longest delay, in milliseconds. That counts as a second at
#: least: there must be time to choose games whose messages are still to come.
_BEYOND_MS: Final = 500
_LEAST_MS: Final = 1000
#: How many samples of a path come in a second.
SAMPLES_PER_S: Final = 15.0


@dataclass(frozen=True)
class Path:
    """One way that a delay takes through the harness: where it is injected, what has to show it."""

    name: str
    title: str
    #: The proxy that delays.
    place: str
    direction: str
    #: A metric of the checks, or ``http``.
    metric: str


PATHS: Final = (
    Path("players", "PubNub delivery", PLAYERS_PUBNUB, "downstream", "pubnub_delivery"),
    Path("commit", "Broadcast, heard late", PLAYERS_PUBNUB, "downstream", "broadcast_latency"),
    Path("publish", "Broadcast, sent late", SERVICE_PUBNUB, "upstream", "broadcast_latency"),
    Path("http", "Requests", LOAD_SERVICE, "downstream", "http"),
    Path("cron", "Ticks of cron", LOAD_SERVICE, "downstream", "monitor_execution"),
)


def paths_of(system: type[System]) -> tuple[Path, ...]:
    """Return the ways that there are in a system: it may be on PubNub, asked for timers, told to tick."""
    needs = {"http": HasTimer, "cron": Ticks}
    return tuple(path for path in PATHS if issubclass(system, needs.get(path.name, OnPubNub)))


def setup_for(system: type[System], longest_ms: int = LONGEST_MS) -> Setup:
    """Return games that begin one by one and tick often, so that events come evenly.

    That is 20 events a second, and 25 ticks. A timer runs longer than the longest delay, so that no event of
    a game waits for the one before it. No timer is extended: a game goes on whatever its players miss.

    Parameters
    ----------
    longest_ms : the longest delay that will be injected, in milliseconds.
    """
    setup = Setup(
        players=1,
        lengths=dict.fromkeys(system.lifecycle.timed, f"{max(_LEAST_MS, longest_ms) + _BEYOND_MS}ms"),
        tick="40ms",
        wave_size=1,
        wave_every=f"{_WAVE_S}s",
        extensions=False,
    )
    return replace(setup, count=round(setup.game_s(system) / _WAVE_S))


@dataclass(frozen=True)
class Loss:
    """Something done to single messages, which a check has to show."""

    name: str
    title: str
    #: The emulator's name for what it does.
    action: str


LOSSES: Final = (
    Loss("lost", "Lost events", "drop"),
    Loss("missed", "Missed deliveries", "drop"),
    Loss("repeated", "Repeated deliveries", "duplicate"),
    Loss("overtaken", "Overtaken deliveries", "reorder"),
)
#: What the emulator does, each once.
ACTIONS: Final = tuple(dict.fromkeys(loss.action for loss in LOSSES))
#: Games that are hit at most: a check names no more examples than that.
MOST_HIT: Final = 10


@dataclass(frozen=True)
class Plan:
    """What one calibration does."""

    delays_ms: tuple[int, ...] = DELAYS_MS
    #: Samples of each path under each delay.
    repetitions: int = 50
    paths: tuple[Path, ...] = PATHS

    @property
    def places(self) -> tuple[str, ...]:
        """Proxies in the order in which they are delayed."""
        return tuple(dict.fromkeys(path.place for path in self.paths))

    @property
    def actions(self) -> tuple[str, ...]:
        """What is done to messages, where there are some on PubNub."""
        return ACTIONS if PLAYERS_PUBNUB in self.places else ()

    @property
    def injected_ms(self) -> list[int]:
        """The delays of one place in their order: the baseline anew before and after each, as it drifts."""
        delays = sorted({delay for delay in self.delays_ms if delay > 0})
        return [0, *(step for delay in delays for step in (delay, 0))] if delays else [0, 0]

    @property
    def window_s(self) -> float:
        """How long samples are taken under each delay, in seconds."""
        return self.repetitions / SAMPLES_PER_S

    @property
    def steps(self) -> int:
        """How many steps the calibration has."""
        return len(self.actions) + len(self.places) * len(self.injected_ms)


@dataclass(frozen=True)
class Step:
    """One thing that was injected, and when. Times are Unix nanoseconds."""

    kind: Literal["delay", "loss"]
    #: The proxy that was delayed, or what the emulator did.
    name: str
    start_ns: int
    end_ns: int
    injected_ms: int = 0
    #: Of the machine meanwhile.
    cpu_percent: float = 0.0
    #: Games that had one message lost, repeated or overtaken.
    hit: tuple[str, ...] = ()


def delay(place: str, milliseconds: int) -> Latency | None:
    """Return the fault that delays ``place``, None for the baseline."""
    if not milliseconds:
        return None
    direction = next(path.direction for path in PATHS if path.place == place)
    return Latency(place, latency=f"{milliseconds}ms", direction=direction)


def allowed_s(injected_s: float) -> float:
    """Return by how much a delay may be reported wrongly."""
    return ALLOWED_S + ALLOWED_SHARE * injected_s
