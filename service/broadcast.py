"""Broadcasts a caller's event at once, past the outbox: the caller waits for PubNub's timetokens."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

from service.breaker import backoff_s
from service.events import Event
from service.flags import Flags
from service.http.errors import ApiError
from service.http.requests import EVENT_LIMIT
from service.logs import get_logger
from service.publisher import MessageRefused, Publisher, PublishError, message_size

log = get_logger(__name__)

#: Attempts of one channel, and the limit on the whole call.
_ATTEMPTS: Final = 4
_LIMIT_S: Final = 8.0


class Broadcaster:
    """Publishes events to their channels, with the relay's circuit breaker."""

    def __init__(self, publisher: Publisher, flags: Flags) -> None:
        self._publisher = publisher
        self._flags = flags

    async def broadcast(self, event: Event, request_id: str) -> dict[str, Any]:
        """Publish ``event`` and return the answer of ``broadcast-pubnub-event``.

        Raises
        ------
        ApiError
            413: with envelope, channel and escapes it is over 32 KiB. 502: PubNub refuses it.
            503: PubNub can't be had now.
        """
        message = {
            **event.model_dump(mode="json"),
            "eventId": str(uuid.uuid4()),
            "seq": None,
            "requestId": request_id,
        }
        channels = event.channels()
        if max(message_size(channel, message) for channel in channels.values()) > EVENT_LIMIT:
            raise ApiError(
                413,
                "too_large",
                f"the event is over {EVENT_LIMIT} bytes, as PubNub counts its envelope, channel and escapes",
                field="data",
            )
        if not self._flags.now.pubnub_broadcasting:
            log.warning("broadcasting is disabled", eventId=message["eventId"], gameId=event.gameId)
            return {
                "success": False,
                "skipped": True,
                "message": "broadcasting is disabled (ENABLE_PUBNUB_BROADCASTING)",
                "eventId": message["eventId"],
                "requestId": request_id,
            }
        try:
            async with asyncio.timeout(_LIMIT_S):
                timetokens = await asyncio.gather(
                    *(self._publish(channel, message) for channel in channels.values())
                )
        except TimeoutError:
            raise ApiError(503, "pubnub_unavailable", "PubNub: timeout", retry_after_s=2.0) from None
        log.info("broadcast", eventId=message["eventId"], gameId=event.gameId, type=event.type)
        answer: dict[str, Any] = {"success": True, "eventId": message["eventId"], "requestId": request_id}
        for field, channel, timetoken in zip(channels, channels.values(), timetokens, strict=True):
            # A text: its 17 digits are more than a JavaScript number holds.
            answer[field] = {"channel": channel, "timetoken": str(timetoken)}
        return answer

    async def _publish(self, channel: str, message: dict[str, Any]) -> int:
        breaker = self._publisher.breaker
        for attempt in range(1, _ATTEMPTS + 1):
            if not breaker.try_enter():
                raise ApiError(
                    503,
                    "pubnub_unavailable",
                    "PubNub is failing: the circuit breaker is open",
                    retry_after_s=breaker.retry_after_s,
                )
            try:
                return await self._publisher.publish(channel, message)
            except MessageRefused as error:
                raise ApiError(502, "pubnub_refused", f"PubNub refuses the event: {error}") from error
            except PublishError as error:
                if attempt == _ATTEMPTS:
                    raise ApiError(
                        503,
                        "pubnub_unavailable",
                        f"PubNub: {error}",
                        retry_after_s=max(2.0, breaker.retry_after_s),
                    ) from error
                await asyncio.sleep(backoff_s(attempt))
        raise AssertionError("unreachable")
