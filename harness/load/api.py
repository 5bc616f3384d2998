"""The service as players, hosts and cron call it: each answer checked, each call in the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from locust.contrib.fasthttp import FastHttpSession, FastResponse, LocustBadStatusCode

from harness.history import HistoryWriter, Row, now_ns
from harness.target import Target
from harness.target.errors import BAD_ANSWER, name_of

#: Says what is wrong with an answer's body, or None.
Check = Callable[[Any], str | None]

#: The service answers within its own limit of 10 s, if only to say that it can't; who waits longer hangs.
NETWORK_LIMIT_S: Final = 15.0
CONNECT_LIMIT_S: Final = 5.0


@dataclass(frozen=True)
class Answer:
    """What came of a call."""

    #: HTTP status; None: there was no answer.
    status: int | None
    #: The body, decoded; None if it was no JSON.
    body: Any
    #: Short and stable, None if all was well.
    error: str | None
    start_ns: int
    end_ns: int

    @property
    def ok(self) -> bool:
        """Whether it was answered, with an expected status and a body that passed its check."""
        return self.error is None


class Api:
    """Calls a target's service through one Locust session, so that its live page shows them.

    Locust's statistics round; what is judged are the history's rows, with the exact times.

    Parameters
    ----------
    session : the connection pool of one player's, host's or cron's client.
    target : the service and its keys.
    history : where each call is recorded.
    """

    def __init__(self, session: FastHttpSession, target: Target, history: HistoryWriter) -> None:
        self._session = session
        self._history = history
        self._bearer = {
            "apikey": target.service_role_key,
            "Authorization": f"Bearer {target.service_role_key}",
        }

    def call(
        self,
        method: str,
        path: str,
        *,
        actor: str,
        route: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
        check: Check | None = None,
        game: str | None = None,
        intended_ns: int | None = None,
    ) -> Answer:
        """Call the service with the bearer key and record an ``http`` row.

        Parameters
        ----------
        route : the path without ids, for the row's name; default: ``path``.
        expect : the statuses that mean success.
        check : says what is wrong with the body of a success.
        intended_ns : when the call was due, if it was on a schedule.
        """
        name = f"{method} {route or path}"
        answer = self.send(method, path, name, {**self._bearer, **(headers or {})}, body, expect, check)
        self._history.append(
            Row(
                "http",
                name,
                actor,
                game=game,
                intended_ns=intended_ns,
                start_ns=answer.start_ns,
                end_ns=answer.end_ns,
                ok=answer.ok,
                error=answer.error,
                value=answer.status,
            )
        )
        return answer

    def send(
        self,
        method: str,
        path: str,
        name: str,
        headers: Mapping[str, str],
        body: Any = None,
        expect: tuple[int, ...] = (200,),
        check: Check | None = None,
    ) -> Answer:
        """Call the service with these headers alone and record nothing but Locust's statistics."""
        start_ns = now_ns()
        with self._session.request(
            method, path, name=name, json=body, headers=dict(headers), catch_response=True
        ) as response:
            end_ns = now_ns()
            # Locust has read the body already; how that went it keeps to itself. To it, a status of 400
            # and above is a broken connection too.
            failure = response.request_meta["exception"]
            status = response.status_code or None
            decoded: Any = None
            if failure is not None and not isinstance(failure, LocustBadStatusCode):
                # There was no answer, or the connection broke in its midst.
                error: str | None = name_of(failure)
            else:
                decoded, readable = _decoded(response)
                if status not in expect:
                    error = f"http {status}"
                elif not readable:
                    error = BAD_ANSWER
                else:
                    error = check(decoded) if check is not None else None
            if error is None:
                response.success()
            else:
                response.failure(error)
        return Answer(status, decoded, error, start_ns, end_ns)


def has(*fields: str) -> Check:
    """Return a check that the body is an object with ``fields``."""

    def check(body: Any) -> str | None:
        return None if isinstance(body, dict) and all(field in body for field in fields) else BAD_ANSWER

    return check


def _decoded(response: FastResponse) -> tuple[Any, bool]:
    """Return the body and whether it was empty or JSON."""
    try:
        content = response.content
        return (json.loads(content), True) if content else (None, True)
    except ValueError:
        return None, False
