"""Unauthorised calls: without a secret or with a wrong one, all the time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.faults import Exercised, Fault, FaultError, FaultTarget
from harness.faults.parameters import count, duration
from harness.faults.service import ServiceFault
from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import UNAUTHORISED, Actor, Reading
from harness.sla.units import parse_duration
from harness.target import Target
from harness.target.client import Client

#: The only statuses that may answer an unauthorised call.
REFUSED: Final = (401, 403)


@dataclass(frozen=True)
class WrongSecrets(ServiceFault):
    """Call everything that needs a secret, without one or with a wrong one, again and again.

    At its end, these calls stop.
    """

    name = "wrong-secrets"

    callers: int = count(2, "how many call at a time", most=1000)
    every: str = duration("20ms", "between two calls of one of them")

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        calls = _Calls(on.target, history, parse_duration(self.every))
        threads = [
            threading.Thread(
                target=calls.hammer, args=(n, self.callers), name=f"unauthorised-{n}", daemon=True
            )
            for n in range(self.callers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield lambda: None if calls.answered else "no unauthorised call was answered"
        finally:
            calls.over.set()
            for thread in threads:
                thread.join()
            calls.count_what_was_made(self)


@dataclass(frozen=True)
class _Attempt:
    """A call without the right secret. Should it be let in, it does as little as such a call can."""

    way: str
    headers: Mapping[str, str] = field(repr=False)
    method: str
    path: str
    body: Any = None

    @property
    def route(self) -> str:
        """The call without what it asks for, as it stands in the history."""
        return f"{self.method} {self.path.partition('?')[0]}"


class _Calls:
    """What the callers have in common: whom they call, how, and where it is recorded."""

    def __init__(self, target: Target, history: HistoryWriter | None, every_s: float) -> None:
        self.over = threading.Event()
        self.answered = 0
        self._target = target
        self._history = history
        self._every_s = every_s
        #: Begin of the ids of what these calls would make.
        self._mark = f"unauthorised-{secrets.token_hex(4)}"
        self._attempts = list(_attempts(target, self._mark))

    def hammer(self, first: int, step: int) -> None:
        """Try everything, over and over; of ``step`` callers this is number ``first``."""
        with Client(self._target, UNAUTHORISED) as client:
            number = first
            while not self.over.is_set():
                self._try(client, self._attempts[number % len(self._attempts)])
                number += step
                self.over.wait(self._every_s)

    def count_what_was_made(self, fault: Fault) -> None:
        """Record how many rows these calls made, asked with the right secret."""
        if self._history is None:
            return
        with Client(self._target, "fault") as client:
            answer = client.call("GET", f"/rest/v1/games?id=like.{self._mark}*&select=id")
        if not answer.ok:
            raise FaultError(f"{fault}: can't see what these calls made: {answer.error}")
        made = len(answer.body)
        self._history.append(
            Row("resource", Reading.MADE_UNAUTHORISED, Actor.FAULT, start_ns=now_ns(), value=made)
        )

    def _try(self, client: Client, attempt: _Attempt) -> None:
        answer = client.call(
            attempt.method, attempt.path, body=attempt.body, headers=attempt.headers, expect=REFUSED
        )
        self.answered += answer.status is not None
        if self._history is not None:
            # That it was kept out is as it should be, whatever the refusal's body.
            error = None if answer.status in REFUSED else answer.error
            row = replace(answer, error=error).row(attempt.route, f"{UNAUTHORISED}{attempt.way}")
            self._history.append(row)


#: Method, path and body of a call.
_Call = tuple[str, str, Any]


def _attempts(target: Target, mark: str) -> Iterator[_Attempt]:
    """Yield every call that needs a secret, in every way that is not to be let in."""
    cron: list[_Call] = [("POST", "/functions/v1/monitor-game-timers", {})]
    functions, rest = _functions(mark), _rest(mark)
    key, secret = target.service_role_key, target.cron_secret
    for way, wrong in _wrong(secret, other=key).items():
        yield from (_Attempt(way, {"x-cron-secret": wrong}, *call) for call in cron)
    for way, wrong in _wrong(key, other=secret).items():
        bearer = {"Authorization": f"Bearer {wrong}"}
        yield from (_Attempt(way, bearer, *call) for call in functions)
        yield from (_Attempt(way, {"apikey": wrong, **bearer}, *call) for call in rest)
    yield from (_Attempt("no secret", {}, *call) for call in [*cron, *functions, *rest])
    yield from (_Attempt("secret as a bearer", {"Authorization": f"Bearer {secret}"}, *call) for call in cron)
    basic = {"Authorization": f"Basic {key}"}
    yield from (_Attempt("another scheme", basic, *call) for call in functions)
    yield from (_Attempt("another scheme", {"apikey": key, **basic}, *call) for call in rest)
    yield from (_Attempt("apikey without bearer", {"apikey": key}, *call) for call in rest)
    yield from (_Attempt("bearer without apikey", {"Authorization": f"Bearer {key}"}, *call) for call in rest)


def _wrong(right: str, *, other: str) -> dict[str, str]:
    """Return what may be given in the place of the ``right`` secret, by what it is."""
    return {
        "empty secret": "",
        "wrong secret": secrets.token_urlsafe(24),
        "half of the secret": right[: len(right) // 2],
        "the other secret": other,
    }


def _functions(mark: str) -> list[_Call]:
    event = {"type": "test", "gameId": mark, "userId": mark, "timestamp": 1, "version": "2.0.0", "data": {}}
    return [
        ("POST", "/functions/v1/broadcast-pubnub-event", event),
        ("POST", "/functions/v1/get-game-timer", {"gameId": mark}),
        ("POST", "/functions/v1/replay-dead-letters", {"gameId": mark}),
        ("GET", "/functions/v1/dead-letters", None),
        ("GET", "/functions/v1/feature-flags", None),
        ("GET", "/metrics", None),
        ("GET", "/alerts", None),
    ]


def _rest(mark: str) -> list[_Call]:
    return [
        ("POST", "/rest/v1/games", {"id": mark, "prompt": "Let me in"}),
        ("POST", "/rest/v1/game_participants", {"game_id": mark, "user_id": mark}),
        ("POST", "/rest/v1/submissions", {"game_id": mark, "user_id": mark, "content": {}}),
        ("POST", "/rest/v1/rpc/transition_game_status", {"p_game_id": mark, "p_new_status": "briefing"}),
        ("POST", "/rest/v1/rpc/find_expired_games", {}),
        ("GET", f"/rest/v1/games?id=eq.{mark}", None),
        ("PATCH", f"/rest/v1/games?id=eq.{mark}", {"prompt": "Let me in"}),
        ("DELETE", f"/rest/v1/games?id=eq.{mark}-none", None),
    ]
