"""The service's settings: the environment under the requirements' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: Feature flags of the requirements.
FLAGS: Final = ("ENABLE_TIMER_MONITORING", "ENABLE_PUBNUB_BROADCASTING", "ENABLE_GRACE_PERIOD")

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SCHEDULE: Final = re.compile(r"\*/(\d{1,2})(?: \*){0,5}")


class SettingsError(Exception):
    """Settings are missing or malformed; the message has one line for each, without its value if secret."""


def parse_duration(text: Any) -> float:
    """Return the seconds of a duration such as ``250ms``, ``10s``, ``5m``, ``1h`` or ``7d``.

    Raises
    ------
    ValueError
        It is none.
    """
    if isinstance(text, (int, float)):
        return float(text)
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("is not a duration with a unit such as 250ms, 10s, 5m, 1h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_schedule(text: str) -> int:
    """Return the seconds between ticks of a schedule such as ``*/10`` or ``*/10 * * * * *``.

    Raises
    ------
    ValueError
        It is none, or its step is no 1 to 59 seconds.
    """
    match = _SCHEDULE.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= 59:
        raise ValueError("is not a schedule in steps of 1 to 59 seconds such as */10 * * * * *")
    return int(match[1])


def _not_blank(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("is empty")
    return secret


def _http_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is not an http(s) address such as http://127.0.0.1:8000")
    return text.rstrip("/")


def _pubnub_key(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", secret.get_secret_value()):
        raise ValueError("is not a PubNub key (letters, digits, - and _)")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
PubNubKey = Annotated[SecretStr, AfterValidator(_pubnub_key)]
Address = Annotated[str, AfterValidator(_http_address)]
#: Seconds, written as a duration with a unit.
Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=31_536_000)]
Optional = BeforeValidator(lambda value: value or None)


class Settings(BaseSettings):
    """What the environment says; names there are those of the fields in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=False)

    supabase_url: Address
    supabase_service_role_key: Secret
    cron_secret: Secret
    database_url: SecretStr
    pubnub_publish_key: PubNubKey
    pubnub_subscribe_key: PubNubKey
    pubnub_origin: Address = "https://ps.pndsn.com"
    #: Holds the Access Manager token that publishes bear; read again whenever it changes.
    pubnub_token_file: Annotated[Path | None, Optional] = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] = "development"
    #: Also lets in to /metrics, /alerts and the details of /health; open: whoever asks.
    watch_secret: Annotated[SecretStr | None, Optional] = None
    watch_open: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    enable_timer_monitoring: bool = True
    enable_pubnub_broadcasting: bool = True
    enable_grace_period: bool = True
    #: Lines of NAME=value for the flags, read again whenever it changes.
    flags_file: Annotated[Path | None, Optional] = None

    #: Tick by itself, without external cron.
    enable_schedule: bool = False
    schedule: str = "*/10 * * * * *"
    #: A tick over this is rolled back.
    monitor_limit: Duration = 30.0
    #: How long a tick waits for another that is running.
    monitor_lock_wait: Duration = 0.25
    #: Games moved by one statement.
    monitor_batch: Annotated[int, Field(ge=1, le=100_000)] = 5000
    grace_period: Duration = 15.0

    migrate_at_start: bool = True
    #: How long to wait for the database at start.
    database_wait: Duration = 30.0
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 20
    #: Limit on getting a connection, and on each statement.
    database_timeout: Duration = 10.0

    #: Messages to PubNub that may be under way at once.
    relay_concurrency: Annotated[int, Field(ge=1, le=100)] = 64
    #: Events of the outbox in memory, at most.
    relay_buffer: Annotated[int, Field(ge=1, le=100_000)] = 1000
    #: An event that fails this often while others get through is set aside as a dead letter.
    relay_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 8
    #: How long published events stay in the outbox.
    outbox_retention: Duration = 86_400.0
    #: Limit on one call to PubNub.
    pubnub_timeout: Duration = 3.0
    #: Failures in a row that open the circuit breaker, and the first and longest time it stays open.
    breaker_failures: Annotated[int, Field(ge=1, le=10_000)] = 10
    breaker_open: Duration = 0.5
    breaker_open_max: Duration = 5.0

    #: After SIGTERM, how long what is in flight may take.
    shutdown_limit: Duration = 10.0

    alerts_file: Path = Path(__file__).with_name("alerts.yml")
    slack_webhook_url: Annotated[SecretStr | None, Optional] = None
    pagerduty_url: Address = "https://events.pagerduty.com/v2/enqueue"
    pagerduty_routing_key: Annotated[SecretStr | None, Optional] = None
    smtp_host: Annotated[str | None, Optional] = None
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    smtp_username: Annotated[str | None, Optional] = None
    smtp_password: Annotated[SecretStr | None, Optional] = None
    smtp_starttls: bool = True
    alert_email_from: Annotated[str | None, Optional] = None
    #: Addresses with commas between.
    alert_email_to: Annotated[str | None, Optional] = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("schedule")
    @classmethod
    def _is_schedule(cls, value: str) -> str:
        parse_schedule(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.scheme in {"postgres", "postgresql"} and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("is not an address such as postgresql://user:password@127.0.0.1:5432/name")
        return value

    @field_validator("slack_webhook_url")
    @classmethod
    def _is_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _http_address(value.get_secret_value())
        return value

    @property
    def pubnub_ssl(self) -> bool:
        """Whether PubNub is spoken to over TLS."""
        return urlsplit(self.pubnub_origin).scheme == "https"

    @property
    def pubnub_host(self) -> str:
        """PubNub's ``host[:port]``."""
        return urlsplit(self.pubnub_origin).netloc

    def secrets(self) -> list[str]:
        """Return every secret value, the longest first, for keeping them out of logs."""
        values = [v.get_secret_value() for v in self.__dict__.values() if isinstance(v, SecretStr)]
        password = urlsplit(self.database_url.get_secret_value()).password
        return sorted({value for value in (*values, password or "") if value}, key=len, reverse=True)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, ``overrides`` (None: not given) over the environment.

    Raises
    ------
    SettingsError
        Some are missing or malformed; all of them are named.
    """
    given: Mapping[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"][:1]).upper()
            if problem["type"] == "missing":
                lines.append(f"{name} is not set")
                continue
            words = problem["msg"].removeprefix("Value error, ")
            shown = _shown(str(problem["loc"][0]), problem["input"])
            lines.append(f"{name}{shown}: {words}")
        raise SettingsError("\n".join(lines)) from None


def _shown(field: str, value: Any) -> str:
    """Return `` = value`` for a message, nothing for what may hold a secret."""
    annotation = str(Settings.model_fields[field].annotation) if field in Settings.model_fields else "Secret"
    return "" if "Secret" in annotation else f"={str(value)[:100]!r}"
