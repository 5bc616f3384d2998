"""Who of a stack speaks to whom: ports, proxies, keys and addresses, fixed before its services start."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from harness.stack.postgres import Postgres
from harness.stack.postgres_files import OWNER
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_POSTGRES, SERVICE_PUBNUB, Proxies
from harness.target import DEFAULT_PUBNUB_ORIGIN, Target

HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class RealPubNub:
    """Keys of the real network, to be used instead of the emulator. There are no PubNub faults then."""

    publish_key: str = field(repr=False)
    subscribe_key: str
    origin: str = DEFAULT_PUBNUB_ORIGIN


@dataclass(frozen=True)
class Emulator:
    """The PubNub emulator's own address and the token of its control API."""

    endpoint: str
    control_token: str = field(repr=False)


@dataclass(frozen=True)
class Wiring:
    """A stack's proxies, and the target that they make of it."""

    #: Proxy -> (where it listens, where it leads).
    routes: Mapping[str, tuple[str, str]]
    proxies: Proxies
    target: Target

    @property
    def service_urls(self) -> list[str]:
        """One address a replica, each through a proxy."""
        return [
            f"http://{listen}" for name, (listen, _) in self.routes.items() if name.startswith(LOAD_SERVICE)
        ]

    def make_proxies(self) -> None:
        """Have Toxiproxy listen for each route."""
        for name, (listen, upstream) in self.routes.items():
            self.proxies.create(name, listen, upstream)

    def service_environment(self, number: int, postgres: Postgres) -> dict[str, str]:
        """Return what replica ``number`` is told: Postgres and PubNub through their proxies."""
        target = self.target
        host, _, port = self.routes[SERVICE_POSTGRES][0].partition(":")
        through = self.routes.get(SERVICE_PUBNUB)
        return {
            "SUPABASE_URL": self.service_urls[number - 1],
            "SUPABASE_SERVICE_ROLE_KEY": target.service_role_key,
            "CRON_SECRET": target.cron_secret,
            "PUBNUB_PUBLISH_KEY": target.pubnub_publish_key,
            "PUBNUB_SUBSCRIBE_KEY": target.pubnub_subscribe_key,
            "PUBNUB_ORIGIN": f"http://{through[0]}" if through else target.pubnub_origin,
            "DATABASE_URL": postgres.url_for(OWNER, host, int(port)),
            "LOG_LEVEL": "INFO",
            "ENVIRONMENT": "local",
            "ENABLE_TIMER_MONITORING": "true",
            "ENABLE_PUBNUB_BROADCASTING": "true",
            "ENABLE_GRACE_PERIOD": "true",
            "FLAGS_FILE": target.flags_file or "",
        }


def wire(
    take: Callable[[], int],
    toxiproxy_url: str,
    postgres: Postgres,
    service_ports: list[int],
    pubnub: Emulator | RealPubNub,
    flags_file: Path,
) -> Wiring:
    """Return the wiring of processes that are there, on ports from ``take``, keys made up.

    ``flags_file`` turns the flags of all replicas; while it is not there, none is turned.
    """
    upstreams = {SERVICE_POSTGRES: f"{HOST}:{postgres.port}"}
    if isinstance(pubnub, Emulator):
        upstreams |= dict.fromkeys((SERVICE_PUBNUB, PLAYERS_PUBNUB), pubnub.endpoint)
    for number, port in enumerate(service_ports, start=1):
        upstreams[LOAD_SERVICE if number == 1 else f"{LOAD_SERVICE}-{number}"] = f"{HOST}:{port}"
    routes = {name: (f"{HOST}:{take()}", upstream) for name, upstream in upstreams.items()}
    if isinstance(pubnub, Emulator):
        listens = f"http://{routes[PLAYERS_PUBNUB][0]}"
        keys = RealPubNub(f"pub-c-{secrets.token_hex(12)}", f"sub-c-{secrets.token_hex(12)}", listens)
        control_url, control_token = f"http://{pubnub.endpoint}", pubnub.control_token
    else:
        keys, control_url, control_token = pubnub, None, None
    target = Target(
        service_url=f"http://{routes[LOAD_SERVICE][0]}",
        service_role_key=secrets.token_urlsafe(24),
        cron_secret=secrets.token_urlsafe(24),
        pubnub_publish_key=keys.publish_key,
        pubnub_subscribe_key=keys.subscribe_key,
        pubnub_origin=keys.origin,
        database_url=postgres.url,
        toxiproxy_url=toxiproxy_url,
        pubnub_control_url=control_url,
        pubnub_control_token=control_token,
        flags_file=str(flags_file),
        origin="embedded",
    )
    return Wiring(MappingProxyType(routes), Proxies(toxiproxy_url), target)
