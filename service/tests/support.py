"""Real parts for tests: databases on one Postgres, the PubNub emulator, service processes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import httpx

from harness.stack.postgres import Postgres
from harness.stack.postgres_files import OWNER
from service.settings import Settings, load_settings

ROLE_KEY = "service-role-key-of-tests"
CRON_SECRET = "cron-secret-of-tests"
API = {"apikey": ROLE_KEY, "Authorization": f"Bearer {ROLE_KEY}"}
CRON = {"x-cron-secret": CRON_SECRET}
#: For what has to happen some time; far more than it takes.
EVENTUALLY_S = 30.0


class Databases:
    """Makes databases of their own on one server."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def make(self) -> Urls:
        name = f"test_{secrets.token_hex(6)}"

        async def create() -> None:
            connection = await asyncpg.connect(self.postgres.url)
            await connection.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
            await connection.close()

        run(create())
        return Urls(
            urlsplit(self.postgres.service_url)._replace(path=f"/{name}").geturl(),
            urlsplit(self.postgres.url)._replace(path=f"/{name}").geturl(),
        )


class Urls:
    """A database as the service and as a superuser see it."""

    def __init__(self, service: str, admin: str) -> None:
        self.service = service
        self.admin = admin

    def fetch(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.admin)
            try:
                return [dict(row) for row in await connection.fetch(sql, *arguments)]
            finally:
                await connection.close()

        return run(ask())

    def value(self, sql: str, *arguments: Any) -> Any:
        return next(iter(self.fetch(sql, *arguments)[0].values()))


def run(coroutine: Any) -> Any:
    """Run a coroutine from a test that may itself be one."""
    import threading

    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append((True, asyncio.run(coroutine)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    done, value = outcome[0]
    if not done:
        raise value
    return value


class PubNub:
    """The emulator's control API."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=f"{url}/control", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )

    def break_(self, action: str, **rule: Any) -> str:
        answer = self._client.post("/rules", json={"action": action, **rule})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def heal(self) -> None:
        self._client.delete("/rules").raise_for_status()

    def accepted(self, channel: str) -> list[dict[str, Any]]:
        """Return the messages that were accepted on a channel, in their order."""
        return [json.loads(entry["message"]) for entry in self.attempts(channel=channel) if entry["effect"]]

    def attempts(self, **of: str) -> list[dict[str, Any]]:
        """Return the log's entries of publishes (``of`` a ``channel``), in the order of their answers."""
        answer = self._client.get("/log", params={"operation": "publish", **of})
        entries: list[dict[str, Any]] = answer.json()["entries"]
        return entries

    def forget(self) -> None:
        """Empty the log."""
        self._client.delete("/log").raise_for_status()

    def close(self) -> None:
        self.heal()
        self._client.close()


class ServiceProcess:
    """``python -m service`` on a free port, with its log."""

    def __init__(self, folder: Path, database_url: str, pubnub_url: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / f"service-{self.port}.log"
        self.environment = base_environment(database_url, pubnub_url, self.port) | settings
        self.http = httpx.Client(base_url=self.url, timeout=40)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"], env=self.environment, stdout=log, stderr=log
            )
        eventually(self._answers, f"the service does not come up: {self.log_path}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text(encoding="utf-8")
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code in {200, 503}
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, within_s: float = 20.0) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def log(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in self.log_path.read_text(encoding="utf-8").splitlines()
            if line.startswith("{")
        ]

    def metric(self, name: str) -> float:
        for line in self.http.get("/metrics", headers=API).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")

    def health(self) -> httpx.Response:
        """Return /health with its details."""
        return self.http.get("/health", headers=API)

    # What callers do.

    def tick(self) -> dict[str, Any]:
        answer = self.http.post("/functions/v1/monitor-game-timers", headers=CRON)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, **row: Any) -> dict[str, Any]:
        answer = self.http.post(
            "/rest/v1/games",
            json={"prompt": "A lighthouse", **row},
            headers={**API, "Prefer": "return=representation"},
        )
        assert answer.status_code == 201, answer.text
        return answer.json()[0]

    def move(self, game_id: str, status: str) -> httpx.Response:
        return self.http.post(
            "/rest/v1/rpc/transition_game_status",
            json={"p_game_id": game_id, "p_new_status": status},
            headers=API,
        )

    def game(self, game_id: str) -> dict[str, Any]:
        return self.http.get(f"/rest/v1/games?id=eq.{game_id}", headers=API).json()[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()


def base_environment(database_url: str, pubnub_url: str, port: int = 0) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "DATABASE_URL": database_url,
        "PUBNUB_ORIGIN": pubnub_url,
        "SUPABASE_URL": f"http://127.0.0.1:{port}",
        "SUPABASE_SERVICE_ROLE_KEY": ROLE_KEY,
        "CRON_SECRET": CRON_SECRET,
        "PUBNUB_PUBLISH_KEY": "pub-c-tests",
        "PUBNUB_SUBSCRIBE_KEY": "sub-c-tests",
        "PORT": str(port),
    }


def settings(**more: Any) -> Settings:
    """Return settings of a service that is not started."""
    environment = base_environment("postgresql://u:p@127.0.0.1:1/d", "http://127.0.0.1:1")
    fields = {key.lower(): value for key, value in environment.items() if key not in {"PATH", "PYTHONPATH"}}
    return load_settings(**(fields | more))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Clock:
    """A monotonic clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def eventually(holds: Callable[[], Any], words: str, *, within_s: float = EVENTUALLY_S) -> Any:
    """Return what ``holds`` returns once it is true."""
    deadline = time.monotonic() + within_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, words
        time.sleep(0.05)


def name(prefix: str = "game") -> str:
    return f"{prefix}-{secrets.token_hex(5)}"
