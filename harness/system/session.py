"""Sessions with a system: calls that are tried again as clients do, and a session outside of any item."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Unpack

from harness.system.base import CallOptions, Refused, System
from harness.target.client import Answer, Client

#: Pauses between attempts of a call that could not be served: doubled each time, and chance added.
RETRY_FIRST_S: Final = 0.5
RETRY_LIMIT_S: Final = 4.0


class Insisting(ABC):
    """What all sessions share: see :class:`harness.system.Session`.

    Parameters
    ----------
    chance : dice for the pauses.
    is_over : whether no further attempt is to be made.
    """

    def __init__(self, chance: random.Random, is_over: Callable[[], bool]) -> None:
        self._chance = chance
        self._is_over = is_over

    @abstractmethod
    def call(
        self, method: str, path: str, body: Any = None, *, actor: str, **options: Unpack[CallOptions]
    ) -> Answer:
        """Call once, for ``actor``."""

    def insist(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        actor: str,
        done: Callable[[], bool] | None = None,
        **options: Unpack[CallOptions],
    ) -> Answer:
        """Call until it is served, with pauses that double."""
        name = f"{method} {options.get('route', path)}"
        answer = self.call(method, path, body, actor=actor, **options)
        if done is None:
            options |= {"expect": (*options.get("expect", (200,)), 409), "check": None}
        pause_s = RETRY_FIRST_S
        while not answer.ok:
            if answer.status is not None and 400 <= answer.status < 500 and answer.status != 429:
                raise Refused(answer.told(name))
            if self._is_over():
                raise Refused(f"{answer.told(name)}, and its time is over")
            time.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, RETRY_LIMIT_S)
            if done is not None and done():
                break
            answer = self.call(method, path, body, actor=actor, **options)
        return answer


class PlainSession(Insisting):
    """Calls a system for no item, and records nothing.

    Parameters
    ----------
    system : what is called, and whose keys the calls bear.
    client : makes the calls.
    within_s : for so long a call is tried again.
    """

    def __init__(self, system: System, client: Client, *, within_s: float = 0.0) -> None:
        until = time.monotonic() + within_s
        super().__init__(random.Random(), lambda: time.monotonic() >= until)  # noqa: S311 - nothing secret
        self._system = system
        self._client = client

    def call(
        self, method: str, path: str, body: Any = None, *, actor: str, **options: Unpack[CallOptions]
    ) -> Answer:
        """Call once, for ``actor``."""
        options["headers"] = {**self._system.user(actor), **options.get("headers", {})}
        return self._client.call(method, path, body=body, **options)
