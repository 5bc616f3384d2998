"""The system under test: its addresses and keys, and where each came from."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PUBNUB_ORIGIN: Final = "https://ps.pndsn.com"


class TargetError(Exception):
    """A target is not described well enough to be driven; the message names the setting."""


def _setting(name: str, about: str, **flags: Any) -> Any:
    """Declare a field that an environment variable gives.

    ``flags`` : ``required``, ``secret``, ``address`` (of HTTP: it stands in reports), ``several`` (addresses
    separated by commas), and the ``default``.
    """
    default = {"default": flags["default"]} if "default" in flags else {}
    return field(repr=not flags.get("secret"), metadata={"setting": name, "about": about, **flags}, **default)


@dataclass(frozen=True)
class Target:
    """Where the system under test is and how to be let in. Secrets stay out of ``repr`` and reports."""

    service_url: str = _setting(
        "SUPABASE_URL", "base address of the service",
        required=True, address=True,
    )  # fmt: skip
    service_role_key: str = _setting(
        "SUPABASE_SERVICE_ROLE_KEY", "bearer key of its calls (needed where the system has one)",
        secret=True, default="",
    )  # fmt: skip
    cron_secret: str = _setting(
        "CRON_SECRET", "secret of its ticks (needed where the run ticks)",
        secret=True, default="",
    )  # fmt: skip
    pubnub_subscribe_key: str = _setting(
        "PUBNUB_SUBSCRIBE_KEY", "PubNub subscribe key (needed where players listen on PubNub)",
        default="",
    )  # fmt: skip
    pubnub_publish_key: str = _setting(
        "PUBNUB_PUBLISH_KEY", "PubNub publish key",
        secret=True, default="",
    )  # fmt: skip
    pubnub_origin: str = _setting(
        "PUBNUB_ORIGIN", "PubNub address, http://host:port or https://host (default: the real network)",
        address=True, default=DEFAULT_PUBNUB_ORIGIN,
    )  # fmt: skip
    database_url: str | None = _setting(
        "DATABASE_URL", "Postgres of the service, read for what really happened (optional)",
        secret=True, default=None,
    )  # fmt: skip
    players_origins: str | None = _setting(
        "STORMWATCH_PLAYERS_ORIGINS",
        "PubNub addresses that players are spread over, separated by commas (default: PUBNUB_ORIGIN)",
        address=True, several=True, default=None,
    )  # fmt: skip
    toxiproxy_url: str | None = _setting(
        "STORMWATCH_TOXIPROXY_URL",
        "Toxiproxy's API, for network faults; of several servers, separated by commas (optional)",
        address=True, several=True, default=None,
    )  # fmt: skip
    pubnub_control_url: str | None = _setting(
        "STORMWATCH_PUBNUB_CONTROL_URL", "control API of the PubNub emulator, for its faults (optional)",
        address=True, default=None,
    )  # fmt: skip
    pubnub_control_token: str | None = _setting(
        "STORMWATCH_PUBNUB_CONTROL_TOKEN", "token of that control API",
        secret=True, default=None,
    )  # fmt: skip
    flags_file: str | None = _setting(
        "STORMWATCH_FLAGS_FILE", "the service's file of feature flags, to turn them (optional)",
        default=None,
    )  # fmt: skip
    #: ``embedded`` for a stack of our own, else where the settings came from.
    origin: str = "environment"

    def __post_init__(self) -> None:
        for name, declared in _SETTINGS.items():
            value = getattr(self, declared.name)
            if declared.metadata.get("address") and value is not None:
                for one in value.split(",") if declared.metadata.get("several") else [value]:
                    see_that_it_is_an_address(name, one)

    @property
    def pubnub_ssl(self) -> bool:
        """Whether PubNub is spoken to over TLS."""
        return urlsplit(self.pubnub_origin).scheme == "https"

    def pubnub_host(self, user: str) -> str:
        """Return the ``host[:port]`` at which ``user`` finds PubNub, always the same of several."""
        origins = (self.players_origins or self.pubnub_origin).split(",")
        drawn = int.from_bytes(sha256(user.encode()).digest()[:4])
        return urlsplit(origins[drawn % len(origins)]).netloc

    @property
    def toxiproxies(self) -> list[str]:
        """Addresses of the Toxiproxy servers."""
        return self.toxiproxy_url.split(",") if self.toxiproxy_url else []

    @property
    def authorization(self) -> dict[str, str]:
        """Header that lets us see what the service shows to nobody else; without a key, none."""
        return {"Authorization": f"Bearer {self.service_role_key}"} if self.service_role_key else {}

    @property
    def keys(self) -> dict[str, str]:
        """Headers that let us use the service's functions and its REST interface; without a key, none."""
        return {"apikey": self.service_role_key, **self.authorization} if self.service_role_key else {}

    def environment(self) -> dict[str, str]:
        """Return the target as environment variables, secrets included: for child processes."""
        found = {name: getattr(self, declared.name) for name, declared in _SETTINGS.items()}
        return {name: value for name, value in found.items() if value}

    def public(self) -> dict[str, Any]:
        """Return what may stand in a report: addresses, no secrets."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}

    def secrets(self) -> list[str]:
        """Return every secret, for checks that none leaked; a password also without its address."""
        found = [value for f in fields(self) if not f.repr and (value := getattr(self, f.name))]
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
            declared.name: environment[name] for name, declared in _SETTINGS.items() if environment.get(name)
        }
        if host:
            values["service_url"] = host.rstrip("/")
        required = {name: one for name, one in _SETTINGS.items() if one.metadata.get("required")}
        missing = [name for name, one in required.items() if one.name not in values]
        if missing:
            raise TargetError(
                f"not set: {', '.join(missing)}; set them in the environment, "
                "or take --local to run on a local stack"
            )
        return cls(**values)


_SETTINGS: Final = {f.metadata["setting"]: f for f in fields(Target) if f.metadata}
#: Settings of a target, and what each is for. Names that the requirements use are theirs.
ENVIRONMENT: Final[Mapping[str, str]] = {name: f.metadata["about"] for name, f in _SETTINGS.items()}


def forget_deployment() -> None:
    """Take every name of a target out of this process's environment: what it starts is local then."""
    for name in ENVIRONMENT:
        os.environ.pop(name, None)


def name_deployment(address: str) -> None:
    """Have this process's environment name the deployment at ``address``; its other settings stay."""
    os.environ["SUPABASE_URL"] = address.rstrip("/")


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
