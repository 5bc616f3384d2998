"""The network broken on purpose, by Toxiproxy, on any of the proxies that all traffic passes."""

from __future__ import annotations

import secrets
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from harness.faults import Exercised, Fault, FaultError, FaultTarget, MissingPartError
from harness.faults.parameters import choice, count, duration, share
from harness.sla.units import parse_duration, parse_share
from harness.stack.proxies import (
    PLAYERS_PUBNUB,
    PROXIES,
    SERVICE_POSTGRES,
    SERVICE_PUBNUB,
    Proxies,
    Stream,
    ToxiproxyError,
)
from harness.system.processes import Part

DIRECTIONS: Mapping[str, tuple[Stream, ...]] = {
    "upstream": ("upstream",),
    "downstream": ("downstream",),
    "both": ("upstream", "downstream"),
}


#: Proxy -> the part that somebody speaks to through it.
_BEHIND: Final[Mapping[str, Part]] = {
    SERVICE_POSTGRES: "postgres",
    SERVICE_PUBNUB: "pubnub",
    PLAYERS_PUBNUB: "pubnub",
}


@dataclass(frozen=True)
class NetworkFault(Fault):
    """Something done to what passes one proxy (``service-postgres``, ``players-pubnub`` ...)."""

    place: ClassVar[str] = "network"

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset({_BEHIND[self.target]} if self.target in _BEHIND else ())

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        if on.target.toxiproxy_url is None:
            return ()
        return [cls(name) for name in Proxies(on.target.toxiproxy_url).all()]

    def proxies(self, on: FaultTarget) -> Proxies:
        """Return the proxies, once it is sure that the target of the fault is one of them.

        Raises
        ------
        MissingPartError
            The system has no Toxiproxy, or not this proxy of the design's four.
        FaultError
            There never was such a proxy, or Toxiproxy does not answer.
        """
        url = on.target.toxiproxy_url
        if url is None:
            raise MissingPartError(
                f"{self}: the target has no Toxiproxy (STORMWATCH_TOXIPROXY_URL is not set)"
            )
        proxies = Proxies(url)
        with self.named():
            known = proxies.all()
        if self.target not in known:
            # What is merely misspelt must not skip a scenario.
            kind = MissingPartError if self.target in PROXIES else FaultError
            raise kind(f"{self}: no proxy {self.target!r}; there are {', '.join(sorted(known)) or 'none'}")
        return proxies


@dataclass(frozen=True)
class Down(NetworkFault):
    """Cut every open connection and refuse new ones: the proxy as a whole, in both directions.

    At its end, clients can connect again.
    """

    name = "down"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        proxies = self.proxies(on)
        with self.named():
            use = _Use(proxies, self.target)
        try:
            with self.named():
                proxies.disable(self.target)
            yield use.missing
        finally:
            with self.named():
                proxies.enable(self.target)


@dataclass(frozen=True)
class Flapping(NetworkFault):
    """Go down and come up again, over and over: the proxy as a whole, in both directions.

    At its end, it is up, and clients can connect again.
    """

    name = "flapping"

    down: str = duration("500ms", "how long it is down each time")
    up: str = duration("1s", "how long it is up in between")

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        proxies = self.proxies(on)
        with self.named():
            use = _Use(proxies, self.target)
        over = threading.Event()
        trouble: list[ToxiproxyError] = []

        def flap() -> None:
            try:
                while not over.is_set():
                    proxies.disable(self.target)
                    over.wait(parse_duration(self.down))
                    proxies.enable(self.target)
                    over.wait(parse_duration(self.up))
            except ToxiproxyError as error:
                trouble.append(error)

        thread = threading.Thread(target=flap, name=str(self), daemon=True)
        thread.start()
        try:
            yield use.missing
        finally:
            over.set()
            thread.join()
            with self.named():
                proxies.enable(self.target)
            if trouble:
                raise FaultError(f"{self}: {trouble[0]}") from trouble[0]


@dataclass(frozen=True)
class ToxicFault(NetworkFault):
    """A toxic of Toxiproxy on a share of a proxy's connections, in one direction or both."""

    direction: str = choice(
        "downstream", list(DIRECTIONS), "of what is affected: upstream is what clients send"
    )
    share: str = share("100%", "share of the connections that is affected")

    toxic: ClassVar[str]

    @abstractmethod
    def attributes(self) -> dict[str, int]:
        """Return the toxic's attributes in Toxiproxy's units."""

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        proxies = self.proxies(on)
        # A name of our own: another fault of the same kind may be on the same proxy.
        toxics: dict[str, Stream] = {
            f"{self.name}-{stream}-{secrets.token_hex(3)}": stream for stream in DIRECTIONS[self.direction]
        }
        try:
            with self.named():
                use = _Use(proxies, self.target)
                for name, stream in toxics.items():
                    proxies.add_toxic(
                        self.target,
                        name,
                        self.toxic,
                        self.attributes(),
                        stream=stream,
                        share=parse_share(self.share),
                    )
            yield use.missing
        finally:
            # Toxics are removed, never set to a share of 0: reset_peer still cuts connections then.
            with self.named(), ExitStack() as removals:
                for name in toxics:
                    removals.callback(proxies.remove_toxic, self.target, name)


@dataclass(frozen=True)
class Refuse(ToxicFault):
    """Hang up on whoever says something: connections are taken, then closed at the first byte.

    At its end, new connections are served; those that were closed stay closed.
    """

    name = "refuse"
    toxic = "limit_data"

    direction: str = choice("upstream", list(DIRECTIONS), "whose first byte ends it: upstream, the client's")

    def attributes(self) -> dict[str, int]:
        return {"bytes": 0}


@dataclass(frozen=True)
class BlackHole(ToxicFault):
    """Swallow everything: connections stay open and nothing comes of them.

    At its end, its connections are closed (FIN), and what was swallowed is lost; ``network:stall`` goes
    on instead.
    """

    name = "blackhole"
    toxic = "timeout"

    # One way alone, the other end would notice and hang up.
    direction: str = choice("both", list(DIRECTIONS), "of what is swallowed: upstream is what clients send")
    closes_after: str = duration("0s", "when a connection is closed after all; 0s: at the end of the fault")

    def attributes(self) -> dict[str, int]:
        return {"timeout": _ms(self.closes_after)}


@dataclass(frozen=True)
class Stall(ToxicFault):
    """Let nothing pass: connections stay open, and what is sent waits.

    At its end, everything goes on: what was sent meanwhile arrives, on the same connections.
    """

    name = "stall"
    toxic = "bandwidth"

    # One way alone, the other end would notice and hang up.
    direction: str = choice("both", list(DIRECTIONS), "of what waits: upstream is what clients send")

    def attributes(self) -> dict[str, int]:
        return {"rate": 0}


@dataclass(frozen=True)
class Latency(ToxicFault):
    """Delay everything by a time, more or less.

    At its end, what is on its way arrives, and the rest without delay.
    """

    name = "latency"
    toxic = "latency"

    latency: str = duration("1s", "delay of each piece of data")
    jitter: str = duration("0s", "how much the delay varies, up and down")

    def attributes(self) -> dict[str, int]:
        return {"latency": _ms(self.latency), "jitter": _ms(self.jitter)}


@dataclass(frozen=True)
class Bandwidth(ToxicFault):
    """Let only so much through in a second, on each connection.

    At its end, what waits arrives at once, and the rest as fast as it can.
    """

    name = "bandwidth"
    toxic = "bandwidth"

    kilobytes: int = count(1, "KB a second")

    def attributes(self) -> dict[str, int]:
        return {"rate": self.kilobytes}


@dataclass(frozen=True)
class SlowClose(ToxicFault):
    """Keep closed connections from closing for a while.

    At its end, connections close as they are told to.
    """

    name = "slow_close"
    toxic = "slow_close"

    delay: str = duration("5s", "how long a close takes")

    def attributes(self) -> dict[str, int]:
        return {"delay": _ms(self.delay)}


@dataclass(frozen=True)
class ResetPeer(ToxicFault):
    """Reset connections (RST) some time after they were opened, in the middle of an answer if need be.

    At its end, new connections live on; those that were reset stay so.
    """

    name = "reset_peer"
    toxic = "reset_peer"

    after: str = duration("0s", "how long a connection lives; 0s: it is reset at once")

    def attributes(self) -> dict[str, int]:
        return {"timeout": _ms(self.after)}


@dataclass(frozen=True)
class Slicer(ToxicFault):
    """Cut data into small pieces, with a pause between them.

    At its end, data passes whole again, on the same connections.
    """

    name = "slicer"
    toxic = "slicer"

    size: int = count(64, "average size of a piece in bytes")
    variation: int = count(32, "how much the size varies in bytes; less than the size")
    pause: str = duration("10ms", "between two pieces")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variation >= self.size:
            raise FaultError(f"--variation: {self.variation} is not less than the size, {self.size}")

    def attributes(self) -> dict[str, int]:
        delay_us = int(parse_duration(self.pause) * 1e6)
        return {"average_size": self.size, "size_variation": self.variation, "delay": delay_us}


@dataclass(frozen=True)
class LimitData(ToxicFault):
    """Close a connection once so much has passed.

    At its end, new connections may pass as much as they like; those that were closed stay closed.
    """

    name = "limit_data"
    toxic = "limit_data"

    bytes: int = count(1000, "how much passes before it is closed, in bytes")

    def attributes(self) -> dict[str, int]:
        return {"bytes": self.bytes}


class _Use:
    """Whether anybody came across what is done to a proxy, from when this was made."""

    def __init__(self, proxies: Proxies, name: str) -> None:
        self._proxies = proxies
        self._name = name
        self._passed = self._count()
        self._open = proxies.open_connections(name)

    def missing(self) -> str | None:
        """Return why nobody did; None if somebody did, or nobody can tell.

        Raises
        ------
        FaultError
            Toxiproxy does not answer any more.
        """
        if self._open:
            return None
        try:
            passed, open_now = self._count(), self._proxies.open_connections(self._name)
        except ToxiproxyError as error:
            raise FaultError(f"network fault on {self._name}: {error}") from error
        # What passed is counted when a connection ends: 0 proves nothing where open ones can't be seen.
        if open_now is None or open_now or passed != self._passed:
            return None
        return f"nobody was connected to the proxy {self._name}, and nothing passed it"

    def _count(self) -> int | None:
        passed = self._proxies.received_bytes(self._name)
        return None if passed is None else sum(passed.values())


def _ms(text: str) -> int:
    return round(parse_duration(text) * 1000)
