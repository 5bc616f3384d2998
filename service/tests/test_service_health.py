"""Health answers in time whatever hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Gauge

from service.lag import LoopLag
from service.tests.parts import StartService
from service.tests.support import API, Clock, eventually


@pytest.fixture
def silent_ports() -> Iterator[list[int]]:
    """Two ports whose connections are taken and never answered."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(2)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
            listener.listen(512)
        yield [listener.getsockname()[1] for listener in listeners]


def test_health_answers_while_database_and_pubnub_hang(
    start_service: StartService, silent_ports: list[int]
) -> None:
    service = start_service(
        database_url=f"postgresql://u:p@127.0.0.1:{silent_ports[0]}/d",
        pubnub_url=f"http://127.0.0.1:{silent_ports[1]}",
        MIGRATE_AT_START="false",
    )
    answers = [service.health() for _ in range(5)]
    for answer in answers:
        checks = answer.json()["checks"]
        assert answer.status_code == 503
        assert "within 0.5 s" in checks["database"]["error"]
        assert "within 0.5 s" in checks["pubnub"]["error"]
        assert checks["edgeFunctions"]["healthy"] is True
    noted = [line["ms"] for line in service.log() if line.get("route") == "/health"]
    assert len(noted) >= 5
    assert sorted(noted)[len(noted) // 2] < 1000


def test_requests_are_told_in_time_that_the_database_hangs(
    start_service: StartService, silent_ports: list[int]
) -> None:
    service = start_service(
        database_url=f"postgresql://u:p@127.0.0.1:{silent_ports[0]}/d",
        MIGRATE_AT_START="false",
        DATABASE_TIMEOUT="1s",
    )
    for path, body in (
        ("/functions/v1/get-game-timer", {"gameId": "g"}),
        ("/rest/v1/games", {"prompt": "x"}),
        ("/functions/v1/replay-dead-letters", {}),
    ):
        started = time.monotonic()
        answer = service.http.post(path, headers=API, json=body)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert time.monotonic() - started < 8


@pytest.fixture
def lag(clock: Clock) -> LoopLag:
    return LoopLag(Gauge("lag", "a gauge of its own", registry=CollectorRegistry()), clock)


def test_nothing_is_late_before_anything_is_measured(lag: LoopLag) -> None:
    assert lag.worst_s() == 0


def test_a_loop_that_is_back_in_time_is_not_late(lag: LoopLag, clock: Clock) -> None:
    lag.wait_from_now()
    clock.now += 0.25
    lag.came_back()
    assert lag.worst_s() == 0


def test_a_loop_that_has_not_come_back_yet_is_late_already(lag: LoopLag, clock: Clock) -> None:
    lag.wait_from_now()
    clock.now += 6.25
    assert lag.worst_s() == pytest.approx(6.0)


def test_that_a_loop_was_late_is_remembered_for_a_moment(lag: LoopLag, clock: Clock) -> None:
    lag.wait_from_now()
    clock.now += 6.25
    lag.came_back()
    told = []
    for _ in range(16):
        lag.wait_from_now()
        clock.now += 0.25
        lag.came_back()
        told.append(lag.worst_s())
    assert told[:7] == [pytest.approx(6.0)] * 7
    assert told[-1] == 0


def test_a_process_that_stood_still_says_so_as_it_goes_on(start_service: StartService) -> None:
    service = start_service()
    assert service.health().json()["checks"]["edgeFunctions"]["healthy"] is True
    os.kill(service.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(service.pid, signal.SIGCONT)
    check = service.health().json()["checks"]["edgeFunctions"]
    assert check["healthy"] is False
    assert "late" in check["error"]
    eventually(
        lambda: service.health().json()["checks"]["edgeFunctions"]["healthy"],
        "a process that goes on did not become healthy again",
    )
