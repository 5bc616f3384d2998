"""One item from its start to its end, and no other: what `stormwatch smoke` and `system check` play."""

import locust
from gevent.event import Event
from locust import task

from harness.load.lifecycle import register
from harness.load.users import GameHost

register(locust.events)


class OneItem(GameHost):
    """A host who has one item played."""

    @task
    def play_once(self) -> None:
        """Play it, then wait for the end of the run."""
        with self.next_game() as item:
            item.start()
            item.broadcast()
            item.play()
        Event().wait()
