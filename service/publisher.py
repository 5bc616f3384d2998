"""Publishes messages with the PubNub SDK, one attempt at a time, and classifies failures."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from pubnub.enums import PNReconnectionPolicy
from pubnub.exceptions import PubNubException
from pubnub.pnconfiguration import PNConfiguration
from pubnub.pubnub_asyncio import PubNubAsyncio
from pubnub.request_handlers.async_aiohttp import AsyncAiohttpRequestHandler
from pubnub.structures import RequestOptions

from service.breaker import Breaker
from service.logs import get_logger
from service.metrics import Metrics
from service.settings import Settings
from service.watched_file import WatchedFile

log = get_logger(__name__)

#: A message that takes more in a URL goes by POST: the URL may have 32 KiB, with keys and channel.
_GET_BYTES: Final = 30 * 1024
#: Statuses when PubNub refuses the message itself.
_REFUSED: Final = frozenset({400, 413, 414})
#: Status when our keys may not publish.
_DENIED: Final = 403
#: Statuses whose ``Retry-After`` is heeded: too many requests, and unavailable.
_HOLDING: Final = frozenset({429, 503})
#: A longer ``Retry-After`` counts as this: one wrong answer must not stop publishing for hours.
RETRY_AFTER_MAX_S: Final = 60.0


class PublishError(Exception):
    """A message was not published, or its outcome is unknown; the text is short and stable.

    Parameters
    ----------
    retry_after_s : seconds for which PubNub asks us to publish nothing; 0 if it doesn't say.
    """

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class MessageRefused(PublishError):
    """PubNub refuses this message: trying again is of no use."""


class AccessDenied(MessageRefused):
    """Our keys may not publish; other messages will be denied too."""


class Handler(AsyncAiohttpRequestHandler):  # type: ignore[misc]  # the SDK has no types
    """The SDK's handler for aiohttp, which also keeps the status of an error that is not JSON.

    It follows no redirects: a publish goes where the settings say, or fails.
    """

    async def async_request(
        self, options_func: Callable[[], RequestOptions], cancellation_event: asyncio.Event | None
    ) -> Any:
        """Carry out a request of the SDK's."""
        options = options_func()
        create_response = options.create_response
        options.allow_redirects = False
        # The SDK's own reading of JSON comes before its look at the status: a proxy's HTML would hide a 502.
        options.non_json_response = True
        options.create_response = lambda _, body: create_response(json.loads(body))
        return await super().async_request(lambda: options, cancellation_event)


class Publisher:
    """A client of the PubNub SDK that publishes, and asks PubNub for the time.

    Parameters
    ----------
    settings : where PubNub is, the keys, the limit on a call.
    breaker : told how each attempt went; whoever publishes has entered it.
    """

    def __init__(self, settings: Settings, breaker: Breaker, metrics: Metrics) -> None:
        self.breaker = breaker
        self.limit_s = settings.pubnub_timeout
        self._metrics = metrics
        self._configuration = PNConfiguration()
        self._configuration.publish_key = settings.pubnub_publish_key.get_secret_value()
        self._configuration.subscribe_key = settings.pubnub_subscribe_key.get_secret_value()
        self._configuration.user_id = f"stormwatch-{settings.environment}"
        self._configuration.origin = settings.pubnub_host
        self._configuration.ssl = settings.pubnub_ssl
        self._configuration.enable_subscribe = False
        self._configuration.reconnect_policy = PNReconnectionPolicy.NONE
        self._token_file = WatchedFile(settings.pubnub_token_file)
        self._client: Any = None

    async def open(self) -> None:
        """Make the client; it connects when it is first used."""
        self._client = PubNubAsyncio(self._configuration, custom_request_handler=Handler)
        await self._client.create_session()

    async def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            await self._client.close_session()

    async def publish(self, channel: str, message: Any) -> int:
        """Publish once, and return the timetoken: when PubNub accepted it, in 100 ns units of Unix time.

        Raises
        ------
        MessageRefused
            PubNub refuses this message for good.
        PublishError
            PubNub can't be reached, does not answer in time, or fails. The message may have been accepted.
        """
        started = time.perf_counter()
        self._take_token()
        try:
            async with asyncio.timeout(self.limit_s):
                call = self._client.publish().channel(channel).message(message)
                call.use_post(_escaped(json.dumps(message), "~") > _GET_BYTES)
                # `result` raises; `future` would return its errors, a cancellation among them.
                result = await call.result()
            timetoken = int(result.timetoken)
        except asyncio.CancelledError:
            self.breaker.leave()
            raise
        except Exception as error:
            failure = _failure(error)
            self._metrics.publish_failed(time.perf_counter() - started, str(failure))
            if isinstance(failure, MessageRefused) and not isinstance(failure, AccessDenied):
                self.breaker.success()
            else:
                self.breaker.failure(failure.retry_after_s)
            raise failure from error
        self._metrics.published(time.perf_counter() - started)
        self.breaker.success()
        return timetoken

    def _take_token(self) -> None:
        """Bear the token that the file holds now; none while it can't be read."""
        path = self._token_file.path
        if path is None or not self._token_file.changed():
            return
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the token file can't be read", path=str(path), error=type(error).__name__)
            token = ""
        self._client.set_token(token)

    async def time(self) -> None:
        """Ask PubNub for the time.

        Raises
        ------
        PublishError
            It does not answer.
        """
        try:
            await self._client.time().result()
        except Exception as error:
            raise _failure(error) from error


def message_size(channel: str, message: Any) -> int:
    """Return the bytes of a message as PubNub counts them: with its channel and all escapes, and 100 more.

    https://www.pubnub.com/blog/how-many-text-characters-fit-in-a-32kb-pubnub-message/ has the formula.
    """
    return _escaped(channel + json.dumps(message), "!~*'()") + 100


def _escaped(text: str, unescaped: str) -> int:
    """Return the length of ``text`` in a URL, where letters, digits, ``-_.`` and ``unescaped`` stay."""
    return len(quote(text, safe=unescaped))


def retry_after_s(value: str, now: datetime) -> float:
    """Return the seconds that a ``Retry-After`` asks for, from 0 to ``RETRY_AFTER_MAX_S``.

    It holds seconds or an HTTP-date (RFC 9110, 10.2.3); what is neither, or is over, asks for 0.
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        asked_s = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
            # An HTTP-date is GMT; the form of C's asctime does not say so.
            asked_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, min(asked_s, RETRY_AFTER_MAX_S))


def _failure(error: Exception) -> PublishError:
    match error:
        case TimeoutError():
            return PublishError("timeout")
        case PubNubException():
            return _answered(error)
        case OSError(errno=errno.ECONNREFUSED):
            return PublishError("connection refused")
        case OSError() | aiohttp.ClientError():
            return PublishError("connection failed")
        case ValueError() | TypeError() | IndexError() | KeyError():
            return PublishError("bad answer")
    return PublishError(f"connection failed ({type(error).__name__})")


def _answered(error: PubNubException) -> PublishError:
    """Return what an answer with an error means."""
    status = int(error.get_status_code() or 0)
    if not status:
        return PublishError("bad answer")
    kind = AccessDenied if status == _DENIED else MessageRefused if status in _REFUSED else PublishError
    asked = error.status.client_response.headers.get("Retry-After") if status in _HOLDING else None
    wait_s = retry_after_s(asked, datetime.now(UTC)) if asked is not None else 0.0
    return kind(f"http {status}", retry_after_s=wait_s)
