"""Middleware around everything: the request's id, its log line, its metrics, and errors as answers."""

from __future__ import annotations

import logging
import random
import re
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.database import DatabaseUnavailable, PoolExhausted
from service.http.errors import ApiError, error_response
from service.logs import get_logger, request_id
from service.metrics import Metrics

log = get_logger(__name__)
_lowest = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,100}")
#: Answers of these say nothing about how well the service serves.
_WATCHERS: Final = frozenset({"/health", "/metrics", "/alerts"})
_RETRY_AFTER_S: Final = 2.0


class Observe:
    """Pure ASGI middleware; Starlette's class for functions costs as much as the rest of a request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._known: dict[tuple[str, str, int], tuple[Callable[[float], None], Callable[[], None]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        current = _id_of(scope)
        token = request_id.set(current)
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", current.encode())]
            await send(message)

        try:
            try:
                await self._app(scope, receive, observed)
            except Exception as error:
                if status:
                    raise
                await error_response(scope["path"], as_api_error(error))(scope, receive, observed)
        finally:
            self._note(scope, status or 500, time.perf_counter() - started)
            request_id.reset(token)

    def _note(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", "(none)")
        key = (method, route, status)
        if key not in self._known:
            if len(self._known) > 500:  # made-up methods must not fill the memory
                key = ("(other)", route, status)
            self._known[key] = (
                self._metrics.http_seconds.labels(key[0], route).observe,
                self._metrics.http_requests.labels(key[0], route, str(status)).inc,
            )
        observe, count = self._known[key]
        count()
        if status != 401:  # held back on purpose: its time says nothing about ours
            observe(seconds)
        if route not in _WATCHERS:
            self._metrics.answered(failed=status >= 500)
        if status >= 500 or _lowest.isEnabledFor(logging.DEBUG):
            write = log.warning if status >= 500 else log.debug
            write("answered", method=method, route=route, status=status, ms=round(seconds * 1000, 2))


def as_api_error(error: Exception) -> ApiError:
    """Return what a caller is told about ``error``; what is a fault of ours is logged, not told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ClientDisconnect):
        return ApiError(400, "cut_off", "the body ended before its end")
    if isinstance(error, PoolExhausted):
        return ApiError(503, "pool_exhausted", str(error), retry_after_s=_RETRY_AFTER_S)
    if isinstance(error, DatabaseUnavailable):
        return ApiError(503, "database_unavailable", str(error), retry_after_s=_RETRY_AFTER_S)
    log.error("a request failed", exc_info=error)
    return ApiError(500, "internal", "the service failed; its log has more under the request's id")


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    # As a UUID, without asking the system for randomness: it names, it guards nothing.
    return str(uuid.UUID(int=random.getrandbits(128), version=4))
