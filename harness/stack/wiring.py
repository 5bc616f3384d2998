"""Who of a stack speaks to whom: ports, proxies, keys and addresses, fixed before its services start."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from harness.stack.postgres import Postgres
from harness.stack.postgres_files import OWNER
from harness.stack.proxies import LOAD_SERVICE, PLAYERS_PUBNUB, SERVICE_POSTGRES, SERVICE_PUBNUB, Proxies
from harness.system import Local
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

    def local(self, number: int, postgres: Postgres | None) -> Local:
        """Return what replica ``number`` is told: Postgres and PubNub through their proxies."""
        proxy = f"{LOAD_SERVICE}-{number}" if number > 1 else LOAD_SERVICE
        listen, upstream = self.routes[proxy]
        target = replace(
            self.target,
            service_url=f"http://{listen}",
            toxiproxy_url=None,
            pubnub_control_url=None,
            pubnub_control_token=None,
        )
        if through := self.routes.get(SERVICE_PUBNUB):
            target = replace(target, pubnub_origin=f"http://{through[0]}")
        if postgres is not None:
            host, _, port = self.routes[SERVICE_POSTGRES][0].partition(":")
            target = replace(target, database_url=postgres.url_for(OWNER, host, int(port)))
        return Local(int(upstream.partition(":")[2]), target)


def wire(
    take: Callable[[], int],
    toxiproxy_url: str,
    postgres: Postgres | None,
    service_ports: list[int],
    pubnub: Emulator | RealPubNub | None,
    flags_file: Path,
) -> Wiring:
    """Return the wiring of processes that are there, on ports from ``take``, keys made up.

    ``flags_file`` turns the flags of all replicas; while it is not there, none is turned.
    """
    upstreams = {} if postgres is None else {SERVICE_POSTGRES: f"{HOST}:{postgres.port}"}
    if isinstance(pubnub, Emulator):
        upstreams |= dict.fromkeys((SERVICE_PUBNUB, PLAYERS_PUBNUB), pubnub.endpoint)
    for number, port in enumerate(service_ports, start=1):
        upstreams[LOAD_SERVICE if number == 1 else f"{LOAD_SERVICE}-{number}"] = f"{HOST}:{port}"
    routes = {name: (f"{HOST}:{take()}", upstream) for name, upstream in upstreams.items()}
    control_url = control_token = None
    if isinstance(pubnub, Emulator):
        listens = f"http://{routes[PLAYERS_PUBNUB][0]}"
        keys = RealPubNub(f"pub-c-{secrets.token_hex(12)}", f"sub-c-{secrets.token_hex(12)}", listens)
        control_url, control_token = f"http://{pubnub.endpoint}", pubnub.control_token
    else:
        # Without PubNub nobody has keys, and its address may not lead to the network.
        keys = pubnub or RealPubNub("", "", f"http://{routes[LOAD_SERVICE][0]}")
    target = Target(
        service_url=f"http://{routes[LOAD_SERVICE][0]}",
        service_role_key=secrets.token_urlsafe(24),
        cron_secret=secrets.token_urlsafe(24),
        pubnub_publish_key=keys.publish_key,
        pubnub_subscribe_key=keys.subscribe_key,
        pubnub_origin=keys.origin,
        database_url=None if postgres is None else postgres.url,
        toxiproxy_url=toxiproxy_url,
        pubnub_control_url=control_url,
        pubnub_control_token=control_token,
        flags_file=str(flags_file),
        origin="embedded",
    )
    return Wiring(MappingProxyType(routes), Proxies(toxiproxy_url), target)
