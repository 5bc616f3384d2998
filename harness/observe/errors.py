"""Short, stable names of what went wrong on the way to an answer, so that failures can be counted."""

from __future__ import annotations

import errno
import socket
from typing import Final

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: "out of open files",
}

#: Libraries' own exceptions, by name: neither gevent's nor aiohttp's need be imported to recognise them.
_BY_NAME: Final = {
    "HTTPConnectionClosed": "connection reset",
    "EmptyResponse": "connection reset",
    "ServerDisconnectedError": "connection reset",
    "ClientOSError": "connection reset",
    "ClientPayloadError": "connection reset",
    "RemoteDisconnected": "connection reset",
    "HTTPParseError": "bad answer",
    "JSONDecodeError": "bad answer",
}


def name_of(error: BaseException) -> str:
    """Return the stable name of ``error``: ``timeout``, ``connection refused``, ``connection reset`` ..."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (TimeoutError, socket.timeout)) or type(seen).__name__ == "Timeout":
            return "timeout"
        if isinstance(seen, socket.gaierror):
            return "unknown host"
        if isinstance(seen, OSError) and seen.errno in _BY_ERRNO:
            return _BY_ERRNO[seen.errno]
        error = seen
        if isinstance(seen, ConnectionResetError):  # aiohttp's has no number
            return "connection reset"
        # aiohttp and geventhttpclient keep what went wrong underneath in attributes of their own; requests
        # keeps it as what was being handled.
        under = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        seen = getattr(seen, "os_error", None) or getattr(seen, "original", None) or under
    return _BY_NAME.get(type(error).__name__, type(error).__name__)
