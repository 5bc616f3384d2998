"""Unauthorised calls: without a secret or with a wrong one, all the time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from harness.faults import Exercised, FaultError, FaultTarget
from harness.faults.parameters import count, duration
from harness.faults.service import ServiceFault
from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import UNAUTHORISED, Actor, Reading
from harness.sla.units import parse_duration
from harness.system import Call, HasSecrets, System
from harness.target.client import Client
from harness.target.errors import BAD_ANSWER

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

    @classmethod
    def lacks(cls, system: type[System]) -> str | None:
        """Return what ``system`` lacks: calls that need a secret."""
        return None if issubclass(system, HasSecrets) else f"{system.name} has no `guarded` calls in its file"

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        calls = _Calls(self, on, history)
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
            calls.count_what_was_made()


class _Calls:
    """What the callers have in common: whom they call, how, and where it is recorded."""

    def __init__(self, fault: WrongSecrets, on: FaultTarget, history: HistoryWriter | None) -> None:
        self.over = threading.Event()
        self.answered = 0
        self._fault = fault
        self._target = on.target
        self._history = history
        self._every_s = parse_duration(fault.every)
        system = on.system(on.target)
        assert isinstance(system, HasSecrets)  # else the fault lacks something
        #: Begin of the ids of what these calls would make.
        mark = f"unauthorised-{secrets.token_hex(4)}"
        self._made = system.made(mark)
        self._attempts = list(attempts(system.guarded(mark)))

    def hammer(self, first: int, step: int) -> None:
        """Try everything, over and over; of ``step`` callers this is number ``first``."""
        with Client(self._target, UNAUTHORISED) as client:
            number = first
            while not self.over.is_set():
                self._try(client, self._attempts[number % len(self._attempts)])
                number += step
                self.over.wait(self._every_s)

    def count_what_was_made(self) -> None:
        """Record how many rows these calls made, asked with the right secret."""
        if self._history is None:
            return
        made = self._made
        with Client(self._target, "fault") as client:
            answer = client.call(made.method, made.path, body=made.body, headers=made.headers, check=_is_list)
        if not answer.ok:
            raise FaultError(f"{self._fault}: can't see what these calls made: {answer.error}")
        row = Row("resource", Reading.MADE_UNAUTHORISED, Actor.FAULT, start_ns=now_ns())
        self._history.append(row._replace(value=len(answer.body)))

    def _try(self, client: Client, attempt: Attempt) -> None:
        call = attempt.call
        answer = client.call(call.method, call.path, body=call.body, headers=call.headers, expect=REFUSED)
        self.answered += answer.status is not None
        if self._history is not None:
            # That it was kept out is as it should be, whatever the refusal's body.
            error = None if answer.status in REFUSED else answer.error
            row = replace(answer, error=error).row(attempt.route, f"{UNAUTHORISED}{attempt.way}")
            self._history.append(row)


@dataclass(frozen=True)
class Attempt:
    """A call without the right secret. Should it be let in, it does as little as such a call can."""

    way: str
    call: Call

    @property
    def route(self) -> str:
        """The call without what it asks for, as it stands in the history."""
        return f"{self.call.method} {self.call.path.partition('?')[0]}"


def attempts(guarded: Sequence[Call]) -> Iterator[Attempt]:
    """Yield each of the ``guarded`` calls in every way that is not to be let in."""
    known = list(dict.fromkeys(_parted(value)[1] for call in guarded for value in call.headers.values()))
    others = dict(zip(known, [*known[1:], *known[:1]], strict=True)) if len(known) > 1 else {}
    for call in guarded:
        for way, headers in _wrong(call.headers, others).items():
            yield Attempt(way, replace(call, headers=headers))


def _wrong(right: Mapping[str, str], others: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return headers that may be given in the place of the ``right`` ones, by what is wrong with them.

    Parameters
    ----------
    right : headers that hold secrets and nothing else.
    others : secret -> one that other calls need.
    """

    def with_each(change: Callable[[str], str]) -> dict[str, str]:
        parted = {name: _parted(value) for name, value in right.items()}
        return {name: f"{scheme}{change(secret)}" for name, (scheme, secret) in parted.items()}

    strange = secrets.token_urlsafe(24)
    ways = {
        "no secret": {},
        "empty secret": with_each(lambda _: ""),
        "wrong secret": with_each(lambda _: strange),
        "half of the secret": with_each(lambda secret: secret[: len(secret) // 2]),
    }
    if others:
        ways["the other secret"] = with_each(lambda secret: others[secret])
    if len(right) > 1:
        ways |= {f"without {left_out}": _without(right, left_out) for left_out in right}
    schemes = {name: value for name, value in right.items() if _parted(value)[0]}
    if schemes:
        basic = {name: f"Basic {_parted(value)[1]}" for name, value in schemes.items()}
        ways["another scheme"] = {**right, **basic}
    else:
        ways["secret as a bearer"] = {"Authorization": f"Bearer {next(iter(right.values()))}"}
    return ways


def _parted(value: str) -> tuple[str, str]:
    """Return the scheme of a header's value (``"Bearer "``, or nothing) and the secret in it."""
    scheme, space, secret = value.rpartition(" ")
    return scheme + space, secret


def _without(headers: Mapping[str, str], left_out: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != left_out}


def _is_list(body: object) -> str | None:
    return None if isinstance(body, list) else BAD_ANSWER
