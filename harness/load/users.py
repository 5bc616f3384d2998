"""The Locust user that scenarios build on: a host who has game after game played."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import gevent
from locust import FastHttpUser
from locust.env import Environment

from harness.load.api import CONNECT_LIMIT_S, Api
from harness.load.item import PlayedItem
from harness.load.worker_run import current_worker_run
from harness.system import Refused, SystemFileError
from harness.target.client import ANSWER_LIMIT_S

log = logging.getLogger(__name__)

#: Between the end of a game and the next one's beginning, at most: hosts drift apart, as people do.
PAUSE_S: Final = 1.0
#: After a game that was refused.
REFUSED_PAUSE_S: Final = 2.0
#: Between two looks at whether the next game may begin.
_ALLOWED_EVERY_S: Final = 0.5


class GameHost(FastHttpUser):
    """A slot in which one game after the other is played, each with an id and players of its own."""

    abstract = True
    insecure = False
    network_timeout = ANSWER_LIMIT_S
    connection_timeout = CONNECT_LIMIT_S
    #: Calls of one game that may be out at once: timers are asked on schedule even while answers hang.
    concurrency = 64

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._worker_run = current_worker_run()
        # The web form's host is only shown: cron and observers are bound to the target of the start.
        self.client.base_url = self._worker_run.target.service_url
        self._api = Api(self.client, self._worker_run.history)
        self._slot = self._worker_run.next_slot()
        self._number = 0

    @contextmanager
    def next_game(self) -> Iterator[PlayedItem]:
        """Yield the next game, for its steps to be taken; once the run is drained, wait for its end.

        A step that goes wrong ends the game; where none was ever started, it ends the run.
        """
        if self._number:
            gevent.sleep(self._worker_run.chance(self._slot, self._number, "pause").uniform(0, PAUSE_S))
        while self._worker_run.draining.is_set():
            gevent.sleep(1.0)
        while not self._worker_run.may_begin(self._slot):
            gevent.sleep(_ALLOWED_EVERY_S)
        self._number += 1
        game = PlayedItem(self._worker_run, self._api, self._slot, self._number)
        self._worker_run.playing += 1
        try:
            yield game
        except (Refused, SystemFileError) as error:
            log.warning("%s: %s", game.id, error)
            self._worker_run.failed(error)
            gevent.sleep(REFUSED_PAUSE_S)
        finally:
            self._worker_run.started |= game.started
            game.leave()
            self._worker_run.playing -= 1
