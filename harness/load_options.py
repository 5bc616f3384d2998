"""What a load was asked to be, checked: numbers only, for who reads a record as for who plays."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadOptions:
    """The options of a run, checked; durations in seconds."""

    games: int
    players: int
    briefing_s: float
    drawing_s: float
    voting_s: float
    tick_s: float
    sync_s: float
    wave_size: int
    wave_every_s: float
    duration_s: float
    drain_s: float
    probe_s: float
    observers: int
    seed: int
    #: Where spawning begins to where the drain begins; overrides ``duration_s``. None: not limited.
    run_time_s: float | None = None

    @property
    def phases_s(self) -> float:
        """Sum of the phases' lengths."""
        return self.briefing_s + self.drawing_s + self.voting_s

    @property
    def game_s(self) -> float:
        """The longest that a game takes when the service keeps its word: each phase waits for a tick."""
        return self.phases_s + 3 * self.tick_s

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
