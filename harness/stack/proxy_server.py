"""One Toxiproxy server and its proxies, through `toxiproxy-python`: the only place that touches that client.

The client's own `Toxiproxy` and `Proxy` know one server a process, wait without limit and take a 5xx for
success. So only its `APIConsumer` is used: a subclass for each server, with a limit for each call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import psutil
import requests
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.stack.errors import StackError

Stream = Literal["upstream", "downstream"]

_LIMIT_S: Final = 5.0
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_COUNTER: Final = re.compile(r"toxiproxy_proxy_received_bytes_total\{([^}]*)\} (\S+)")


class ToxiproxyError(StackError):
    """Toxiproxy does not answer, or refuses: the harness's own failure, not the service's."""


class NoProxyError(ToxiproxyError):
    """The server has no proxy of that name."""


class ToxiproxyHangsError(ToxiproxyError):
    """Toxiproxy took the call and did not answer in time."""


@dataclass(frozen=True)
class Proxy:
    """One proxy as the server describes it."""

    name: str
    #: ``host:port`` that clients connect to.
    listen: str
    #: ``host:port`` that it passes their connections on to.
    upstream: str
    enabled: bool
    toxics: tuple[str, ...]


class ProxyServer:
    """The proxies of the Toxiproxy server at ``url``.

    Every method raises :class:`ToxiproxyError` if the server does not answer within five seconds or
    refuses.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.hostname or not parts.port:
            raise ToxiproxyError(f"{url!r} is no address of a Toxiproxy such as http://127.0.0.1:8474")
        self.url = url
        self._host = parts.hostname
        # The client keeps its server's address in the class.
        self._api = type("Api", (APIConsumer,), {"host": parts.hostname, "port": parts.port})

    def create(self, name: str, listen: str, upstream: str) -> None:
        """Make a proxy from ``listen`` to ``upstream``, both ``host:port``."""
        # Looked for first: a server that was stopped would do later what it is told now.
        if name in self.all():
            raise ToxiproxyError(f"Toxiproxy at {self.url} refuses {name}: there is a proxy of that name")
        self._call("post", "/proxies", name, json={"name": name, "listen": listen, "upstream": upstream})

    def remove(self, name: str) -> None:
        """Remove a proxy, and cut its connections."""
        self._call("delete", f"/proxies/{name}", name)

    def all(self) -> dict[str, Proxy]:
        """Return every proxy by its name."""
        try:
            found = self._call("get", "/proxies", "proxies").json()
        except ValueError as error:
            raise ToxiproxyError(f"{self.url} is no Toxiproxy: its proxies are no JSON ({error})") from error
        return {
            name: Proxy(
                name=name,
                listen=proxy["listen"],
                upstream=proxy["upstream"],
                enabled=proxy["enabled"],
                toxics=tuple(toxic["name"] for toxic in proxy["toxics"]),
            )
            for name, proxy in found.items()
        }

    def get(self, name: str) -> Proxy:
        """Return one proxy."""
        found = self.all()
        if name not in found:
            raise NoProxyError(f"no proxy {name!r} at {self.url}: there are {', '.join(sorted(found))}")
        return found[name]

    def enable(self, name: str) -> None:
        """Let the proxy listen again."""
        self._switch(name, on=True)

    def disable(self, name: str) -> None:
        """Cut the proxy's connections and stop it from listening."""
        self._switch(name, on=False)

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
        self.get(proxy)
        wanted = {"name": toxic, "type": kind, "stream": stream, "toxicity": share}
        path = f"/proxies/{proxy}/toxics"
        self._call("post", path, f"{kind} on {proxy}", json={**wanted, "attributes": dict(attributes)})

    def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Take a toxic off the proxy, if it is on it.

        While a connection is stuck (its client reads nothing), Toxiproxy can wait for it without end, and
        answers nothing that concerns the proxy any more. The call is given up then, and the proxy made anew.
        """
        there = self.get(proxy)
        if toxic not in there.toxics:
            return
        try:
            self._call("delete", f"/proxies/{proxy}/toxics/{toxic}", f"removal of {toxic} from {proxy}")
        except ToxiproxyHangsError as error:
            raise ToxiproxyError(f"{error}; {self._make_anew(there)}") from error

    def _make_anew(self, proxy: Proxy) -> str:
        """Replace a proxy that Toxiproxy hangs on, and tell what came of that."""
        try:
            # A server that is stopped altogether would do later what it is told now.
            self._call("get", "/version", "version")
            self.remove(proxy.name)
            self.create(proxy.name, proxy.listen, proxy.upstream)
        except ToxiproxyError as error:
            return f"{proxy.name} can't be made anew: {error}"
        return f"{proxy.name} was made anew, which cut its connections"

    def received_bytes(self, name: str) -> dict[Stream, int] | None:
        """Return how much the proxy has read so far by direction: ``upstream`` is what clients sent.

        Toxiproxy counts a connection's bytes when the connection ends, not before.
        None if the server does not count (it was started without ``-proxy-metrics``).
        """
        try:
            text = self._call("get", "/metrics", "metrics").text
        except _RefusedError:  # it has no such page
            return None
        counted: dict[Stream, int] = {"upstream": 0, "downstream": 0}
        for labels, value in _COUNTER.findall(text):
            if f'proxy="{name}"' in labels:
                stream: Stream = "upstream" if 'direction="upstream"' in labels else "downstream"
                counted[stream] += int(float(value))
        return counted

    def open_connections(self, name: str) -> int | None:
        """Return how many clients are connected to the proxy now.

        None if nobody can tell: Toxiproxy does not say, and its sockets are another machine's, or the
        system does not show them.
        """
        host, _, port = self.get(name).listen.rpartition(":")
        if self._host not in _LOCAL:
            return None
        try:
            sockets = psutil.net_connections(kind="tcp")
        except psutil.AccessDenied:
            return None
        return sum(
            socket.status == psutil.CONN_ESTABLISHED and socket.laddr[:2] == (host.strip("[]"), int(port))
            for socket in sockets
        )

    def _switch(self, name: str, *, on: bool) -> None:
        self.get(name)
        self._call("post", f"/proxies/{name}", name, json={"enabled": on})

    def _call(self, method: str, path: str, what: str, **more: Any) -> requests.Response:
        try:
            answer: requests.Response = getattr(self._api, method)(path, timeout=_LIMIT_S, **more)
            answer.raise_for_status()
        except (NotFound, ProxyExists, InvalidToxic) as error:
            raise _RefusedError(f"Toxiproxy at {self.url} refuses {what}: {_words(error)}") from error
        except requests.Timeout as error:
            raise ToxiproxyHangsError(
                f"Toxiproxy at {self.url} did not answer within {_LIMIT_S:g} s ({what})"
            ) from error
        except requests.RequestException as error:
            raise ToxiproxyError(f"Toxiproxy at {self.url} does not answer ({what}): {error}") from error
        return answer


class _RefusedError(ToxiproxyError):
    """Toxiproxy answered that it does not do that."""


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace").strip() if isinstance(said, bytes) else str(said)
