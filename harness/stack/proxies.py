"""The proxies that all traffic of a stack passes, whichever Toxiproxy servers have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from harness.stack.proxy_server import NoProxyError, Proxy, ProxyServer, Stream, ToxiproxyError

__all__ = ["Proxies", "Proxy", "Stream", "ToxiproxyError"]

#: The four proxies of the design: who speaks through it to whom.
SERVICE_POSTGRES: Final = "service-postgres"
SERVICE_PUBNUB: Final = "service-pubnub"
LOAD_SERVICE: Final = "load-service"
PLAYERS_PUBNUB: Final = "players-pubnub"
PROXIES: Final = frozenset({SERVICE_POSTGRES, SERVICE_PUBNUB, LOAD_SERVICE, PLAYERS_PUBNUB})

T = TypeVar("T")


class Proxies:
    """The proxies of one or more Toxiproxy servers. What several have by the same name is one proxy.

    Whatever is done to a proxy is done at each server that has it, also where one of them fails.

    Parameters
    ----------
    urls : addresses of the servers, separated by commas.

    Raises
    ------
    ToxiproxyError
        By every method: a server does not answer within five seconds, or refuses.
    """

    def __init__(self, urls: str) -> None:
        self.url = urls
        self.servers = tuple(ProxyServer(url) for url in urls.split(","))

    def create(self, name: str, listen: str, upstream: str, *, at: int = 0) -> None:
        """Make a proxy from ``listen`` to ``upstream``, both ``host:port``, at one of the servers."""
        self.servers[at].create(name, listen, upstream)

    def all(self) -> dict[str, Proxy]:
        """Return every proxy by its name: up if it is so at all servers, with the toxics of any."""
        found: dict[str, Proxy] = {}
        for server in self.servers:
            for name, proxy in server.all().items():
                first = found.setdefault(name, proxy)
                toxics = tuple(dict.fromkeys((*first.toxics, *proxy.toxics)))
                found[name] = replace(first, enabled=first.enabled and proxy.enabled, toxics=toxics)
        return found

    def get(self, name: str) -> Proxy:
        """Return one proxy; where several servers have it, where it listens and leads is the first's."""
        found = self.all()
        if name not in found:
            raise NoProxyError(f"no proxy {name!r} at {self.url}: there are {', '.join(sorted(found))}")
        return found[name]

    def enable(self, name: str) -> None:
        """Let the proxy listen again."""
        self._at_each(lambda server: server.enable(name))

    def disable(self, name: str) -> None:
        """Cut the proxy's connections and stop it from listening."""
        self._at_each(lambda server: server.disable(name))

    def add_toxic(
        self,
        proxy: str,
        toxic: str,
        kind: str,
        attributes: Mapping[str, int],
        *,
        stream: Stream = "downstream",
        share: float = 1.0,
    ) -> None:
        """Add a toxic named ``toxic`` to a share of the proxy's connections (0 to 1)."""
        self._at_each(
            lambda server: server.add_toxic(proxy, toxic, kind, attributes, stream=stream, share=share)
        )

    def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Take a toxic off the proxy, wherever it is on it; see :meth:`ProxyServer.remove_toxic`."""
        self._at_each(lambda server: server.remove_toxic(proxy, toxic))

    def received_bytes(self, name: str) -> dict[Stream, int] | None:
        """Return how much the proxy has read so far; see :meth:`ProxyServer.received_bytes`."""
        counts = self._at_each(lambda server: server.received_bytes(name))
        known = [count for count in counts if count is not None]
        streams: tuple[Stream, ...] = ("upstream", "downstream")
        if len(known) < len(counts):
            return None
        return {stream: sum(count[stream] for count in known) for stream in streams}

    def open_connections(self, name: str) -> int | None:
        """Return how many clients are connected to the proxy; see :meth:`ProxyServer.open_connections`."""
        counts = self._at_each(lambda server: server.open_connections(name))
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _at_each(self, do: Callable[[ProxyServer], T]) -> list[T]:
        """Return what ``do`` comes to at each server that has the proxy that it is about."""
        done: list[T] = []
        unknown: list[ToxiproxyError] = []
        trouble: list[ToxiproxyError] = []
        for server in self.servers:
            try:
                done.append(do(server))
            except NoProxyError as error:
                unknown.append(error)
            except ToxiproxyError as error:
                trouble.append(error)
        if len(trouble) > 1:
            raise ToxiproxyError("; ".join(map(str, trouble)))
        if trouble or not done:
            raise (trouble or unknown)[0]
        return done
