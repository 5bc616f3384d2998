"""Who of a stack speaks to whom: ports, proxies, keys and addresses, fixed before its services start."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
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
class Route:
    """A proxy: where it listens, where it leads, and which of the Toxiproxy servers has it, from 0."""

    name: str
    listen: str
    upstream: str
    at: int = 0


@dataclass(frozen=True)
class Wiring:
    """A stack's proxies, and the target that they make of it."""

    routes: Sequence[Route]
    proxies: Proxies
    target: Target

    @property
    def service_urls(self) -> list[str]:
        """One address a replica, each through a proxy."""
        return [f"http://{route.listen}" for route in self.routes if route.name.startswith(LOAD_SERVICE)]

    def make_proxies(self, *servers: int) -> None:
        """Have these of the Toxiproxy servers listen for each of their routes."""
        for route in self.routes:
            if route.at in servers:
                self.proxies.create(route.name, route.listen, route.upstream, at=route.at)

    def local(self, number: int, postgres: Postgres | None) -> Local:
        """Return what replica ``number`` is told: Postgres and PubNub through their proxies."""
        proxy = f"{LOAD_SERVICE}-{number}" if number > 1 else LOAD_SERVICE
        routes = {route.name: route for route in self.routes}
        target = replace(
            self.target,
            service_url=f"http://{routes[proxy].listen}",
            toxiproxy_url=None,
            players_origins=None,
            pubnub_control_url=None,
            pubnub_control_token=None,
        )
        if through := routes.get(SERVICE_PUBNUB):
            target = replace(target, pubnub_origin=f"http://{through.listen}")
        if postgres is not None:
            host, _, port = routes[SERVICE_POSTGRES].listen.partition(":")
            target = replace(target, database_url=postgres.url_for(OWNER, host, int(port)))
        return Local(int(routes[proxy].upstream.partition(":")[2]), target)


def addresses(players: int) -> list[str]:
    """Return where so many servers for players listen, and find PubNub: each at an address of its own.

    There are only so many local ports for the connections to one address and port.
    """
    # Other systems have 127.0.0.1 alone.
    return [f"127.0.0.{1 + number}" if sys.platform == "linux" else HOST for number in range(players)]


def wire(
    take: Callable[[], int],
    toxiproxy_urls: Sequence[str],
    postgres: Postgres | None,
    service_ports: list[int],
    pubnub: Emulator | RealPubNub | None,
    flags_file: Path,
) -> Wiring:
    """Return the wiring of processes that are there, on ports from ``take``, keys made up.

    Where there are several Toxiproxy servers, all but the first are for players alone, who share them.
    ``flags_file`` turns the flags of all replicas; while it is not there, none is turned.
    """
    upstreams = {} if postgres is None else {SERVICE_POSTGRES: f"{HOST}:{postgres.port}"}
    if isinstance(pubnub, Emulator):
        upstreams[SERVICE_PUBNUB] = pubnub.endpoint
    for number, port in enumerate(service_ports, start=1):
        upstreams[LOAD_SERVICE if number == 1 else f"{LOAD_SERVICE}-{number}"] = f"{HOST}:{port}"
    routes = [Route(name, f"{HOST}:{take()}", upstream) for name, upstream in upstreams.items()]
    of_service = next(route.listen for route in routes if route.name == LOAD_SERVICE)
    control_url = control_token = None
    origins: list[str] = []
    if isinstance(pubnub, Emulator):
        servers = range(1, len(toxiproxy_urls)) or (0,)
        for at, host in zip(servers, addresses(len(servers)), strict=True):
            upstream = f"{host}:{pubnub.endpoint.rpartition(':')[2]}"
            routes.append(Route(PLAYERS_PUBNUB, f"{host}:{take()}", upstream, at))
            origins.append(f"http://{routes[-1].listen}")
        keys = RealPubNub(f"pub-c-{secrets.token_hex(12)}", f"sub-c-{secrets.token_hex(12)}", origins[0])
        control_url, control_token = f"http://{pubnub.endpoint}", pubnub.control_token
    else:
        # Without PubNub nobody has keys, and its address may not lead to the network.
        keys = pubnub or RealPubNub("", "", f"http://{of_service}")
    target = Target(
        service_url=f"http://{of_service}",
        service_role_key=secrets.token_urlsafe(24),
        cron_secret=secrets.token_urlsafe(24),
        pubnub_publish_key=keys.publish_key,
        pubnub_subscribe_key=keys.subscribe_key,
        pubnub_origin=keys.origin,
        database_url=None if postgres is None else postgres.url,
        players_origins=",".join(origins) if len(origins) > 1 else None,
        toxiproxy_url=",".join(toxiproxy_urls),
        pubnub_control_url=control_url,
        pubnub_control_token=control_token,
        flags_file=str(flags_file),
        origin="embedded",
    )
    return Wiring(tuple(routes), Proxies(",".join(toxiproxy_urls)), target)
