"""The proxies that all traffic of a stack passes."""

from __future__ import annotations

from typing import Final

from harness.stack.proxy_server import Proxy, ProxyServer, Stream, ToxiproxyError, ToxiproxyHangsError

__all__ = ["Proxies", "Proxy", "Stream", "ToxiproxyError", "ToxiproxyHangsError"]

#: The four proxies of the design: who speaks through it to whom.
SERVICE_POSTGRES: Final = "service-postgres"
SERVICE_PUBNUB: Final = "service-pubnub"
LOAD_SERVICE: Final = "load-service"
PLAYERS_PUBNUB: Final = "players-pubnub"
PROXIES: Final = frozenset({SERVICE_POSTGRES, SERVICE_PUBNUB, LOAD_SERVICE, PLAYERS_PUBNUB})

Proxies = ProxyServer
