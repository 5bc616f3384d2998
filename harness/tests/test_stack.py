"""The whole stack: every part real, wired through its proxies, and gone without a trace."""

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from harness.process import child as child_module
from harness.stack import Stack, StackError, StackOptions, find_stack, running_stacks, start_stack
from harness.stack.ports import PortBlock, is_free
from harness.tests.helpers import eventually

PROXIES = {"load-service", "service-postgres", "service-pubnub", "players-pubnub"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack(StackOptions(replicas=2, toxiproxies=3, service_env={"LOG_LEVEL": "DEBUG"})) as stack:
        yield stack


def test_ctrl_c_right_after_a_part_was_started_leaves_no_part_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[psutil.Process] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            if not begun and "pubnub_emulator" in " ".join(map(str, arguments[0])):
                begun.append(psutil.Process(self.pid))
                raise KeyboardInterrupt

    monkeypatch.setattr(child_module.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Stack().start()
    (orphan,) = begun
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def status_of(url: str, path: str = "/health") -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def traces_of(stack: Stack) -> tuple[list[psutil.Process], list[int], list[Path]]:
    """Every process, port and path of a stack."""
    assert stack.postgres is not None
    assert stack.postgres._folder is not None
    processes = []
    for part in stack.parts.values():
        assert part.pid is not None
        leader = psutil.Process(part.pid)
        processes += [leader, *leader.children(recursive=True)]
    ports = [int(part.endpoint.split(":")[1]) for part in stack.parts.values()]
    ports += [int(proxy.listen.split(":")[1]) for proxy in stack.proxies.all().values()]
    return processes, ports, [stack.log_folder, stack.postgres._folder]


def test_every_part_is_there_and_serves(stack: Stack) -> None:
    servers = {"toxiproxy", "toxiproxy-2", "toxiproxy-3"}
    assert set(stack.parts) == servers | {"pubnub", "postgres", "service-1", "service-2"}
    assert all(part.pid for part in stack.parts.values())
    assert status_of(stack.target.service_url) in {200, 503}
    assert status_of(stack.target.pubnub_origin, "/time/0") == 200
    assert all(part.log_path.parent == stack.log_folder for part in stack.parts.values())


def test_all_traffic_passes_a_proxy_of_its_own(stack: Stack) -> None:
    proxies = stack.proxies.all()
    assert set(proxies) == PROXIES | {"load-service-2"}
    assert stack.target.service_url == f"http://{proxies['load-service'].listen}"
    assert stack.service_urls[1] == f"http://{proxies['load-service-2'].listen}"
    assert stack.target.pubnub_origin == f"http://{proxies['players-pubnub'].listen}"
    assert proxies["load-service"].upstream == stack.parts["service-1"].endpoint
    assert proxies["load-service-2"].upstream == stack.parts["service-2"].endpoint
    environment = psutil.Process(stack.parts["service-1"].pid).environ()
    assert proxies["service-postgres"].listen in environment["DATABASE_URL"]
    assert environment["PUBNUB_ORIGIN"] == f"http://{proxies['service-pubnub'].listen}"
    assert environment["SUPABASE_URL"] == stack.target.service_url
    assert environment["LOG_LEVEL"] == "DEBUG"


def test_players_are_spread_over_the_servers_beyond_the_first(stack: Stack) -> None:
    of_all, second, third = (server.all() for server in stack.proxies.servers)
    assert "players-pubnub" not in of_all
    assert set(second) == set(third) == {"players-pubnub"}
    listens = [one["players-pubnub"].listen for one in (second, third)]
    assert [listen.partition(":")[0] for listen in listens] == ["127.0.0.1", "127.0.0.2"]
    assert stack.target.players_origins == ",".join(f"http://{listen}" for listen in listens)
    assert [status_of(f"http://{listen}", "/time/0") for listen in listens] == [200, 200]
    chosen = [stack.target.pubnub_host(f"player-{number}") for number in range(200)]
    assert set(chosen) == set(listens)
    assert 70 < chosen.count(listens[0]) < 130
    assert chosen[7] == stack.target.pubnub_host("player-7")


def test_the_service_really_speaks_to_postgres_through_its_proxy(stack: Stack) -> None:
    status_of(stack.target.service_url)
    service = psutil.Process(stack.parts["service-1"].pid)
    peers = [
        f"{connection.raddr.ip}:{connection.raddr.port}"
        for connection in service.net_connections()
        if connection.status == psutil.CONN_ESTABLISHED
    ]
    assert stack.proxies.get("service-postgres").listen in peers
    assert stack.parts["postgres"].endpoint not in peers


def test_the_harness_reads_the_database_past_the_proxies(stack: Stack) -> None:
    async def who() -> Any:
        connection = await asyncpg.connect(stack.target.database_url)
        try:
            return await connection.fetchval("SELECT inet_server_port()")
        finally:
            await connection.close()

    assert str(asyncio.run(who())) == stack.parts["postgres"].endpoint.split(":")[1]


def test_secrets_stay_out_of_what_is_shown_and_logged(stack: Stack) -> None:
    secrets = stack.target.secrets()
    shown = repr(stack.target) + repr([part.spec for part in stack.parts.values()])
    shown += " ".join(
        argument for part in stack.parts.values() for argument in psutil.Process(part.pid).cmdline()
    )
    for part in stack.parts.values():
        shown += part.log_path.read_text(errors="replace", encoding="utf-8")
    assert [secret for secret in secrets if secret in shown] == []


def test_a_part_comes_back_on_the_same_port(stack: Stack) -> None:
    for name in ("service-1", "toxiproxy", "toxiproxy-3"):
        part = stack.parts[name]
        before, endpoint = part.pid, part.endpoint
        stack.kill(name)
        assert part.pid is None
        assert is_free(int(endpoint.split(":")[1]))
        stack.restart(name)
        assert part.pid not in {None, before}
        assert part.endpoint == endpoint
    assert set(stack.proxies.all()) >= PROXIES
    assert all("players-pubnub" in server.all() for server in stack.proxies.servers[1:])
    eventually(lambda: status_of(stack.target.service_url) in {200, 503})


def test_a_paused_part_answers_when_it_goes_on(stack: Stack) -> None:
    stack.pause("service-2")
    with pytest.raises(TimeoutError):
        http_get_with_limit(stack.service_urls[1], 0.5)
    stack.resume("service-2")
    assert status_of(stack.service_urls[1]) in {200, 503}


def http_get_with_limit(url: str, limit_s: float) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=limit_s) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1)


def test_an_unknown_part_is_named(stack: Stack) -> None:
    with pytest.raises(StackError, match=r"no part 'service-9'.*service-1, service-2"):
        stack.kill("service-9")


def test_another_process_of_the_user_finds_it_and_restarts_its_parts(stack: Stack) -> None:
    found = find_stack(stack.id)
    assert found.target.service_url == stack.target.service_url
    before = stack.pid("service-2")
    found.kill("service-2")
    assert stack.pid("service-2") is None
    assert found.pid("service-2") is None
    found.restart("service-2")
    assert found.pid("service-2") == stack.pid("service-2") != before
    with pytest.raises(StackError, match="no part 'nobody'"):
        found.pause("nobody")


def test_its_entry_in_the_list_is_for_its_user_only(stack: Stack) -> None:
    assert stack._control is not None
    assert stack._control.entry.stat().st_mode & 0o777 == 0o600


def test_two_stacks_run_side_by_side_and_end_without_a_trace(stack: Stack) -> None:
    with start_stack() as other:
        processes, ports, paths = traces_of(other)
        assert set(ports).isdisjoint(traces_of(stack)[1])
        assert status_of(other.target.service_url) in {200, 503}
        assert status_of(stack.target.service_url) in {200, 503}
        with pytest.raises(StackError, match=f"{stack.id}.*{other.id}|{other.id}.*{stack.id}"):
            find_stack()
    assert [process for process in processes if process.is_running()] == []
    assert [port for port in ports if not is_free(port)] == []
    assert [path for path in paths if path.exists()] == []
    assert other.id not in {found.id for found in running_stacks()}
    assert status_of(stack.target.service_url) in {200, 503}


def test_an_exception_in_the_block_leaves_nothing_behind() -> None:
    traces = []

    def fail_in_the_middle() -> None:
        with start_stack() as stack:
            traces.extend(traces_of(stack))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    processes, ports, paths = traces
    assert [process for process in processes if process.is_running()] == []
    assert [path for path in paths if path.exists()] == []
    assert all(map(is_free, ports))


def test_a_stranger_on_the_port_makes_it_take_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody takes after it was looked at: the parts start again on other ports."""
    real = PortBlock.take
    strangers: list[socket.socket] = []

    def take(block: PortBlock) -> int:
        port = real(block)
        if len(strangers) < 1:
            strangers.append(socket.create_server(("127.0.0.1", port)))
        return port

    monkeypatch.setattr(PortBlock, "take", take)
    try:
        with start_stack(StackOptions(advertise=False)) as stack:
            taken = strangers[0].getsockname()[1]
            assert stack.parts["toxiproxy"].endpoint != f"127.0.0.1:{taken}"
            assert status_of(stack.target.service_url) in {200, 503}
    finally:
        for stranger in strangers:
            stranger.close()


def test_a_part_that_does_not_come_up_is_named_with_the_end_of_its_log() -> None:
    with pytest.raises(StackError, match=r"service-1 ended at once \(exit code") as caught:
        start_stack(StackOptions(service_env={"DATABASE_URL": "not-a-database"}))
    assert "DATABASE_URL" in str(caught.value)
    assert "--check" in str(caught.value)


def test_no_replica_at_all_is_refused() -> None:
    with pytest.raises(StackError, match="replicas=0"):
        Stack(StackOptions(replicas=0))


def test_logs_go_where_they_are_wanted_and_stay(tmp_path: Path) -> None:
    with start_stack(StackOptions(log_folder=tmp_path / "logs", advertise=False)):
        pass
    assert {path.stem for path in (tmp_path / "logs").iterdir()} == {
        "toxiproxy",
        "pubnub",
        "postgres",
        "service-1",
    }


STARTER = """
import os, signal, sys, time
from harness.stack import start_stack
stack = start_stack()
pids = [part.pid for part in stack.parts.values()]
print(*pids, flush=True)
print(*(part.endpoint.split(":")[1] for part in stack.parts.values()), flush=True)
print(stack.log_folder, stack.postgres._folder, stack._control.entry, flush=True)
stack.pause("postgres")
time.sleep(120)
"""


def test_kill_9_of_its_starter_leaves_nothing_behind_even_of_a_paused_part() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert starter.stdout is not None
    pids = [int(word) for word in starter.stdout.readline().split()]
    ports = [int(word) for word in starter.stdout.readline().split()]
    paths = [Path(word) for word in starter.stdout.readline().split()]
    assert pids
    family = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    time.sleep(0.2)  # let the pause take
    starter.kill()
    starter.wait()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    eventually(lambda: not any(child.is_running() for child in family))
    eventually(lambda: not any(path.exists() for path in paths))
    assert all(map(is_free, ports))


@pytest.mark.parametrize("delay_s", [0.35, 0.5, 0.65, 0.9])
def test_a_starter_killed_in_mid_start_leaves_nothing_behind(delay_s: float) -> None:
    """Whatever moment it is killed at: also before it could tell anybody what it had started."""
    scratch = Path("/var/tmp") / f"stormwatch-test-{os.getpid()}-{delay_s}"
    scratch.mkdir(mode=0o755)
    program = "from harness.stack import start_stack; start_stack(); import time; time.sleep(60)"
    starter = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"TMPDIR": str(scratch)})
    try:
        time.sleep(delay_s)
        started = psutil.Process(starter.pid).children(recursive=True)
        starter.kill()
        starter.wait()
        eventually(lambda: not [child for child in started if child.is_running()])
        eventually(lambda: not list(scratch.iterdir()))
    finally:
        starter.kill()
        scratch.rmdir()
