"""The service as players, hosts and cron call it: each answer checked, each call in the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from locust.contrib.fasthttp import FastHttpSession, LocustBadStatusCode
from locust.event import EventHook

from harness.history import HistoryWriter, Row, now_ns
from harness.target.client import ANSWER_LIMIT_S, Answer, Check, outcome
from harness.target.errors import name_of

CONNECT_LIMIT_S: Final = 5.0


def open_session(
    address: str,
    request_event: EventHook,
    *,
    answer_limit_s: float = ANSWER_LIMIT_S,
    concurrency: int = 10,
) -> FastHttpSession:
    """Return a pool of connections to ``address``, whose certificate must be good.

    Parameters
    ----------
    request_event : where Locust is told of each call.
    answer_limit_s : how long an answer may take, in seconds.
    concurrency : calls that may be out at once.
    """
    return FastHttpSession(
        address,
        request_event,
        user=None,
        insecure=False,
        network_timeout=answer_limit_s,
        connection_timeout=CONNECT_LIMIT_S,
        max_retries=0,
        concurrency=concurrency,
    )


class Api:
    """Calls a target's service through one Locust session, so that its live page shows them.

    Locust's statistics round; what is judged are the history's rows, with the exact times.

    Parameters
    ----------
    session : the connection pool of one player's, host's or cron's client.
    history : where each call is recorded; None: nowhere.
    """

    def __init__(self, session: FastHttpSession, history: HistoryWriter | None) -> None:
        self._session = session
        self._history = history

    def note(self, row: Row) -> None:
        """Record what was learned from an answer."""
        if self._history is not None:
            self._history.append(row)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        actor: str,
        headers: Mapping[str, str] | None = None,
        route: str | None = None,
        expect: tuple[int, ...] = (200,),
        check: Check | None = None,
        event: str | None = None,
        game: str | None = None,
        intended_ns: int | None = None,
    ) -> Answer:
        """Call the service and record an ``http`` row.

        Parameters
        ----------
        route : the path without ids, for the row's name; default: ``path``.
        expect : the statuses that mean success.
        check : says what is wrong with the body of a success.
        event : id of the event that the call makes, unless it is refused.
        intended_ns : when the call was due, if it was on a schedule.
        """
        name = f"{method} {route or path}"
        answer = self.send(method, path, name, headers or {}, body, expect, check)
        if self._history is not None:
            if answer.status is not None and 300 <= answer.status < 500:
                event = None
            self._history.append(answer.row(name, actor, game=game, event=event, intended_ns=intended_ns))
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
            decoded: Any = None
            error: str | None
            if failure is not None and not isinstance(failure, LocustBadStatusCode):
                # There was no answer, or the connection broke in its midst.
                error = name_of(failure)
            else:
                decoded, error = outcome(response.status_code, response.content or b"", expect, check)
            if error is None:
                response.success()
            else:
                response.failure(error)
        return Answer(response.status_code or None, decoded, error, start_ns, end_ns)
