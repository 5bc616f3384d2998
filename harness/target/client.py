"""Calls to a target over HTTP: their headers, what came of them, in stable words, and their history row.

:class:`Client` makes them with requests; the load makes its own through Locust, and shares the rest. No
client uses a web proxy (:mod:`harness.web_proxies`) or what ``.netrc`` says of the target's host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import requests

from harness.history import Row, now_ns
from harness.target.address import Target
from harness.target.errors import BAD_ANSWER, name_of

if TYPE_CHECKING:
    from harness.history import HistoryWriter

#: Says what is wrong with an answer's body, or None.
Check = Callable[[Any], str | None]

#: The service answers within its own limit of 10 s, if only to say that it can't; who waits longer hangs.
ANSWER_LIMIT_S: Final = 15.0
#: Of an answer that says what is wrong, so much is shown.
_SHOWN: Final = 300


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

    def body_or(self, otherwise: Any) -> Any:
        """Return the body; ``otherwise`` if the call failed or the body is empty."""
        return otherwise if self.error is not None or self.body is None else self.body

    def told(self, name: str) -> str:
        """Return what came of the call ``name``: its status, and what the system says of what is wrong."""
        name = name.partition("?")[0]
        if self.status is None:
            return f"{name}: {self.error}"
        wrong = f", and not as it should: {self.error}" if self.error == BAD_ANSWER else ""
        return f"{name} answered {self.status}{wrong}{words_of(self.body)}"

    def row(
        self,
        name: str,
        actor: str,
        *,
        game: str | None = None,
        event: str | None = None,
        intended_ns: int | None = None,
    ) -> Row:
        """Return the ``http`` row of the call ``name``, ``POST /lots``."""
        return Row(
            "http",
            name,
            actor,
            game=game,
            event=event,
            intended_ns=intended_ns,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            ok=self.ok,
            error=self.error,
            value=self.status,
        )


def words_of(body: Any) -> str:
    """Return what the body of an answer says of what is wrong, to stand behind its status."""
    if isinstance(body, dict):
        body = body.get("message") or body.get("error") or json.dumps(body)
    text = " ".join(str(body).split()) if body else ""
    return f": {text[:_SHOWN]}" if text else ""


def has(*fields: str) -> Check:
    """Return a check that the body is an object with ``fields``."""

    def check(body: Any) -> str | None:
        return None if isinstance(body, dict) and all(field in body for field in fields) else BAD_ANSWER

    return check


def outcome(
    status: int, content: bytes, expect: tuple[int, ...] = (200,), check: Check | None = None
) -> tuple[Any, str | None]:
    """Return the decoded body of an answer, and what is wrong with the answer, in short and stable words."""
    try:
        body, readable = (json.loads(content), True) if content else (None, True)
    except (ValueError, RecursionError):
        body, readable = None, False
    if status not in expect:
        return body, f"http {status}"
    if not readable:
        return body, BAD_ANSWER
    return body, check(body) if check is not None else None


class Client:
    """Calls a target with its key, for one actor, one call at a time, and records each as an ``http`` row.

    Closes its connections at the end of the ``with``.

    Parameters
    ----------
    target : the service and its keys.
    actor : who calls, in the history.
    history : where calls are recorded; None: nowhere.
    limit_s : how long an answer may take.
    """

    def __init__(
        self,
        target: Target,
        actor: str,
        history: HistoryWriter | None = None,
        *,
        limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self._target = target
        self._actor = actor
        self._history = history
        self._limit_s = limit_s
        self._session = requests.Session()
        self._session.auth = _as_it_is

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        route: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
        check: Check | None = None,
        event: str | None = None,
        game: str | None = None,
    ) -> Answer:
        """Call the service and record it.

        Parameters
        ----------
        route : the path without ids, for the row's name; default: ``path`` without its query.
        headers : instead of those with the key.
        expect : the statuses that mean success.
        check : says what is wrong with the body of a success.
        event : id of the event that the call makes.
        """
        answer = self._send(method, path, body, headers, expect, check)
        if self._history is not None:
            name = f"{method} {route or path.partition('?')[0]}"
            self._history.append(answer.row(name, self._actor, game=game, event=event))
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
        expect: tuple[int, ...],
        check: Check | None,
    ) -> Answer:
        start_ns = now_ns()
        try:
            response = self._session.request(
                method,
                f"{self._target.service_url}{path}",
                json=body,
                headers=self._target.keys if headers is None else headers,
                timeout=self._limit_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return Answer(None, None, name_of(error), start_ns, now_ns())
        end_ns = now_ns()
        decoded, wrong = outcome(response.status_code, response.content, expect, check)
        return Answer(response.status_code, decoded, wrong, start_ns, end_ns)


def look(
    method: str,
    url: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    limit_s: float = ANSWER_LIMIT_S,
) -> tuple[int, Any]:
    """Call a part of a target outside of any record; return the status and the body, as text if no JSON.

    Raises
    ------
    ConnectionError
        There was no answer; the message is the stable name of the reason.
    """
    try:
        answer = requests.request(
            method, url, json=body, headers=headers, timeout=limit_s, auth=_as_it_is, allow_redirects=False
        )
    except requests.RequestException as error:
        raise ConnectionError(name_of(error)) from error
    return answer.status_code, decoded(answer.content)


def decoded(content: bytes) -> Any:
    """Return the body of an answer as JSON has it, as text if it is none."""
    try:
        return json.loads(content or b"null")
    except (ValueError, RecursionError):
        return content.decode(errors="replace")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request alone: without an ``auth`` of our own, requests takes the one of ``.netrc``."""
    return request
