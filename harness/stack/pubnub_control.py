"""The control API of the PubNub emulator: rules that break requests, and the log of what it received."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlencode

from harness.stack.errors import StackError
from harness.target.client import look

#: Entries of the log fetched at a time.
_PAGE: Final = 1_000


class PubNubControlError(StackError):
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
        lists = {name: tuple(document[name]) for name in ("channels", "groups", "rules")}
        timetoken = document["timetoken"]
        return cls(**document | lists | {"timetoken": None if timetoken is None else int(timetoken)})


@dataclass(frozen=True)
class RuleState:
    """A rule as it is now, or was when it was removed."""

    id: str
    action: str
    #: The operations that it is about.
    operations: tuple[str, ...]
    #: Whether it still holds.
    active: bool
    #: How many requests it applied to.
    applied: int

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read a rule as the control API sends it."""
        operations = tuple(document["operations"])
        return cls(document["id"], document["action"], operations, document["active"], document["applied"])


class PubNubControl:
    """Breaks a PubNub emulator, and reads what it received.

    Every method raises :class:`PubNubControlError` if the emulator can't be reached or refuses.

    Parameters
    ----------
    url : address of the emulator, past any proxy (``http://127.0.0.1:8090``).
    token : its control token.
    timeout_s : how long a request may take.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s

    @contextmanager
    def break_requests(self, action: str, **rule: Any) -> Iterator[Rule]:
        """Have a rule hold while the block runs; see :meth:`add`."""
        made = self.add(action, **rule)
        try:
            yield made
        finally:
            made.remove()

    def add(self, action: str, *, operations: Sequence[str] = (), **parameters: Any) -> Rule:
        """Make a rule.

        Parameters
        ----------
        action : ``status``, ``delay``, ``no_answer``, ``cut``, ``malformed``, ``drop``, ``duplicate``,
            ``reorder`` or ``limit``.
        operations : which requests, by operation (``publish``, ``subscribe`` ...); empty: all
            (``drop``, ``duplicate``, ``reorder`` and ``limit``: publish and signal).
        parameters : of any rule: ``channels`` (patterns such as ``game-*``, one of which has to match),
            ``for_s``, ``requests`` (how many at most), ``probability``, ``seed``, ``open_polls``
            (break long polls that are open now, too). Of its action: ``stage`` (``before`` or ``after`` the
            request takes effect), ``status``, ``retry_after_s`` and ``retry_after_as``, ``delay_s``,
            ``repeats``, ``held_s``, ``per_second``.
        """
        document: dict[str, Any] = {"action": action}
        document |= {name: value for name, value in parameters.items() if value is not None}
        if operations:
            document["operations"] = list(operations)
        return Rule(self, self._request("POST", "/control/rules", document)["id"])

    def rules(self) -> list[RuleState]:
        """Return all rules, also those that are over."""
        return [RuleState.from_document(one) for one in self._request("GET", "/control/rules")["rules"]]

    def rule(self, rule_id: str) -> RuleState:
        """Return one rule."""
        return RuleState.from_document(self._request("GET", f"/control/rules/{rule_id}"))

    def remove(self, rule_id: str) -> RuleState:
        """End a rule and return it as it was at its end."""
        return RuleState.from_document(self._request("DELETE", f"/control/rules/{rule_id}"))

    def turn_access_manager_on(self, *, publish: str, subscribe: str, secret: str) -> None:
        """Give a keyset a secret key: until that grants less, everybody may do everything."""
        keyset = {"publish": publish, "subscribe": subscribe, "secret": secret}
        self._request("POST", "/control/keysets", keyset)

    def clear(self) -> None:
        """End all rules."""
        self._request("DELETE", "/control/rules")

    def reset(self) -> None:
        """End all rules and forget messages, groups, presence, keysets, grants and the log."""
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
        wanted = {"limit": str(_PAGE), "operation": operation, "channel": channel}
        while True:
            query = {name: value for name, value in wanted.items() if value} | {"after": str(after)}
            page = self._request("GET", f"/control/log?{urlencode(query)}")["entries"]
            for document in page:
                entry = LoggedRequest.from_document(document)
                after = entry.number
                yield entry
            if len(page) < _PAGE:
                return

    def _request(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        where = f"the PubNub emulator at {self.url}"
        try:
            status, answer = look(
                method, f"{self.url}{path}", body=document, headers=self._headers, limit_s=self._timeout_s
            )
        except ConnectionError as error:
            raise PubNubControlError(f"{where} can't be reached: {error}") from error
        if status >= 400 or not isinstance(answer, dict):
            said = answer.get("message") if isinstance(answer, dict) else "not an answer of its control API"
            raise PubNubControlError(f"{where}: {method} {path.partition('?')[0]}: {status} {said}", status)
        return answer


class Rule:
    """A rule that holds until it is removed."""

    def __init__(self, control: PubNubControl, rule_id: str) -> None:
        self.id = rule_id
        self._control = control
        #: As it was when it was removed.
        self._ended: RuleState | None = None

    @property
    def applied(self) -> int:
        """How many requests it applied to: so far, or until it was removed."""
        return (self._ended or self._control.rule(self.id)).applied

    def remove(self) -> None:
        """End the rule; does nothing if it was removed with all others."""
        try:
            self._ended = self._control.remove(self.id)
        except PubNubControlError as error:
            if error.status != 404:
                raise
