"""What the measurements stand on: a database, the emulator, the service; and readings of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.stack.postgres import OWNER, Postgres

_KEY: Final = "bench"
API: Final = {"apikey": _KEY, "Authorization": f"Bearer {_KEY}"}
_READY_S: Final = 60.0
PUBLISH_KEY: Final = "pub-c-bench"
SUBSCRIBE_KEY: Final = "sub-c-bench"


@dataclass
class Parts:
    """A server, and an emulator with its control API's token."""

    postgres: Postgres
    emulator: EmulatorProcess

    async def database(self) -> Addresses:
        """Make a database of its own."""
        name = f"bench_{secrets.token_hex(5)}"
        connection = await asyncpg.connect(self.postgres.url)
        await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        await connection.close()
        return Addresses(
            urlsplit(self.postgres.service_url)._replace(path=f"/{name}").geturl(),
            urlsplit(self.postgres.url)._replace(path=f"/{name}").geturl(),
        )

    async def control(
        self, session: aiohttp.ClientSession, method: str, rule: dict[str, Any] | None = None
    ) -> None:
        """Make a rule of the emulator's, or (DELETE) end them all."""
        token = {"Authorization": f"Bearer {self.emulator.control_token}"}
        url = f"{self.emulator.url}/control/rules"
        async with session.request(method, url, json=rule, headers=token) as answer:
            answer.raise_for_status()

    def psql(self, url: str, script: str) -> str:
        """Run a script in psql and return what it printed."""
        done = subprocess.run(
            [self.postgres.installation.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
            input=script,
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
        )
        return done.stdout


@dataclass(frozen=True)
class Addresses:
    """A database as the service and as a superuser see it."""

    service: str
    admin: str


@contextmanager
def start_parts() -> Iterator[Parts]:
    """Start Postgres and the emulator."""
    with Postgres(max_connections=100) as postgres, EmulatorProcess() as emulator:
        yield Parts(postgres, emulator)


class Service:
    """A running service."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], session: aiohttp.ClientSession) -> None:
        self.url = url
        self.process = process
        self.session = session

    async def tick(self) -> dict[str, Any]:
        """Run a tick and return its answer."""
        async with self.session.post(
            f"{self.url}/functions/v1/monitor-game-timers", headers={"x-cron-secret": _KEY}
        ) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    def rss(self) -> int:
        """Return its memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@asynccontextmanager
async def start_service(parts: Parts, database: Addresses, **settings: str) -> AsyncIterator[Service]:
    """Run the service on ``database``."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "DATABASE_URL": database.service,
        "PUBNUB_ORIGIN": parts.emulator.url,
        "PUBNUB_PUBLISH_KEY": PUBLISH_KEY,
        "PUBNUB_SUBSCRIBE_KEY": SUBSCRIBE_KEY,
        "SUPABASE_URL": url,
        "SUPABASE_SERVICE_ROLE_KEY": _KEY,
        "CRON_SECRET": _KEY,
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
        **settings,
    }
    async with run_process([sys.executable, "-m", "service"], f"{url}/health", environment) as running:
        yield Service(url, *running)


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process and those it started (Postgres has many) took so far."""
    started = psutil.Process(pid)
    took_s = 0.0
    for process in (started, *started.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            took_s += times.user + times.system
    return took_s


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def run_process(
    command: list[str], ready_url: str, environment: dict[str, str]
) -> AsyncIterator[tuple[subprocess.Popen[bytes], aiohttp.ClientSession]]:
    """Run a process that serves HTTP, until it is left."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - before anything is measured
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            deadline = time.monotonic() + _READY_S
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(ready_url):
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} does not come up")
                await asyncio.sleep(0.1)
            yield process, session
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def add_games(url: str, prefix: str, number: int, *, expired_s: float | None) -> None:
    """Add games in their last phase: over since ``expired_s`` seconds, or (None) completed ones."""
    connection = await asyncpg.connect(url)
    if expired_s is None:
        await connection.execute(
            "INSERT INTO games (id, prompt, status) "
            "SELECT $1 || n, 'x', 'completed' FROM generate_series(1, $2::int) AS n",
            prefix,
            number,
        )
    else:
        await connection.execute(
            "INSERT INTO games (id, prompt, status, phase_expires_at) SELECT $1 || n, 'x', 'voting', "
            "clock_timestamp() - make_interval(secs => $3) FROM generate_series(1, $2::int) AS n",
            prefix,
            number,
            expired_s,
        )
    await connection.execute("VACUUM ANALYZE games")
    await connection.close()


async def wait_for(url: str, sql: str, expected: Any, *, within_s: float = 300.0) -> None:
    """Ask the database until it answers ``expected``."""
    connection = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + within_s
        while await connection.fetchval(sql) != expected:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{sql} did not become {expected} within {within_s:g} s")
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


def median_of(times: int, measure: Callable[[], float]) -> float:
    """Return the median of measurements."""
    return sorted(measure() for _ in range(times))[times // 2]


FLAGS_OFF: Final = "ENABLE_PUBNUB_BROADCASTING=false\n"
FLAGS_ON: Final = "ENABLE_PUBNUB_BROADCASTING=true\n"


def flags_file(folder: Path, text: str) -> Path:
    """Write the flags file."""
    path = folder / "flags.env"
    path.write_text(text, encoding="utf-8")
    return path
