"""Ways in which a player listens: PubNub's SDK, a WebSocket, server-sent events, or one of the system's own.

A listener holds one connection. When it ends, however that was, the player comes back as clients do.
"""

from __future__ import annotations

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from harness.history.names import Way
from harness.target import Target

#: A ping that is not answered for half as long ends a WebSocket: a network that is gone says nothing.
PING_EVERY_S: Final = 20.0


class Unheard(Exception):
    """A connection can't be had; the text says why, short and stable, so that it can be counted."""


class Ear(Protocol):
    """The player's side of a listener."""

    def connected(self) -> None:
        """Tell that from now on everything is heard; each time that it comes back, too."""

    def hear(self, message: Any, accepted_ns: int | None = None) -> None:
        """Hand a message over.

        Parameters
        ----------
        message : as ``System.read`` takes it.
        accepted_ns : when whoever brings it took it over, Unix ns by their clock; None: they do not tell.
        """


class Listener(ABC):
    """One player's connection to what it hears of one item."""

    #: How it is called in the record.
    way: ClassVar[str]
    #: Whether messages about other items come as well: they are then left out.
    of_all: bool = False
    #: Seconds until it comes back; None: 1, 2, 4, then each 5 s, and some by chance.
    again_s: float | None = None

    @abstractmethod
    async def listen(self, ear: Ear) -> None:
        """Connect, and hand over what comes until the connection ends; cancelled when the player leaves.

        Raises
        ------
        Unheard, OSError
            It can't connect, or the connection broke.
        """


@dataclass
class PubNub(Listener):
    """A client of PubNub's own SDK, which comes back by itself and catches up on what it missed."""

    target: Target = field(repr=False)
    channel: str
    #: Its id at PubNub, unique among all players.
    user: str
    of_all: bool = False
    way = Way.PUBNUB

    async def listen(self, ear: Ear) -> None:
        """Listen until cancelled."""
        from harness.system.pubnub_sdk import listen

        await listen(self.target, self.channel, self.user, ear)


@dataclass
class WebSocket(Listener):
    """A WebSocket. What is sent while it is down is not heard, unless ``says`` asks for it.

    Parameters
    ----------
    url : ``http(s)://`` or ``ws(s)://``.
    headers : of the handshake.
    says : what is sent once it is open, each as JSON.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    says: Sequence[Any] = field(default=(), repr=False)
    of_all: bool = False
    way = Way.WEBSOCKET

    async def listen(self, ear: Ear) -> None:
        """Listen until the WebSocket is closed."""
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(self.url, headers=self.headers, heartbeat=PING_EVERY_S) as socket,
            ):
                for message in self.says:
                    await socket.send_json(message)
                ear.connected()
                async for frame in socket:
                    if frame.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                        ear.hear(decoded(frame.data))
        except aiohttp.WSServerHandshakeError as error:
            raise Unheard(f"http {error.status}") from error


@dataclass
class ServerSentEvents(Listener):
    """A stream of server-sent events, taken up again after the last event that was heard.

    A message is an event's data; that of an event with a name is ``{"event": name, "data": data}``.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    of_all: bool = False
    again_s: float | None = None
    way = Way.EVENTS
    _last: str = field(default="", init=False, repr=False)

    async def listen(self, ear: Ear) -> None:
        """Listen until the stream ends."""
        import aiohttp

        headers = {**self.headers, "Accept": "text/event-stream"}
        if self._last:
            headers["Last-Event-ID"] = self._last
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=10.0)) as session,
            session.get(self.url, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise Unheard(f"http {answer.status}")
            if answer.content_type != "text/event-stream":
                raise Unheard(f"{answer.content_type} is no stream of events")
            ear.connected()
            stream = EventStream(self._last)
            async for chunk in answer.content.iter_any():
                for event in stream.feed(chunk):
                    self._last = event.id
                    data = decoded(event.data)
                    ear.hear({"event": event.name, "data": data} if event.name else data)
                self.again_s = stream.again_s


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    data: str
    #: Empty: it has none.
    name: str
    #: Of the last event that had one.
    id: str


class EventStream:
    """Reads events out of a stream's bytes, as they come (WHATWG HTML, 9.2.6).

    Parameters
    ----------
    last_id : of the last event before.
    """

    def __init__(self, last_id: str = "") -> None:
        #: What the server says of the time until a client comes back, in seconds.
        self.again_s: float | None = None
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._fields: dict[str, str] = {}
        self._data: list[str] = []
        self._id = last_id

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that ``chunk`` completes."""
        text = self._rest + self._text.decode(chunk)
        # A carriage return may be half of a line's end.
        whole = text[:-1] if text.endswith("\r") else text
        *lines, rest = re.split("\r\n|\n|\r", whole)
        self._rest = rest + text[len(whole) :]
        for line in lines:
            if line:
                self._take(*_field(line))
                continue
            if self._data:
                yield Event("\n".join(self._data), self._fields.get("event", ""), self._id)
            self._fields, self._data = {}, []

    def _take(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.again_s = int(value) / 1000
        else:
            self._fields[name] = value


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


def decoded(data: str | bytes) -> Any:
    """Return what a message's JSON means, the message itself if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data
