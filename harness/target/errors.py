"""Short, stable names of what went wrong on the way to an answer, so that failures can be counted."""

from __future__ import annotations

import errno
import socket
from typing import Final

from harness.history.names import Shortage

#: There was an answer, and it was not what it should be.
BAD_ANSWER: Final = "bad answer"

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EMFILE: Shortage.FILES,
    errno.ENFILE: Shortage.FILES,
    errno.EADDRNOTAVAIL: Shortage.PORTS,
    errno.ENOMEM: Shortage.MEMORY,
    errno.ENOBUFS: Shortage.MEMORY,
}

#: Libraries' own exceptions, by name: neither gevent's nor aiohttp's need be imported to recognise them.
_BY_NAME: Final = {
    "HTTPConnectionClosed": "connection reset",
    "EmptyResponse": "connection reset",
    "ServerDisconnectedError": "connection reset",
    "ClientOSError": "connection reset",
    "ClientPayloadError": "connection reset",
    "RemoteDisconnected": "connection reset",
    "IncompleteRead": "connection reset",
    "HTTPParseError": BAD_ANSWER,
    "BadStatusLine": BAD_ANSWER,
    "InvalidChunkLength": BAD_ANSWER,
    "JSONDecodeError": BAD_ANSWER,
    "SSLCertVerificationError": "bad certificate",
}

#: What llhttp says, in its own number, of a message that ends in its midst; and geventhttpclient without one.
_LLHTTP_EOF: Final = 14
_CUT_OFF: Final = ("Incomplete response", "connection closed")


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
        if isinstance(seen, ConnectionResetError) or _is_cut_off(seen):  # aiohttp's has no number
            return "connection reset"
        # aiohttp and geventhttpclient keep what went wrong underneath in attributes of their own; requests
        # keeps it as what was being handled.
        under = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        seen = getattr(seen, "os_error", None) or getattr(seen, "original", None) or under
    return _BY_NAME.get(type(error).__name__, type(error).__name__)


def _is_cut_off(error: BaseException) -> bool:
    """Tell whether geventhttpclient was reading an answer as the connection ended."""
    if type(error).__name__ != "HTTPParseError":
        return False
    return error.args[1:] == (_LLHTTP_EOF,) or str(error).startswith(_CUT_OFF)
