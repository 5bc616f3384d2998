"""Fixtures of real parts, for the folders whose tests stand on the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.stack.postgres import Postgres
from service.tests.support import Databases, PubNub, ServiceProcess, Urls


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    with Postgres(max_connections=200) as postgres:
        yield Databases(postgres)


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


@pytest.fixture
def pubnub(emulator: EmulatorProcess) -> Iterator[PubNub]:
    """The emulator, healed when the test ends."""
    control = PubNub(emulator.url, emulator.control_token)
    yield control
    control.close()


@pytest.fixture(scope="module")
def database(databases: Databases) -> Urls:
    """A database that the tests of a file share."""
    return databases.make()


@pytest.fixture(scope="module")
def service(
    database: Urls, emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service that the tests of a file share."""
    with ServiceProcess(tmp_path_factory.mktemp("service"), database.service, emulator.url) as process:
        yield process


StartService = Callable[..., ServiceProcess]


@pytest.fixture
def own_database(databases: Databases) -> Urls:
    """A database of the test's own."""
    return databases.make()


@pytest.fixture
def start_service(own_database: Urls, emulator: EmulatorProcess, tmp_path: Path) -> Iterator[StartService]:
    """Start services on the test's own database, with settings; they end with the test."""
    started: list[ServiceProcess] = []

    def start(
        *, pubnub_url: str | None = None, database_url: str | None = None, **settings: Any
    ) -> ServiceProcess:
        process = ServiceProcess(
            tmp_path,
            database_url or own_database.service,
            pubnub_url or emulator.url,
            **{key: str(value) for key, value in settings.items()},
        )
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.stop()
        process.http.close()
