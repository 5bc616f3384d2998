"""A request handler of the PubNub SDK that does little a request: HTTP/1.1 on kept-alive connections.

The SDK's own (httpx, aiohttp) are general clients: cookies, redirects, proxies, uploads, traces. A publish
needs none of that and costs a fraction without: the SDK builds the request and reads the answer, this one
carries both. It takes the operations whose answers are JSON: all but files.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools
from pubnub.enums import PNStatusCategory
from pubnub.errors import PNERR_CLIENT_ERROR, PNERR_SERVER_ERROR
from pubnub.exceptions import PubNubException
from pubnub.models.envelopes import AsyncioEnvelope
from pubnub.request_handlers.base import BaseRequestHandler
from pubnub.structures import RequestOptions, ResponseInfo

#: Connections of one client at a time; further requests wait for one.
LIMIT: Final = 100
#: A connection idle for longer is not used again: something between may have forgotten it.
_IDLE_S: Final = 15.0
#: May be asked again when a kept connection turns out to be closed.
_IDEMPOTENT: Final = frozenset({"GET", "DELETE"})
#: What would end a request line early: the SDK does not escape all it puts there.
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_CATEGORIES: Final = {
    400: PNStatusCategory.PNBadRequestCategory,
    403: PNStatusCategory.PNAccessDeniedCategory,
}


class Answer(NamedTuple):
    """What came back; the SDK hands it on as the ``client_response`` of a status."""

    status: int
    body: bytes
    #: The header of that name.
    retry_after: str | None


class SdkHttp(BaseRequestHandler):  # type: ignore[misc]  # the SDK has no types
    """To be given to an SDK client as its ``custom_request_handler``."""

    def __init__(self, pubnub: Any) -> None:
        self._pubnub = pubnub
        self._loop: asyncio.AbstractEventLoop = pubnub.event_loop
        #: The one used last is at the end.
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._turns = asyncio.Semaphore(LIMIT)
        self._closed = False
        config = pubnub.config
        origin = urlsplit(f"{config.scheme()}://{pubnub.base_origin}")
        if origin.hostname is None:
            raise ValueError(f"origin is {pubnub.base_origin!r}, must be host or host:port")
        self._host: str = origin.hostname
        self._tls = origin.scheme == "https"
        self._port = origin.port or (443 if self._tls else 80)
        self._connect_s = float(config.connect_timeout)
        self._headers = f" HTTP/1.1\r\nHost: {pubnub.base_origin}\r\n" + _lines(pubnub.headers)

    async def create_session(self) -> None:
        """Do nothing: a connection is opened when it is needed (the SDK's call)."""

    async def close_session(self) -> None:
        """Close all connections; requests under way fail (the SDK's call)."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()

    def sync_request(self, *_: Any) -> None:
        """Refuse: this is a handler for asyncio."""
        raise NotImplementedError("SdkHttp answers PubNubAsyncio only")

    threaded_request = sync_request

    async def async_request(
        self, options_func: Callable[[], RequestOptions], cancellation_event: asyncio.Event | None
    ) -> AsyncioEnvelope | None:
        """Carry out what the SDK asks for; None if ``cancellation_event`` was set meanwhile.

        Raises
        ------
        PubNubException
            PubNub answers with an error.
        TimeoutError, OSError
            It does not answer in time, can't be reached, or hangs up.
        ValueError
            Its answer is not JSON.
        """
        options = options_func()
        if options.files or options.non_json_response or not options.use_base_path:
            raise NotImplementedError(f"SdkHttp does not carry files: {options.path.split('?')[0]}")
        options.merge_params_in({})
        answer = await self._ask(options)
        status, body, _ = answer
        if cancellation_event is not None and cancellation_event.is_set():
            return None
        try:
            data = json.loads(body) if body else "N/A"
        except ValueError:
            if status == 200:
                raise
            data = body.decode("utf-8", "replace")  # of a proxy, say, that speaks for PubNub
        info = ResponseInfo(
            status_code=status,
            tls_enabled=self._tls,
            origin=self._host,
            uuid=self._pubnub.uuid,
            auth_key=None,
            client_request=None,
            client_response=answer,
            http_version="HTTP/1.1",
        )
        if status not in {200, 204}:
            raise options.create_exception(
                category=_CATEGORIES.get(status, PNStatusCategory.PNUnknownCategory),
                response=data,
                response_info=info,
                exception=PubNubException(
                    errormsg=data,
                    pn_error=PNERR_SERVER_ERROR if status >= 500 else PNERR_CLIENT_ERROR,
                    status_code=status,
                ),
            )
        return AsyncioEnvelope(
            result=options.create_response(data),
            status=options.create_status(PNStatusCategory.PNAcknowledgmentCategory, data, info, None),
        )

    async def _ask(self, options: RequestOptions) -> Answer:
        """Send the request and return its answer."""
        method = options.method_string
        request = self._written(method, options)
        within_s: float = options.request_timeout
        async with self._turns:
            connection = self._kept() or await self._connect()
            try:
                return await connection.ask(request, within_s)
            except ConnectionError:
                # RFC 9112, 9.3.1: a kept one may be closed as we write; ask once more on one of our own.
                if connection.answers == 0 or connection.heard or method not in _IDEMPOTENT:
                    raise
            finally:
                self._give_back(connection)
            connection = await self._connect()
            try:
                return await connection.ask(request, within_s)
            finally:
                self._give_back(connection)

    def _written(self, method: str, options: RequestOptions) -> bytes:
        target = f"{options.path}?{options.query_string}"
        if unsafe := _UNSAFE.search(target):
            raise ValueError(f"{unsafe[0]!r} in a request's path or query: it has to be percent-encoded")
        head = f"{method} {target}{self._headers}"
        if options.request_headers:
            head += _lines(options.request_headers)
        data = options.data
        if data is None:
            return (head + "\r\n").encode("ascii")
        body = data.encode() if isinstance(data, str) else bytes(data)
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and self._loop.time() - connection.idle_since < _IDLE_S:
                self._busy.add(connection)
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        if self._closed:
            raise ConnectionError("the client is closed")
        async with asyncio.timeout(self._connect_s):
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self._loop),
                self._host,
                self._port,
                ssl=_tls_context() if self._tls else None,
            )
        self._busy.add(connection)
        return connection

    def _give_back(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        if not connection.usable or self._closed:
            connection.abort()
            return
        now = self._loop.time()
        connection.idle_since = now
        self._idle.append(connection)
        while now - self._idle[0].idle_since > _IDLE_S:
            self._idle.popleft().abort()


class _Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    __slots__ = (
        "_answer",
        "_loop",
        "_parser",
        "_parts",
        "_retry_after",
        "_transport",
        "answers",
        "heard",
        "idle_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._parts: list[bytes] = []
        self._retry_after: str | None = None
        #: Requests answered so far.
        self.answers = 0
        #: Whether anything of the present request's answer came.
        self.heard = False
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    async def ask(self, request: bytes, within_s: float) -> Answer:
        """Send a request and return its answer.

        Raises
        ------
        TimeoutError
            There is no answer within ``within_s`` seconds.
        ConnectionError
            The other end hangs up, or what it says is not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.heard = False
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._transport.write(request)
        limit = self._loop.call_later(within_s, _time_out, answer)
        try:
            return await answer
        except BaseException:
            # What comes now would be taken for the next request's answer.
            self.abort()
            raise
        finally:
            limit.cancel()
            self._answer = None

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("the other end closed the connection" if exc is None else str(exc))

    def data_received(self, data: bytes) -> None:
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort()
            self._fail(f"the answer is not HTTP: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that matters (the parser's callback)."""
        if name.lower() == b"retry-after":
            self._retry_after = value.strip().decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body (the parser's callback)."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand on the answer (the parser's callback)."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        parts, self._parts = self._parts, []
        retry_after, self._retry_after = self._retry_after, None
        answer = self._answer
        if answer is None or not self._parser.should_keep_alive():
            self.abort()
        if answer is not None and not answer.done():
            self.answers += 1
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            answer.set_result(Answer(status, body, retry_after))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(why))


def _time_out(answer: asyncio.Future[Answer]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()
