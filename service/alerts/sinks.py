"""Where alerts go: Slack and PagerDuty by webhook, email by SMTP, each with retries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Final, Protocol

import aiohttp
import aiosmtplib
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from service.settings import Settings

_TIMEOUT_S: Final = 5.0
_ATTEMPTS: Final = 5


class SinkError(Exception):
    """An alert was not delivered this time."""


class SinkRefused(Exception):
    """A sink does not want the alert as it is: trying again is of no use."""


@dataclass(frozen=True)
class Notice:
    """That an alert was raised or resolved."""

    rule: str
    raised: bool
    condition: str
    window: str
    value: float
    at: datetime
    environment: str
    instance: str

    @property
    def title(self) -> str:
        """One line that says it all."""
        return f"[{self.environment}] {'RAISED' if self.raised else 'RESOLVED'}: {self.rule}"

    @property
    def text(self) -> str:
        """The facts."""
        reading = f"{self.condition} over {self.window}, now {self.value:g}"
        return f"{reading} ({self.instance}, {self.at.isoformat()})"

    @property
    def key(self) -> str:
        """What raised and resolved notices of one alert have in common."""
        return f"stormwatch/{self.environment}/{self.instance}/{self.rule}"


class Sink(Protocol):
    """A configured channel."""

    async def send(self, notice: Notice) -> None:
        """Deliver ``notice`` once; raise :class:`SinkError` or :class:`SinkRefused`."""


class Slack:
    """Slack's incoming webhook."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, notice: Notice) -> None:
        await _post(self._url, {"text": f"*{notice.title}*\n{notice.text}"})


class PagerDuty:
    """PagerDuty's Events API v2."""

    def __init__(self, url: str, routing_key: str) -> None:
        self._url = url
        self._routing_key = routing_key

    async def send(self, notice: Notice) -> None:
        document: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": "trigger" if notice.raised else "resolve",
            "dedup_key": notice.key,
        }
        if notice.raised:
            document["payload"] = {
                "summary": notice.title,
                "source": notice.instance,
                "severity": "critical",
                "timestamp": notice.at.isoformat(),
                "custom_details": {
                    "condition": notice.condition,
                    "window": notice.window,
                    "value": notice.value,
                },
            }
        await _post(self._url, document)


class Email:
    """Mail through an SMTP server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, notice: Notice) -> None:
        settings = self._settings
        message = EmailMessage()
        message["From"] = settings.alert_email_from or "stormwatch@localhost"
        message["To"] = settings.alert_email_to
        message["Subject"] = notice.title
        message.set_content(notice.text)
        password = settings.smtp_password
        try:
            await aiosmtplib.send(
                message,
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_username,
                password=password.get_secret_value() if password else None,
                start_tls=settings.smtp_starttls,
                timeout=_TIMEOUT_S,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise SinkError(type(error).__name__) from error


def configured_sinks(settings: Settings) -> dict[str, Sink]:
    """Return the channels that the settings configure, by name."""
    sinks: dict[str, Sink] = {}
    if settings.slack_webhook_url is not None:
        sinks["slack"] = Slack(settings.slack_webhook_url.get_secret_value())
    if settings.pagerduty_routing_key is not None:
        sinks["pagerduty"] = PagerDuty(
            settings.pagerduty_url, settings.pagerduty_routing_key.get_secret_value()
        )
    if settings.smtp_host is not None and settings.alert_email_to is not None:
        sinks["email"] = Email(settings)
    return sinks


async def deliver(sink: Sink, notice: Notice) -> None:
    """Deliver ``notice``, trying again after failures.

    Raises
    ------
    SinkError
        The last attempt failed.
    SinkRefused
        The sink refuses it.
    """
    async for attempt in AsyncRetrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        retry=retry_if_exception_type(SinkError),
        reraise=True,
    ):
        with attempt:
            await sink.send(notice)


async def _post(url: str, document: dict[str, Any]) -> None:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=document) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, OSError) as error:
        raise SinkError(type(error).__name__) from error
    if status == 429 or status >= 500:
        raise SinkError(f"http {status}")
    if status >= 300:
        raise SinkRefused(f"http {status}")
