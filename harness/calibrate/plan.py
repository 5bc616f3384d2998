"""What a calibration injects, where, how often, and what it allows for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from harness.faults.base import Fault
from harness.faults.network import Latency
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_PUBNUB

#: Milliseconds. 0 is the baseline: what harness and system need when nothing is injected, the floor.
DELAYS_MS: Final = (0, 5, 50, 500, 2000)
#: The service gives PubNub three seconds to answer, and then tries again: that would be no delay any more.
LONGEST_MS: Final = 2000

#: Fewer can't tell 2 ms from nothing.
FEWEST: Final = 10
MOST: Final = 400

#: Of a delay, what may be reported of it more or less: seconds, and a share of the delay.
ALLOWED_S: Final = 0.002
ALLOWED_SHARE: Final = 0.01

#: Share of the machine's CPU above which a step is repeated, and a fail is put down to the machine.
BUSY_PERCENT: Final = 75.0

#: Of the interval of each error.
CONFIDENCE: Final = 0.95


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

#: Places in the order in which they are delayed; on each, events or calls are what has to pass.
PLACES: Final = {PLAYERS_PUBNUB: "events", SERVICE_PUBNUB: "events", LOAD_SERVICE: "calls"}


@dataclass(frozen=True)
class Loss:
    """Something done to single messages, and what has to show it."""

    name: str
    title: str
    #: The emulator's name for what it does.
    action: str
    #: By what the harness reports it.
    witness: str


LOSSES: Final = (
    Loss("lost", "Lost events", "drop", "integrity check lost_events"),
    Loss("missed", "Missed deliveries", "drop", "metric event_delivery"),
    Loss("repeated", "Repeated deliveries", "duplicate", "deliveries of an event to a player who had it"),
    Loss("overtaken", "Overtaken deliveries", "reorder", "integrity check out_of_order"),
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

    @property
    def injected_ms(self) -> list[int]:
        """The delays of one place in their order: the baseline anew before and after each, as it drifts."""
        delays = sorted({delay for delay in self.delays_ms if delay > 0})
        return [0, *(step for delay in delays for step in (delay, 0))] if delays else [0, 0]

    @property
    def steps(self) -> int:
        """How many steps the calibration has, for its progress."""
        return len(ACTIONS) + len(PLACES) * len(self.injected_ms)

    def document(self) -> dict[str, Any]:
        """Return it as it stands in ``run.json``."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it back."""
        return cls(tuple(document["delays_ms"]), int(document["repetitions"]))


def delay(place: str, milliseconds: int) -> Fault | None:
    """Return the fault that delays ``place`` by so much, None for the baseline."""
    if not milliseconds:
        return None
    direction = next(path.direction for path in PATHS if path.place == place)
    return Latency(place, latency=f"{milliseconds}ms", direction=direction)


def allowed_s(injected_s: float) -> float:
    """Return by how much a delay may be reported wrongly."""
    return ALLOWED_S + ALLOWED_SHARE * injected_s
