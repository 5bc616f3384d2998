"""Faults of the network and of processes against real parts, felt by a client of theirs."""

import http.server
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.faults import FaultError, MissingPartError, NotExercisedError
from harness.faults.mend import mend
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
    Stall,
)
from harness.process import Reaper
from harness.stack import Proxies, StackProcess, ToxiproxyError, proxy_server, toxiproxy
from harness.stack.ports import PortBlock
from harness.system import find_system
from harness.target import Target
from harness.tests.permitted import deployment

BODY = os.urandom(3000)


class Server:
    """A web server behind a proxy called `web`."""

    def __init__(self, proxies: Proxies, part: StackProcess) -> None:
        self.system = find_system()
        self.proxies = proxies
        self.parts = {"toxiproxy": part}
        self.target = Target("http://127.0.0.1:9", "key", "cron", "sub", toxiproxy_url=proxies.url)
        self.address = ("127.0.0.1", int(proxies.get("web").listen.rpartition(":")[2]))

    def pid(self, name: str) -> int | None:
        return self.parts[name].pid

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
        part = StackProcess(toxiproxy.spec(toxiproxy.obtain(), block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
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


@dataclass
class Line:
    """A connection through the proxy `line`, and its other end."""

    client: socket.socket
    server: socket.socket


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as listening, PortBlock() as block:
        listening.settimeout(5)
        port = block.take()
        server.proxies.create("line", f"127.0.0.1:{port}", f"127.0.0.1:{listening.getsockname()[1]}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                accepted, _ = listening.accept()
                accepted.settimeout(5)
                with accepted:
                    yield Line(client, accepted)
        finally:
            server.proxies.servers[0].remove("line")


def test_what_is_sent_during_a_stall_arrives_afterwards_on_the_same_connection(
    server: Server, line: Line
) -> None:
    line.client.sendall(b"before")
    assert line.server.recv(100) == b"before"
    with Stall("line").inject(server):
        line.client.sendall(b"there")
        line.server.sendall(b"back")
        for end in (line.client, line.server):
            end.settimeout(0.4)
            with pytest.raises(TimeoutError):
                end.recv(100)
            end.settimeout(5)
    assert (line.server.recv(100), line.client.recv(100)) == (b"there", b"back")
    line.client.sendall(b"after")
    assert line.server.recv(100) == b"after"


def test_a_stall_holds_up_new_connections_too_and_lets_them_go_on(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        with Stall("web").inject(server):
            asked = pool.submit(server.ask)
            time.sleep(0.4)
            assert not asked.done()
        assert asked.result(5)[0] == BODY


def test_a_black_hole_ends_in_a_close(server: Server, line: Line) -> None:
    with BlackHole("line").inject(server):
        line.client.sendall(b"lost")
        time.sleep(0.2)
    assert line.client.recv(100) == b""
    assert line.server.recv(100) == b""


# --- Toxiproxy that hangs --------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_server, "_LIMIT_S", 0.4)


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Toxiproxy stopped in its tracks (SIGSTOP) while the block runs, which may not take long."""
    begun = time.monotonic()
    server.parts["toxiproxy"].pause()
    try:
        yield
    finally:
        server.parts["toxiproxy"].resume()
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "call",
    [
        # It may be done when the server goes on: the name is taken, so that nothing is left.
        lambda proxies: proxies.create("web", "127.0.0.1:0", "127.0.0.1:9"),
        lambda proxies: proxies.all(),
        lambda proxies: proxies.add_toxic("web", "late", "latency", {"latency": 1, "jitter": 0}),
        lambda proxies: proxies.remove_toxic("web", "late"),
        lambda proxies: proxies.disable("web"),
        lambda proxies: proxies.enable("web"),
        lambda proxies: proxies.received_bytes("web"),
    ],
    ids=["create", "list", "apply", "remove", "disable", "enable", "count"],
)
def test_a_toxiproxy_that_is_stopped_is_given_up_at_each_call(
    server: Server, call: Callable[[Proxies], object]
) -> None:
    with stopped(server), pytest.raises(ToxiproxyError, match=r"did not answer within 0\.4 s \("):
        call(server.proxies)
    # Nothing that was asked for meanwhile is done later: each call looks first.
    assert sorted(server.proxies.all()) == ["unused", "web"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Latency("web"), Stall("web"), Down("web"), Flapping("web")], ids=str)
def test_a_fault_under_which_toxiproxy_stops_is_the_harness_failure_and_can_be_mended(
    server: Server, fault: NetworkFault
) -> None:
    with pytest.raises(FaultError, match=f"{fault}: .*did not answer"), stopped(server), fault.inject(server):
        pass
    with ExitStack() as later, pytest.raises(FaultError, match="did not answer"), fault.inject(server):
        later.enter_context(stopped(server))
    list(mend(server))


@pytest.mark.usefixtures("impatient")
def test_a_removal_that_hangs_on_a_stuck_connection_makes_the_proxy_anew(server: Server, line: Line) -> None:
    fault = Latency("line", latency="1ms")
    with pytest.raises(FaultError, match=r"removal of latency-.*; line was made anew, which cut its"):  # noqa: SIM117
        with fault.inject(server):
            flood(line.server)  # and the client reads nothing
    assert server.proxies.get("line").toxics == ()
    # It passes connections as before.
    port = int(server.proxies.get("line").listen.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def flood(sending: socket.socket) -> None:
    """Send until nothing more is taken for a while."""
    sending.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            sending.sendall(bytes(1 << 20))


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


# --- a proxy that several servers have -------------------------------------------------------------------


@pytest.fixture
def spread(server: Server) -> Iterator[Server]:
    """A proxy called `spread`, at two Toxiproxy servers; the second has no other."""
    with Reaper() as reaper, PortBlock() as block:
        part = StackProcess(toxiproxy.spec(toxiproxy.obtain(), block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
        proxies = Proxies(f"{server.proxies.url},http://{part.endpoint}")
        web = server.proxies.get("web").upstream
        for at in (0, 1):
            proxies.create("spread", f"127.0.0.1:{block.take()}", web, at=at)
        yield Server(proxies, part)
        part.stop(1.0)
        server.proxies.servers[0].remove("spread")


def each(spread: Server) -> list[tuple[bool, tuple[str, ...]]]:
    """Whether the proxy is up, and its toxics, at each server."""
    return [(one.enabled, one.toxics) for one in (at.get("spread") for at in spread.proxies.servers)]


def test_a_fault_on_a_proxy_that_two_servers_have_is_on_both_and_gone_from_both(spread: Server) -> None:
    with suppress(NotExercisedError), Latency("spread", direction="both").inject(spread):
        (_, first), (_, second) = each(spread)
        assert (len(first), first) == (2, second)
        assert spread.proxies.get("spread").toxics == first
    with suppress(NotExercisedError), Down("spread").inject(spread):
        assert each(spread) == [(False, ()), (False, ())]
    assert each(spread) == [(True, ()), (True, ())]


def test_what_passes_either_server_exercises_the_fault(spread: Server) -> None:
    host, port = spread.proxies.servers[1].get("spread").listen.split(":")
    with (
        closing(socket.create_connection((host, int(port)), timeout=5)),
        Latency("spread", latency="1ms").inject(spread),
    ):
        pass


def test_half_of_a_fault_is_undone_and_told(spread: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ToxiproxyError("the second server refuses")

    monkeypatch.setattr(spread.proxies.servers[1], "add_toxic", refuse)
    monkeypatch.setattr("harness.faults.network.Proxies", lambda _: spread.proxies)
    with pytest.raises(FaultError, match="network:latency spread: the second server refuses"):
        Latency("spread").applied(spread).__enter__()
    assert each(spread) == [(True, ()), (True, ())]


def test_a_server_that_goes_away_keeps_the_fault_from_being_removed_nowhere_else(
    server: Server, spread: Server
) -> None:
    part = spread.parts["toxiproxy"]
    with (
        pytest.raises(FaultError, match="does not answer"),
        Latency("spread").inject(spread),
        ExitStack() as before,
    ):
        before.callback(part.kill)
    assert server.proxies.get("spread").toxics == ()


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
        Down("web").applied(deployment(target)).__enter__()


def test_a_toxiproxy_that_goes_away_is_the_harness_failure(server: Server) -> None:
    binary = toxiproxy.obtain()
    with Reaper() as reaper, PortBlock() as block:
        part = StackProcess(toxiproxy.spec(binary, block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
        proxies = Proxies(f"http://{part.endpoint}")
        proxies.create("web", f"127.0.0.1:{block.take()}", "127.0.0.1:9")
        other = Server(proxies, part)
        with (
            pytest.raises(FaultError, match=r"network:latency web: Toxiproxy.*does not answer"),
            Latency("web").inject(other),
        ):
            part.kill()
