"""Concurrent games: does every timer fire on time, and does every player hear of it, under load?

    locust -f scenarios/concurrent_games.py               brings up the local stack, opens the web UI
    locust -f scenarios/concurrent_games.py --headless    plays, judges, exits by the verdict
    stormwatch run -- --help                              lists its options: Locust's own help is printed
                                                          before this file is read

Each Locust user is a host who has game after game played. While they do, cron ticks on schedule, every
player listens through a PubNub client of its own, and what happened is read from the database; all of
it lands in one history, from which the objectives are judged at the end.
"""

import locust
from locust import task

from harness.load.lifecycle import register
from harness.load.users import GameHost

register(locust.events)


class ConcurrentGames(GameHost):
    """A host and the players of its games."""

    @task
    def play_a_game(self) -> None:
        """One game from its creation to `completed`."""
        with self.next_game() as game:
            game.start()
            game.play()
