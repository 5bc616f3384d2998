"""A web proxy that the environment names sees no request of any client, and is said to be left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import web_proxies
from harness.tests.environment.hostile import stormwatch

#: Each asks an address for something; all of them are clients that the harness has.
CLIENTS = {
    "urllib": "import urllib.request; urllib.request.urlopen(url)",
    "requests": "import requests; requests.get(url)",
    "toxiproxy": "from harness.stack import Proxies; Proxies(url).all()",
    "pubnub": "from harness.commands.doctor import _ask_time; _ask_time(url[7:], ssl=False)",
    "aiohttp": """
import aiohttp, asyncio
async def ask():
    async with aiohttp.ClientSession() as session, session.get(url): pass
asyncio.run(ask())
""",
    "subscribers": """
import asyncio
from harness.system.pubnub_sdk import sdk_client
from harness.target import Target
async def ask():
    client = sdk_client(Target(url, "k", "s", "sub", pubnub_origin=url), "me")
    await client.create_session()
    await client.time().future()
    await client.stop()
asyncio.run(ask())
""",
    "locust": """
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment
class User(FastHttpUser):
    host = url
User(Environment()).client.get("/")
""",
}


class Sink:
    """Listens where a proxy would, and where a service would; counts what comes."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sink.seen.append(self.path)
                body = json.dumps([17]) if self.path.startswith("/time") else "{}"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_CONNECT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Sink:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def proxied(url: str) -> dict[str, str]:
    """Return an environment that names a proxy in every way, and excludes nothing."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return {**dict.fromkeys(names, url), "ALL_PROXY": "socks5h://127.0.0.1:9", "NO_PROXY": "elsewhere"}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_asks_the_proxy(client: str, sink: Sink) -> None:
    with Sink() as service:
        begin = f"from harness import web_proxies; web_proxies.leave_out(); url = {service.url!r}\n"
        done = subprocess.run(
            [sys.executable, "-c", begin + CLIENTS[client]],
            env={**os.environ, **proxied(sink.url)},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert len(service.seen) == 1
    assert sink.seen == []


def test_commands_that_speak_to_a_system_say_what_they_leave_out(sink: Sink) -> None:
    done = stormwatch("fault", "network:down", "--help", **proxied(sink.url))
    assert b"ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, http_proxy, https_proxy are not used" in done.stderr
    assert done.returncode == 0


def test_commands_that_read_a_report_have_nothing_to_say(sink: Sink) -> None:
    assert b"PROXY" not in stormwatch("gate", "--help", **proxied(sink.url)).stderr


def test_nobody_is_told_of_proxies_that_are_not_there() -> None:
    assert stormwatch("doctor", "--help").stderr == b""


def test_what_is_fetched_from_the_internet_takes_the_proxy(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_proxies, "_given", {})
    monkeypatch.delenv("no_proxy", raising=False)  # what another test may have left out already
    for name, value in proxied(sink.url).items():
        monkeypatch.setenv(name, value)
    web_proxies.leave_out()
    with web_proxies.for_downloads(), urllib.request.build_opener().open("http://toxiproxy.invalid/release"):
        pass
    assert sink.seen == ["http://toxiproxy.invalid/release"]
    assert urllib.request.getproxies() == {"no": "*"}
