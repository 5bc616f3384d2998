"""Connections: bounds of a request's head, of the time until a request is whole, and of their number.

httptools joins the pieces of a header as they come in, which takes quadratic time; uvicorn waits for the rest
of a request for ever, and takes connections until none can be opened. A single client could stop the service.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from itertools import takewhile
from typing import Any, Final, Literal, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.logs import Throttled, get_logger
from service.metrics import Metrics

log = Throttled(get_logger(__name__))

#: Bytes of a request that are not its body: request line, headers, what chunks are wrapped in, trailers.
HEAD_LIMIT: Final = 64 * 1024
#: Seconds from a connection's begin, or a later request's, until that request is whole.
REQUEST_LIMIT_S: Final = 10
#: The least that a chunk is wrapped in: one digit and two line ends.
_CHUNK_BYTES: Final = 5


class _Refusal(NamedTuple):
    reason: str
    status: HTTPStatus
    message: str


_TOO_LARGE: Final = _Refusal(
    "head_too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"the request line and headers are over {HEAD_LIMIT} bytes",
)
_TOO_SLOW: Final = _Refusal(
    "too_slow", HTTPStatus.REQUEST_TIMEOUT, f"the request was not whole within {REQUEST_LIMIT_S} s"
)
_MALFORMED: Final = _Refusal("malformed", HTTPStatus.BAD_REQUEST, "the request is not HTTP")
_TOO_MANY: Final = _Refusal(
    "too_many", HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open; try again soon"
)


class Connections:
    """Bounds the number of connections, and the time until a request is whole.

    Parameters
    ----------
    most : connections that may be open. Beyond it the one that waits longest for a whole request is closed,
        and if all have one, the new one.
    """

    def __init__(self, metrics: Metrics, most: int) -> None:
        self._metrics = metrics
        self._most = most
        #: Connection -> second in which its request began, the oldest first.
        self._unfinished: dict[Connection, int] = {}
        self._second = 0

    def protocol(self) -> type[asyncio.Protocol]:
        """Return what makes a connection, as uvicorn's ``http`` wants it."""
        return cast(type[asyncio.Protocol], lambda **arguments: Connection(self, **arguments))

    def begun(self, connection: Connection) -> None:
        """Note that a connection waits for a request, or the rest of one."""
        self._unfinished.setdefault(connection, self._second)

    def ended(self, connection: Connection) -> None:
        """Note that a connection's request is whole, or that the connection is gone."""
        self._unfinished.pop(connection, None)

    def make_room(self, new: Connection) -> None:
        """Close a connection if there are too many."""
        if len(new.connections) > self._most:
            next(iter(self._unfinished), new).refuse(_TOO_MANY)

    async def watch(self) -> None:
        """Close connections whose request takes too long, until cancelled.

        Seconds are counted, not timed: while the process stands still, requests can't come in either.
        """
        while True:
            await asyncio.sleep(1.0)
            self.second_passed()

    def second_passed(self) -> None:
        """Close connections whose request takes too long by now."""
        self._second += 1
        begun_by = self._second - REQUEST_LIMIT_S
        for connection, _ in list(takewhile(lambda item: item[1] < begun_by, self._unfinished.items())):
            connection.refuse(_TOO_SLOW)

    def refused(self, connection: Connection, refusal: _Refusal) -> None:
        """Log and count a connection that is closed."""
        self.ended(connection)
        self._metrics.connections_refused.labels(refusal.reason).inc()
        client = connection.client[0] if connection.client else "unknown"
        log.warning("connection refused", client=client, reason=refusal.message)


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        #: How much there is of the newest request.
        self._stage: Literal["nothing", "head", "body", "whole"] = "nothing"
        #: Bytes of it that are not its body.
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._all.make_room(self)
        if not transport.is_closing():
            self._all.begun(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.ended(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the parser have what came in, but no more of a head than it may have."""
        while data and not self.transport.is_closing():
            if self._stage == "whole":
                self._stage, self._head_bytes = "nothing", 0
            size = len(data) if self._stage == "body" else HEAD_LIMIT - self._head_bytes
            self._head_bytes += min(size, len(data))
            super().data_received(data[:size])
            data = data[size:]
            if self._head_bytes >= HEAD_LIMIT and not self.transport.is_closing():
                self.refuse(_TOO_LARGE)
        if self._stage == "whole":
            self._all.ended(self)
        elif not self.transport.is_closing():
            self._all.begun(self)

    def on_message_begin(self) -> None:
        self._stage = "head"
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stage = "body"
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Leave out of the count what every chunk needs (the parser's callback)."""
        self._head_bytes -= _CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        # What else was read with it belongs to the next request; so much more may that be.
        self._stage, self._head_bytes = "whole", 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP (called by uvicorn's own)."""
        self.refuse(_MALFORMED)

    def refuse(self, refusal: _Refusal) -> None:
        """Close the connection, with an answer if there is something to answer and nothing before it."""
        self._all.refused(self, refusal)
        idle = self.cycle is None or self.cycle.response_complete
        asked = self._stage == "head" or (self._stage == "nothing" and refusal is not _TOO_SLOW)
        if idle and asked:
            self.transport.write(_answer(refusal))
        self.transport.close()


def _answer(refusal: _Refusal) -> bytes:
    body = json.dumps({"error": {"code": refusal.reason, "message": refusal.message}}).encode()
    lines = [
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if refusal is _TOO_MANY:
        lines.append("retry-after: 1")
    return "\r\n".join([*lines, "", ""]).encode() + body
