"""PubNub broken on purpose, by rules of its emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final

from harness.faults import Exercised, Fault, FaultError, FaultTarget, MissingPartError
from harness.faults.parameters import choice, count, duration, parameters, share
from harness.sla.units import parse_duration, parse_share
from harness.stack.pubnub_control import PubNubControl
from harness.system.processes import Part

#: What a fault may be about, besides ``all``; several are separated by commas.
OPERATIONS: Final = (
    "publish", "signal", "subscribe", "time",
    "heartbeat", "leave", "here_now", "where_now", "set_state", "get_state", "presence",
    "history", "fetch_history", "delete_history", "message_counts", "histories", "groups", "grant",
    "grant_token", "revoke_token",
)  # fmt: skip


@dataclass(frozen=True)
class PubNubFault(Fault):
    """Something done to requests that reach PubNub. The target names the operations: ``publish,signal``."""

    place: ClassVar[str] = "pubnub"
    #: Operations that a random schedule tries it on.
    tried_on: ClassVar[tuple[str, ...]] = ("publish", "subscribe")

    #: Patterns (``lots.*``) of the channels that it is about; none: all.
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
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        if on.target.pubnub_control_url is None:
            return ()
        return [cls(operation) for operation in cls.tried_on]

    def rule(self) -> dict[str, object]:
        """Return the parameters as the emulator's rule has them: times in seconds, yes and no as such."""
        found: dict[str, object] = {}
        for parameter in parameters(type(self)):
            value = getattr(self, parameter.name)
            if parameter.kind == "duration":
                found[f"{parameter.name}_s"] = parse_duration(value)
            elif parameter.kind == "share":
                found[parameter.name] = parse_share(value)
            else:
                found[parameter.name] = {"yes": True, "no": False}.get(value, value)
        return found

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset({"pubnub"})

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        control = self._control(on)
        with self.named():
            rule = control.add(
                self.name.replace("-", "_"),  # the emulator calls it so
                operations=self.operations(),
                channels=list(self.channels),
                seed=self.seed,
                **self.rule(),
            )

        def exercised() -> str | None:
            with self.named():
                return None if rule.applied else "no request met it"

        try:
            yield exercised
        finally:
            with self.named():
                rule.remove()

    def _control(self, on: FaultTarget) -> PubNubControl:
        target = on.target
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


@dataclass(frozen=True)
class Status(_Staged):
    """Answer with an error status.

    At its end, requests are answered as they should be.
    """

    name = "status"
    status: int = count(503, "the status: 403, 429, 500, 503 ...")
    retry_after: str = duration("1s", "value of the Retry-After header of 429 and 503")

    def rule(self) -> dict[str, object]:
        without = set() if self.status in {429, 503} else {"retry_after_s"}
        return {name: value for name, value in super().rule().items() if name not in without}


@dataclass(frozen=True)
class NoAnswer(_Staged):
    """Leave the connection open and say nothing.

    At its end, new requests are answered; those left without an answer stay so until their client gives
    up.
    """

    name = "no-answer"


@dataclass(frozen=True)
class Cut(_Staged):
    """Reset the connection; after the request took effect, only its answer is lost.

    At its end, requests are answered; connections that were cut stay so.
    """

    name = "cut"


@dataclass(frozen=True)
class Malformed(PubNubFault):
    """Carry the request out, and answer 200 with half a body.

    At its end, answers are whole again.
    """

    name = "malformed"


@dataclass(frozen=True)
class Delay(PubNubFault):
    """Answer later.

    At its end, new requests are answered at once; those that wait are answered when their time has
    come.
    """

    name = "delay"
    delay: str = duration("2s", "how much later")


@dataclass(frozen=True)
class _OnMessages(PubNubFault):
    """A fault on what is accepted, on its way to the subscribers."""

    tried_on = ("publish",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.operations()) <= {"publish", "signal"}:
            raise FaultError(f"{self}: it is about messages; the target is publish, signal or publish,signal")


@dataclass(frozen=True)
class Drop(_OnMessages):
    """Accept messages and deliver them to nobody.

    At its end, messages are delivered again; those that were dropped are lost.
    """

    name = "drop"


@dataclass(frozen=True)
class Duplicate(_OnMessages):
    """Deliver messages more than once.

    At its end, messages come once again.
    """

    name = "duplicate"
    repeats: int = count(1, "how often each comes again")


@dataclass(frozen=True)
class Reorder(_OnMessages):
    """Hold messages back until the next one on their channel has overtaken them.

    At its end, what is held back is delivered, late.
    """

    name = "reorder"
    held: str = duration("2s", "how long at most")
    probability: str = share("50%", "share of the messages that are held back")


@dataclass(frozen=True)
class Limit(_OnMessages):
    """Refuse with 429 what exceeds a number of messages a second, as an exhausted quota does.

    At its end, nothing is refused any more.
    """

    name = "limit"
    per_second: int = count(10, "messages a second that are let through")
    retry_after: str = duration("1s", "value of the Retry-After header")
