"""The system under test: its addresses, keys and channel names, and where each came from."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

#: The requirements' names for what a target needs, and what each is for.
ENVIRONMENT: Final = {
    "SUPABASE_URL": "base address of the service",
    "SUPABASE_SERVICE_ROLE_KEY": "bearer key of its functions and of /rest/v1",
    "CRON_SECRET": "secret of monitor-game-timers (needed where the run ticks)",
    "PUBNUB_PUBLISH_KEY": "PubNub publish key",
    "PUBNUB_SUBSCRIBE_KEY": "PubNub subscribe key",
    "PUBNUB_ORIGIN": "PubNub address, http://host:port or https://host (default: the real network)",
    "DATABASE_URL": "Postgres of the service, read for what really happened (optional)",
    "STORMWATCH_TOXIPROXY_URL": "Toxiproxy's API, for network faults (optional)",
    "STORMWATCH_PUBNUB_CONTROL_URL": "control API of the PubNub emulator, for its faults (optional)",
    "STORMWATCH_PUBNUB_CONTROL_TOKEN": "token of that control API",
    "STORMWATCH_FLAGS_FILE": "the service's file of feature flags, to turn them (optional)",
}

_REQUIRED: Final = (
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "PUBNUB_SUBSCRIBE_KEY",
)
_SECRET: Final = frozenset(
    {"service_role_key", "cron_secret", "pubnub_publish_key", "database_url", "pubnub_control_token"}
)
_FIELD_OF: Final = {
    "SUPABASE_URL": "service_url",
    "SUPABASE_SERVICE_ROLE_KEY": "service_role_key",
    "CRON_SECRET": "cron_secret",
    "PUBNUB_PUBLISH_KEY": "pubnub_publish_key",
    "PUBNUB_SUBSCRIBE_KEY": "pubnub_subscribe_key",
    "PUBNUB_ORIGIN": "pubnub_origin",
    "DATABASE_URL": "database_url",
    "STORMWATCH_TOXIPROXY_URL": "toxiproxy_url",
    "STORMWATCH_PUBNUB_CONTROL_URL": "pubnub_control_url",
    "STORMWATCH_PUBNUB_CONTROL_TOKEN": "pubnub_control_token",
    "STORMWATCH_FLAGS_FILE": "flags_file",
}

#: Settings that are addresses of HTTP. They stand in reports.
_ADDRESSES: Final = (
    "SUPABASE_URL", "PUBNUB_ORIGIN", "STORMWATCH_TOXIPROXY_URL", "STORMWATCH_PUBNUB_CONTROL_URL",
)  # fmt: skip

DEFAULT_PUBNUB_ORIGIN: Final = "https://ps.pndsn.com"


class TargetError(Exception):
    """A target is not described well enough to be driven; the message names the setting."""


@dataclass(frozen=True)
class Target:
    """Where the system under test is and how to be let in. Secrets stay out of ``repr`` and reports."""

    service_url: str
    service_role_key: str = field(repr=False)
    cron_secret: str = field(repr=False)
    pubnub_subscribe_key: str
    pubnub_publish_key: str = field(default="", repr=False)
    pubnub_origin: str = DEFAULT_PUBNUB_ORIGIN
    database_url: str | None = field(default=None, repr=False)
    toxiproxy_url: str | None = None
    pubnub_control_url: str | None = None
    pubnub_control_token: str | None = field(default=None, repr=False)
    flags_file: str | None = None
    #: ``embedded`` for a stack of our own, else where the settings came from.
    origin: str = "environment"

    def __post_init__(self) -> None:
        for name in _ADDRESSES:
            if (value := getattr(self, _FIELD_OF[name])) is not None:
                see_that_it_is_an_address(name, value)

    @property
    def pubnub_ssl(self) -> bool:
        """Whether PubNub is spoken to over TLS."""
        return urlsplit(self.pubnub_origin).scheme == "https"

    @property
    def pubnub_host(self) -> str:
        """PubNub's ``host[:port]``, as the SDK's ``PNConfiguration.origin`` takes it."""
        return urlsplit(self.pubnub_origin).netloc

    @property
    def authorization(self) -> dict[str, str]:
        """Header that lets us see what the service shows to nobody else."""
        return {"Authorization": f"Bearer {self.service_role_key}"}

    @property
    def keys(self) -> dict[str, str]:
        """Headers that let us use the service's functions and its REST interface."""
        return {"apikey": self.service_role_key, **self.authorization}

    def environment(self) -> dict[str, str]:
        """Return the target as environment variables, secrets included: for child processes."""
        found = {name: getattr(self, attribute) for name, attribute in _FIELD_OF.items()}
        return {name: value for name, value in found.items() if value}

    def public(self) -> dict[str, Any]:
        """Return what may stand in a report: addresses, no secrets."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _SECRET}

    def secrets(self) -> list[str]:
        """Return every secret, for checks that none leaked; a password also without its address."""
        found = [value for name in sorted(_SECRET) if (value := getattr(self, name))]
        if self.database_url:
            parts = urlsplit(self.database_url)
            written = [parts.password or "", *parse_qs(parts.query).get("password", ())]
            found += {form for one in written for form in (one, unquote(one)) if form}
        return found

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, host: str | None = None
    ) -> Target:
        """Read a target from ``environment`` (default: the process's), ``host`` overriding ``SUPABASE_URL``.

        Raises
        ------
        TargetError
            A required variable is missing or malformed; all missing ones are named at once.
        """
        environment = os.environ if environment is None else environment
        values = {
            attribute: environment[name] for name, attribute in _FIELD_OF.items() if environment.get(name)
        }
        if host:
            values["service_url"] = host.rstrip("/")
        missing = [name for name in _REQUIRED if _FIELD_OF[name] not in values]
        if missing:
            raise TargetError(
                f"not set: {', '.join(missing)}; set them in the environment, "
                "or take --local to run on a local stack"
            )
        return cls(**{"cron_secret": "", **values})


def forget_deployment() -> None:
    """Take every name of a target out of this process's environment: what it starts is local then."""
    for name in ENVIRONMENT:
        os.environ.pop(name, None)


def deployment_named() -> bool:
    """Return whether the environment names a deployment to run on, instead of a local stack."""
    return bool(os.environ.get("SUPABASE_URL"))


def see_that_it_is_an_address(name: str, value: str) -> None:
    """See that the setting ``name`` is an address of HTTP that may be written into reports.

    A user's name and password in it are refused, not used: calls bear their secrets in headers, and the
    official SDK takes none. What is wrong is said without them.

    Raises
    ------
    TargetError
        It is not.
    """
    if "@" in value:
        raise TargetError(
            f"{name} has a user's name or password in it: take them out (up to the @); calls of the harness "
            f"bear its keys in headers and could not use them"
        )
    if not _is_http_address(value):
        raise TargetError(f"{name}={value!r} is not an http(s) address such as http://127.0.0.1:8000")


def _is_http_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, an unclosed bracket
        return False


def game_channel(game_id: str) -> str:
    """Return the channel that a game's events are broadcast on."""
    return f"game-{game_id}"


def user_channel(user_id: str) -> str:
    """Return the channel of one user (``MATCH_FOUND``)."""
    return f"user-{user_id}"


def presence_channel(game_id: str) -> str:
    """Return the channel of a game's comings and goings."""
    return f"presence-{game_id}"


def is_number(host: str) -> bool:
    """Return whether ``host`` is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, as a name or as an address."""
    return host == "localhost" or (is_number(host) and ipaddress.ip_address(host).is_loopback)
