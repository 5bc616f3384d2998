"""What each part of a load takes of memory and CPU: by these its size is judged before it begins.

`python -m fixtures.bench.players` plays a load, shows what it took beside these, and fails where it was more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Figure:
    """What a part takes, all its processes together."""

    #: Whose readings in the history are its own, a pattern.
    actors: str
    #: Memory of one process of it without any player, in MB.
    mb: float
    #: Memory that each player adds, in MB.
    mb_a_player: float
    #: CPU for each timer that runs out and each player who hears of it, in ms.
    ms_a_timer: float

    def memory_mb(self, processes: int, players: float) -> float:
        """Return what so many processes take together that share so many players."""
        return processes * self.mb + players * self.mb_a_player


OBSERVER: Final = "an observer"
LOCUST: Final = "a Locust process"
TOXIPROXY: Final = "Toxiproxy"
EMULATOR: Final = "the PubNub emulator"
SERVICE: Final = "the service"

FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        OBSERVER: Figure(r"observer-\d+", 135, 0.13, 1.3),
        LOCUST: Figure(r"load(-\d+)?", 160, 0.04, 1.2),
        TOXIPROXY: Figure(r"toxiproxy(-\d+)?", 25, 0.35, 0.9),
        EMULATOR: Figure("pubnub", 45, 0.03, 0.35),
        SERVICE: Figure(r"service-\d+", 80, 0.02, 1.5),
        "Postgres": Figure("postgres", 100, 0.015, 0.55),
        "the observer of the system": Figure("observer-watch", 145, 0.005, 0.35),
    }
)
