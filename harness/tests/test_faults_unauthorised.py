"""Unauthorised calls try everything that needs a secret, and what comes of it is recorded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from harness.faults import FaultError, NotExercisedError, find_kind
from harness.faults.unauthorised import WrongSecrets
from harness.history import HistoryWriter, read_history
from harness.history.names import UNAUTHORISED, Reading
from harness.system import find_system
from harness.target import Target
from harness.tests.http_stub import Answers, Request, served
from harness.tests.permitted import deployment

KEY, SECRET = "role-key-0123456789", "cron-secret-0123456789"
#: Enough to have tried everything, without waiting for the clock.
QUICK = WrongSecrets(callers=4, every="1ms")


def right(request: Request) -> bool:
    """Whether a call has the secret that it needs."""
    bearer = request.headers.get("authorization") == f"Bearer {KEY}"
    if request.path.startswith("/rest/v1"):
        return bearer and request.headers.get("apikey") == KEY
    if request.path.endswith("monitor-game-timers"):
        return request.headers.get("x-cron-secret") == SECRET
    return bearer


class Service:
    """Lets in who has the right secret, and whom else it is told to."""

    def __init__(self, lets_in: Answers | None = None) -> None:
        self.asked: list[Request] = []
        self.rows: list[Any] = []
        self._lets_in = lets_in

    def __call__(self, request: Request) -> tuple[int, Any]:
        if right(request):
            return 200, self.rows
        self.asked.append(request)
        return self._lets_in(request) if self._lets_in else (401, {"error": "no"})


def hammered(service: Service, folder: Path, at_least: int = 150) -> list[dict[str, Any]]:
    """Call ``service`` until so much was tried; return the record."""
    with served(service) as url, HistoryWriter(folder, "faults", "run") as history:
        system = deployment(Target(url, KEY, SECRET, "sub"))
        with QUICK.inject(system, history):
            deadline = time.monotonic() + 30
            while len(service.asked) < at_least and time.monotonic() < deadline:
                time.sleep(0.01)
    return list(read_history(folder).table.to_pylist())


def test_a_service_that_refuses_everything_is_recorded_so(tmp_path: Path) -> None:
    service = Service()
    rows = hammered(service, tmp_path)
    calls = [row for row in rows if row["kind"] == "http"]
    assert len(calls) == len(service.asked)
    assert all(row["ok"] and row["error"] is None and row["value"] == 401 for row in calls)
    assert all(row["actor"].startswith(UNAUTHORISED) for row in calls)
    (made,) = [row for row in rows if row["name"] == Reading.MADE_UNAUTHORISED]
    assert made["value"] == 0


def test_every_door_is_tried_in_every_way_and_never_with_the_right_secret(tmp_path: Path) -> None:
    service = Service()
    rows = hammered(service, tmp_path)
    ways = {(row["name"], row["actor"]) for row in rows if row["kind"] == "http"}
    routes = {name for name, _ in ways}
    assert {name.split(" ")[1].split("/")[1] for name in routes} == {"functions", "rest", "metrics", "alerts"}
    assert len(routes) == 16
    for route in routes:
        tried = {actor.removeprefix(UNAUTHORISED) for name, actor in ways if name == route}
        wrong = {f"{which} secret" for which in ("no", "empty", "wrong", "the other", "half of the")}
        assert tried >= wrong
        assert ("without Authorization" in tried) == ("/rest/" in route)
    assert not any(right(request) for request in service.asked)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_one_door_that_is_open_is_recorded(tmp_path: Path, status: int) -> None:
    def careless(request: Request) -> tuple[int, Any]:
        return (status, {}) if request.path.endswith("dead-letters") else (403, {})

    rows = hammered(Service(careless), tmp_path)
    failed = {row["name"] for row in rows if row["kind"] == "http" and not row["ok"]}
    assert failed == {"GET /functions/v1/dead-letters", "POST /functions/v1/replay-dead-letters"}
    assert {row["error"] for row in rows if row["ok"] is False} == {f"http {status}"}


def test_what_unauthorised_calls_made_is_counted(tmp_path: Path) -> None:
    service = Service()
    service.rows = [{"id": "stranger-1"}, {"id": "stranger-2"}]
    (made,) = [row for row in hammered(service, tmp_path) if row["name"] == Reading.MADE_UNAUTHORISED]
    assert made["value"] == 2


def test_secrets_stay_out_of_the_record(tmp_path: Path) -> None:
    hammered(Service(), tmp_path)
    (file,) = tmp_path.glob("*.arrow")
    assert KEY.encode() not in file.read_bytes()
    assert SECRET.encode() not in file.read_bytes()


def test_a_service_that_is_not_there_is_not_exercised() -> None:
    with served(Service()) as url:
        gone = deployment(Target(url, KEY, SECRET, "sub"))
    with pytest.raises(NotExercisedError, match="no unauthorised call was answered"), QUICK.inject(gone):
        time.sleep(0.2)


def test_a_count_that_is_refused_is_the_harnesss_failure(tmp_path: Path) -> None:
    def broken(request: Request) -> tuple[int, Any]:
        return (500 if right(request) else 401), {}

    with (
        served(broken) as url,
        HistoryWriter(tmp_path, "faults", "run") as history,
        pytest.raises(FaultError, match="can't see what these calls made: http 500"),
        QUICK.inject(deployment(Target(url, KEY, SECRET, "sub")), history),
    ):
        time.sleep(0.2)


def test_another_service_is_refused() -> None:
    with pytest.raises(FaultError, match="no service 'staging'; there is service"):
        WrongSecrets("staging")


def test_it_is_known_by_its_name() -> None:
    assert find_kind("service:wrong-secrets", find_system()) is WrongSecrets
