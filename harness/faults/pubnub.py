"""PubNub broken on purpose, by the emulator: a client of its control API, and the faults made with it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote, urlencode, urlsplit

from harness.faults.base import (
    Exercised,
    Fault,
    FaultError,
    MissingPartError,
    System,
    choice,
    count,
    duration,
    register,
    share,
)
from harness.sla.units import parse_duration, parse_share

#: Entries of the log fetched at a time.
_PAGE: Final = 1_000


class PubNubControlError(FaultError):
    """The control API could not be reached or refused; the message says which and why.

    ``status`` is what it answered, None if it did not.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class LoggedRequest:
    """One request that the emulator received, and what became of it. Times are Unix nanoseconds."""

    number: int
    received_ns: int
    answered_ns: int
    method: str
    #: ``publish``, ``subscribe``, ``time`` ...
    operation: str
    #: The first ten of its channels.
    channels: tuple[str, ...]
    channel_count: int
    groups: tuple[str, ...]
    uuid: str
    #: The status answered; None: no answer was sent.
    status: int | None
    #: ``answered``, ``cut``, ``unanswered`` (both on purpose) or ``gone`` (the client went away first).
    outcome: str
    #: Whether it took effect: a publish was accepted, whatever the client was told.
    effect: bool
    #: Timetoken of what was published, or cursor that a subscribe was answered with.
    timetoken: int | None
    #: Beginning of what was published, as JSON text.
    message: str | None
    #: Messages in the answer of a subscribe.
    delivered: int
    #: Ids of the rules that changed what happened.
    rules: tuple[str, ...]

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read one entry as the control API sends it."""
        timetoken = document["timetoken"]
        return cls(
            **document
            | {
                "channels": tuple(document["channels"]),
                "groups": tuple(document["groups"]),
                "rules": tuple(document["rules"]),
                "timetoken": int(timetoken) if timetoken is not None else None,
            }
        )


class PubNubControl:
    """Breaks a PubNub emulator, and reads what it received.

    Parameters
    ----------
    url : address of the emulator, past any proxy (``http://127.0.0.1:8090``).
    token : its control token.
    timeout_s : how long a request may take.

    Raises
    ------
    ValueError
        ``url`` is not an http address.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"control URL {url!r} is not an address such as http://127.0.0.1:8090")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or 80
        self._token = token
        self._timeout_s = timeout_s

    def break_requests(
        self,
        action: str,
        *,
        operations: Sequence[str] = (),
        channels: Sequence[str] = (),
        for_s: float | None = None,
        requests: int | None = None,
        probability: float = 1.0,
        seed: int | None = None,
        open_polls: bool = False,
        **parameters: Any,
    ) -> Rule:
        """Make a rule and return it; as a context manager it ends with its block.

        Parameters
        ----------
        action : ``status``, ``delay``, ``no_answer``, ``cut``, ``malformed``, ``drop``, ``duplicate``,
            ``reorder`` or ``limit``.
        operations : which requests, by operation (``publish``, ``subscribe`` ...); empty: all
            (``drop``, ``duplicate``, ``reorder`` and ``limit``: publish and signal).
        channels : patterns (``game-*``) of which one has to match one of the request's channels; empty: any.
        for_s : how long the rule holds, in seconds; None: until it is removed.
        requests : how many requests it applies to; None: any number.
        probability : chance that it applies to a request that it is about.
        seed : makes that chance repeatable.
        open_polls : break long polls that are open now too, not only the next ones.
        parameters : those of the action: ``stage`` (``before`` or ``after`` the request takes effect),
            ``status`` and ``retry_after_s``, ``delay_s``, ``repeats``, ``held_s``, ``per_second``.

        Raises
        ------
        PubNubControlError
            The emulator can't be reached or refused the rule.
        """
        document = {
            "action": action,
            "channels": list(channels),
            "for_s": for_s,
            "requests": requests,
            "probability": probability,
            "seed": seed,
            "open_polls": open_polls,
        } | parameters
        if operations:
            document["operations"] = list(operations)
        return Rule(self, self._request("POST", "/control/rules", document))

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules, also those that are over, with how often each was applied."""
        found: list[dict[str, Any]] = self._request("GET", "/control/rules")["rules"]
        return found

    def rule(self, rule_id: str) -> dict[str, Any]:
        """Return one rule, with how often it was applied.

        Raises
        ------
        PubNubControlError
            There is none of this id.
        """
        return self._request("GET", f"/control/rules/{quote(rule_id, safe='')}")

    def remove(self, rule_id: str) -> dict[str, Any]:
        """End a rule and return it as it was at its end.

        Raises
        ------
        PubNubControlError
            There is none of this id.
        """
        return self._request("DELETE", f"/control/rules/{quote(rule_id, safe='')}")

    def clear(self) -> None:
        """End all rules."""
        self._request("DELETE", "/control/rules")

    def reset(self) -> None:
        """End all rules and forget messages, groups, presence, grants and the log."""
        self._request("POST", "/control/reset")

    def log(
        self, *, after: int = 0, operation: str | None = None, channel: str | None = None
    ) -> Iterator[LoggedRequest]:
        """Yield what was received, oldest first, fetched page by page.

        The log is bounded: its oldest entries go when it is full. To miss none, read it regularly with
        the last ``number`` as ``after``.

        Parameters
        ----------
        after : only entries with a higher number.
        operation, channel : only entries of this operation, on this channel.
        """
        while True:
            query = {"after": str(after), "limit": str(_PAGE)}
            query |= {"operation": operation} if operation else {}
            query |= {"channel": channel} if channel else {}
            page = self._request("GET", f"/control/log?{urlencode(query)}")["entries"]
            for document in page:
                entry = LoggedRequest.from_document(document)
                after = entry.number
                yield entry
            if len(page) < _PAGE:
                return

    def clear_log(self) -> None:
        """Forget the log's entries; numbers go on."""
        self._request("DELETE", "/control/log")

    def _request(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        body = None if document is None else json.dumps(document)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise PubNubControlError(
                f"the PubNub emulator at {self.url} can't be reached: {reason}"
            ) from error
        finally:
            connection.close()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if response.status >= 400 or not isinstance(answer, dict):
            said = answer.get("message") if isinstance(answer, dict) else "not an answer of its control API"
            shown = f"{method} {path.partition('?')[0]}: {response.status} {said}"
            raise PubNubControlError(f"the PubNub emulator at {self.url}: {shown}", response.status)
        return answer


class Rule:
    """A rule that holds until it is removed, its time is over, or its block ends."""

    def __init__(self, control: PubNubControl, document: dict[str, Any]) -> None:
        self._control = control
        self.id: str = document["id"]
        #: The seed of its chance, to repeat what happened.
        self.seed: int = document["seed"]
        self._last = document
        self._removed = False

    @property
    def applied(self) -> int:
        """How many requests it applied to: so far, or until it was removed."""
        return int(self.document()["applied"])

    def document(self) -> dict[str, Any]:
        """Return the rule as it is now, or was when it was removed."""
        if not self._removed:
            self._last = self._control.rule(self.id)
        return self._last

    def remove(self) -> None:
        """End the rule; does nothing if it was removed before, here or with all others."""
        if self._removed:
            return
        try:
            self._last = self._control.remove(self.id)
        except PubNubControlError as error:
            if error.status != 404:
                raise
        self._removed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


#: What a fault may be about, besides ``all``; several are separated by commas.
OPERATIONS: Final = (
    "publish", "signal", "subscribe", "time",
    "heartbeat", "leave", "here_now", "where_now", "set_state", "get_state", "presence",
    "history", "fetch_history", "delete_history", "message_counts", "histories", "groups", "grant",
)  # fmt: skip


@dataclass(frozen=True)
class PubNubFault(Fault):
    """Something done to requests that reach PubNub. The target names the operations: ``publish,signal``."""

    place: ClassVar[str] = "pubnub"
    #: The emulator's name for it.
    action: ClassVar[str]
    #: Operations that a random schedule tries it on.
    tried_on: ClassVar[tuple[str, ...]] = ("publish", "subscribe")

    #: Patterns (``game-*``) of the channels that it is about; none: all.
    channels: tuple[str, ...] = field(default=(), kw_only=True)
    #: Makes its chance repeatable; None: another one each time.
    seed: int | None = field(default=None, kw_only=True)
    probability: str = share("100%", "share of the requests that it hits")

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = [name for name in self.operations() if name not in OPERATIONS]
        if wrong:
            raise FaultError(
                f"{self}: no operation {', '.join(wrong)}; there are all, {', '.join(OPERATIONS)}"
            )

    def operations(self) -> list[str]:
        """Return the operations that it is about; none: all."""
        return [] if self.target in {"", "all"} else self.target.split(",")

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        if system.target.pubnub_control_url is None:
            return ()
        return [cls(operation) for operation in cls.tried_on]

    def arguments(self) -> dict[str, Any]:
        """Return the parameters of the rule that are this kind's own."""
        return {}

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        rule = self._control(system).break_requests(
            self.action,
            operations=self.operations(),
            channels=self.channels,
            probability=parse_share(self.probability),
            seed=self.seed,
            **self.arguments(),
        )
        with rule:
            yield lambda: None if rule.applied else "no request met it"

    def _control(self, system: System) -> PubNubControl:
        target = system.target
        if target.pubnub_control_url is None or target.pubnub_control_token is None:
            raise MissingPartError(
                f"{self}: the target has no PubNub emulator to tell "
                "(STORMWATCH_PUBNUB_CONTROL_URL and STORMWATCH_PUBNUB_CONTROL_TOKEN are not set)"
            )
        return PubNubControl(target.pubnub_control_url, target.pubnub_control_token)


@dataclass(frozen=True)
class _Staged(PubNubFault):
    """A fault on a request, before or after it takes effect."""

    stage: str = choice("before", ("before", "after"), "whether the request takes effect all the same: after")
    open_polls: str = choice("yes", ("yes", "no"), "whether long polls that are open already are hit too")

    def arguments(self) -> dict[str, Any]:
        return {"stage": self.stage, "open_polls": self.open_polls == "yes"}


@register
@dataclass(frozen=True)
class Status(_Staged):
    """Answer with an error status.

    At its end, requests are answered as they should be.
    """

    name = "status"
    action = "status"
    status: int = count(503, "the status: 403, 429, 500, 503 ...")
    retry_after: str = duration("1s", "value of the Retry-After header of 429 and 503")

    def arguments(self) -> dict[str, Any]:
        retry = {"retry_after_s": parse_duration(self.retry_after)} if self.status in {429, 503} else {}
        return super().arguments() | {"status": self.status} | retry


@register
@dataclass(frozen=True)
class NoAnswer(_Staged):
    """Leave the connection open and say nothing.

    At its end, new requests are answered; those left without an answer stay so until their client gives
    up.
    """

    name = "no-answer"
    action = "no_answer"


@register
@dataclass(frozen=True)
class Cut(_Staged):
    """Reset the connection; after the request took effect, only its answer is lost.

    At its end, requests are answered; connections that were cut stay so.
    """

    name = "cut"
    action = "cut"


@register
@dataclass(frozen=True)
class Malformed(PubNubFault):
    """Carry the request out, and answer 200 with half a body.

    At its end, answers are whole again.
    """

    name = "malformed"
    action = "malformed"


@register
@dataclass(frozen=True)
class Delay(PubNubFault):
    """Answer later.

    At its end, new requests are answered at once; those that wait are answered when their time has
    come.
    """

    name = "delay"
    action = "delay"
    delay: str = duration("2s", "how much later")

    def arguments(self) -> dict[str, Any]:
        return {"delay_s": parse_duration(self.delay)}


@dataclass(frozen=True)
class _OnMessages(PubNubFault):
    """A fault on what is accepted, on its way to the subscribers."""

    tried_on = ("publish",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.operations()) <= {"publish", "signal"}:
            raise FaultError(f"{self}: it is about messages; the target is publish, signal or publish,signal")


@register
@dataclass(frozen=True)
class Drop(_OnMessages):
    """Accept messages and deliver them to nobody.

    At its end, messages are delivered again; those that were dropped are lost.
    """

    name = "drop"
    action = "drop"


@register
@dataclass(frozen=True)
class Duplicate(_OnMessages):
    """Deliver messages more than once.

    At its end, messages come once again.
    """

    name = "duplicate"
    action = "duplicate"
    repeats: int = count(1, "how often each comes again")

    def arguments(self) -> dict[str, Any]:
        return {"repeats": self.repeats}


@register
@dataclass(frozen=True)
class Reorder(_OnMessages):
    """Hold messages back until the next one on their channel has overtaken them.

    At its end, what is held back is delivered, late.
    """

    name = "reorder"
    action = "reorder"
    held: str = duration("2s", "how long at most")
    probability: str = share("50%", "share of the messages that are held back")

    def arguments(self) -> dict[str, Any]:
        return {"held_s": parse_duration(self.held)}


@register
@dataclass(frozen=True)
class Limit(_OnMessages):
    """Refuse with 429 what exceeds a number of messages a second, as an exhausted quota does.

    At its end, nothing is refused any more.
    """

    name = "limit"
    action = "limit"
    per_second: int = count(10, "messages a second that are let through")
    retry_after: str = duration("1s", "value of the Retry-After header")

    def arguments(self) -> dict[str, Any]:
        return {"per_second": self.per_second, "retry_after_s": parse_duration(self.retry_after)}
