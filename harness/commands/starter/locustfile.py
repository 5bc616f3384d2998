"""Concurrent rounds: does every timer fire on time, and does every player hear of it, under load?

stormwatch run                        plays it, breaks things, judges
locust -f stormwatch/locustfile.py    plays it alone, with Locust's web UI
stormwatch run -- --help              lists its options
"""

import locust
from locust import task

from harness.load.lifecycle import register
from harness.load.users import GameHost

register(locust.events)


class Rounds(GameHost):
    """Who has round after round played. Steps and players' acts are those of the system's file."""

    @task
    def play(self) -> None:
        """One round from its start to its end."""
        with self.next_game() as played:
            played.start()
            played.play()
