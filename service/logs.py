"""Structured logs: JSON lines with the request's id, and never a secret."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import structlog

#: The id of the request (or tick) that is being worked on.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_HIDDEN: Final = "***"
#: Libraries that log addresses with keys.
_QUIET: Final = {
    "pubnub": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
    # A line for each request that is not HTTP: ours are enough, and not without end.
    "uvicorn.error": logging.ERROR,
}


def configure_logs(level: str, environment: str, secrets: Iterable[str] = ()) -> None:
    """Send every log line, libraries' too, to stdout as JSON.

    Parameters
    ----------
    level : the lowest level that is written.
    environment : stands in each line.
    secrets : texts that are replaced wherever they turn up in a line.
    """
    hidden = [secret for secret in secrets if secret]

    def add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["environment"] = environment
        if (current := request_id.get()) is not None:
            event.setdefault("requestId", current)
        return event

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        line = str(structlog.processors.JSONRenderer(default=str)(logger, method, event))
        for secret in hidden:
            line = line.replace(secret, _HIDDEN)
        return line

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(lowest)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class Throttled:
    """Warns at most ``a_second`` times a second: unauthorised calls must not fill the disk.

    Parameters
    ----------
    logger : a logger, or what has its ``warning``.
    clock : seconds, monotonic.
    """

    def __init__(
        self,
        logger: Any,
        a_second: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._a_second = a_second
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def warning(self, event: str, **words: Any) -> None:
        """Write a line, with the number of those left out before it, or leave it out."""
        if (second := int(self._clock())) != self._second:
            self._second, self._lines = second, 0
        if self._lines >= self._a_second:
            self._left_out += 1
            return
        if self._left_out:
            words["leftOut"], self._left_out = self._left_out, 0
        self._lines += 1
        self._logger.warning(event, **words)
