"""Faults of the network and of processes against real parts, felt by a client of theirs."""

import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.faults import Deployment, FaultError, MissingPartError, NotExercisedError
from harness.faults.network import (
    Bandwidth,
    BlackHole,
    Down,
    Flapping,
    Latency,
    LimitData,
    NetworkFault,
    Refuse,
    ResetPeer,
    Slicer,
    SlowClose,
)
from harness.stack import Part, Proxies, Reaper, toxiproxy
from harness.stack.ports import PortBlock
from harness.target import Target

BODY = os.urandom(3000)


class Server:
    """A web server behind a proxy called `web`."""

    def __init__(self, proxies: Proxies, part: Part) -> None:
        self.proxies = proxies
        self.parts = {"toxiproxy": part}
        self.target = Target("http://127.0.0.1:9", "key", "cron", "sub", toxiproxy_url=proxies.url)
        self.address = ("127.0.0.1", int(proxies.get("web").listen.rpartition(":")[2]))

    def ask(self, limit_s: float = 5.0) -> tuple[bytes, float]:
        """Ask for the page on a connection of its own; return the body and the seconds it took."""
        begun = time.monotonic()
        with closing(socket.create_connection(self.address, timeout=limit_s)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return received.partition(b"\r\n\r\n")[2], time.monotonic() - begun


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that are cut off are what this is about

    web = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    with Reaper() as reaper, PortBlock() as block:
        part = Part(toxiproxy.plan(toxiproxy.obtain(), block.take(), Path(os.devnull)), reaper)
        part.start()
        part.wait(20)
        proxies = Proxies(f"http://{part.endpoint}")
        proxies.create("web", f"127.0.0.1:{block.take()}", f"127.0.0.1:{web.server_port}")
        proxies.create("unused", f"127.0.0.1:{block.take()}", f"127.0.0.1:{web.server_port}")
        yield Server(proxies, part)
        part.stop(1.0)
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def mended(server: Server) -> Iterator[None]:
    """Whatever a test did, the proxy is as it was afterwards."""
    assert server.ask()[0] == BODY
    yield
    assert server.proxies.get("web").toxics == ()
    assert server.ask()[0] == BODY


def test_down_refuses_new_connections_and_cuts_open_ones(server: Server) -> None:
    with closing(socket.create_connection(server.address, timeout=5)) as opened:
        with Down("web").inject(server), pytest.raises(ConnectionRefusedError):
            server.ask()
        assert opened.recv(1) == b""


def test_flapping_is_down_again_and_again(server: Server) -> None:
    seen = ""
    with Flapping("web", down="150ms", up="150ms").inject(server):
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                server.ask()
                state = "u"
            except OSError:
                state = "d"
            seen += "" if seen.endswith(state) else state
            time.sleep(0.01)
    assert "dud" in seen


def test_refuse_hangs_up_without_an_answer(server: Server) -> None:
    with Refuse("web").inject(server):
        assert server.ask()[0] == b""


def test_a_black_hole_never_answers(server: Server) -> None:
    with BlackHole("web").inject(server), pytest.raises(TimeoutError):
        server.ask(limit_s=0.5)


def test_a_black_hole_can_close_after_a_while(server: Server) -> None:
    with BlackHole("web", closes_after="300ms").inject(server):
        body, seconds = server.ask()
    assert body == b""
    assert seconds >= 0.3


def test_latency_delays_by_what_it_says(server: Server) -> None:
    with Latency("web", latency="400ms").inject(server):
        body, seconds = server.ask()
    assert body == BODY
    assert seconds >= 0.4


def test_latency_upstream_and_downstream_add_up(server: Server) -> None:
    with Latency("web", latency="300ms", direction="both").inject(server):
        assert server.ask()[1] >= 0.6


def test_bandwidth_takes_its_time(server: Server) -> None:
    with Bandwidth("web", kilobytes=2).inject(server):
        body, seconds = server.ask(limit_s=10)
    assert body == BODY
    assert seconds >= 1.0


def test_slow_close_keeps_the_connection(server: Server) -> None:
    with SlowClose("web", delay="500ms").inject(server):
        assert server.ask()[1] >= 0.5


def test_reset_peer_resets(server: Server) -> None:
    with ResetPeer("web").inject(server), pytest.raises(ConnectionResetError):
        server.ask()


def test_a_slicer_cuts_into_pieces(server: Server) -> None:
    with Slicer("web", size=100, variation=10, pause="10ms").inject(server):
        body, seconds = server.ask()
    assert body == BODY
    assert seconds >= 0.2  # some thirty pieces


def test_limit_data_closes_after_so_much(server: Server) -> None:
    with LimitData("web", bytes=1000).inject(server):
        body, _ = server.ask()
    assert 0 < len(body) < 1000
    assert BODY.startswith(body)


def test_a_share_harms_only_some_connections(server: Server) -> None:
    with Refuse("web", share="50%").inject(server):
        answers = [server.ask()[0] for _ in range(60)]
    assert set(answers) == {b"", BODY}


def test_two_faults_of_a_kind_on_one_proxy_are_undone_each(server: Server) -> None:
    with Latency("web", latency="200ms").inject(server), Latency("web", latency="200ms").inject(server):
        assert server.ask()[1] >= 0.4


@pytest.mark.parametrize("kind", [Down, Flapping, Latency, BlackHole])
def test_a_proxy_that_nobody_uses_is_not_exercised(server: Server, kind: type[NetworkFault]) -> None:
    with (
        pytest.raises(NotExercisedError, match="nobody was connected to the proxy unused"),
        kind("unused").inject(server),
    ):
        pass


def test_an_open_connection_alone_is_something_that_a_toxic_saw(server: Server) -> None:
    port = int(server.proxies.get("unused").listen.rpartition(":")[2])
    with (
        closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as opened,
        Latency("unused").inject(server),
    ):
        assert opened.fileno() >= 0


def test_an_unknown_proxy_is_named(server: Server) -> None:
    with pytest.raises(FaultError, match="no proxy 'nowhere'; there are unused, web") as refused:
        Down("nowhere").applied(server).__enter__()
    # A scenario is skipped for what the target lacks, not for what is misspelt.
    assert not isinstance(refused.value, MissingPartError)
    with pytest.raises(MissingPartError, match="no proxy 'players-pubnub'; there are unused, web"):
        Down("players-pubnub").applied(server).__enter__()


def test_a_target_without_toxiproxy_lacks_the_part() -> None:
    target = Target("http://127.0.0.1:9", "key", "cron", "sub")
    with pytest.raises(MissingPartError, match="no Toxiproxy"):
        Down("web").applied(Deployment(target)).__enter__()


def test_a_toxiproxy_that_goes_away_is_the_harness_failure(server: Server) -> None:
    binary = toxiproxy.obtain()
    with Reaper() as reaper, PortBlock() as block:
        part = Part(toxiproxy.plan(binary, block.take(), Path(os.devnull)), reaper)
        part.start()
        part.wait(20)
        proxies = Proxies(f"http://{part.endpoint}")
        proxies.create("web", f"127.0.0.1:{block.take()}", "127.0.0.1:9")
        other = Server(proxies, part)
        with (
            pytest.raises(FaultError, match=r"network:latency web: Toxiproxy.*does not answer"),
            Latency("web").inject(other),
        ):
            part.kill()
