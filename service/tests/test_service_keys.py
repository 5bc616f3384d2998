"""Calls without the right secret: answered alike, logged, counted, slowed down; watchers need one too."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from service.http.keys import Keys, Unauthorised, UnauthorisedCalls
from service.metrics import Metrics
from service.tests.support import (
    API,
    CRON,
    CRON_SECRET,
    ROLE_KEY,
    Clock,
    ServiceProcess,
    eventually,
    settings,
)

TICK = "/functions/v1/monitor-game-timers"
DEAD = "/functions/v1/dead-letters"
BEARER = {"Authorization": API["Authorization"]}
WRONG = {
    "apikey": "guess-of-a-stranger",
    "Authorization": "Bearer guess-of-a-stranger",
    "x-cron-secret": "guess-of-a-stranger",
}


def without_id(answer: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    return answer.status_code, {k: v for k, v in answer.json().items() if k != "requestId"}, headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", TICK), ("GET", DEAD), ("GET", "/rest/v1/games"), ("GET", "/metrics"), ("GET", "/alerts"),
     ("GET", "/health")],
)  # fmt: skip
def test_a_missing_and_a_wrong_secret_are_answered_alike(
    service: ServiceProcess, method: str, path: str
) -> None:
    def ask(headers: dict[str, str]) -> Any:
        status, body, sent = without_id(service.http.request(method, path, headers=headers))
        return status, {k: v for k, v in body.items() if k != "timestamp"}, sent

    missing = ask({})
    assert missing[0] == (200 if path == "/health" else 401)
    for wrong in (WRONG, {"apikey": ROLE_KEY}, {"Authorization": "Basic x"}, {"x-cron-secret": ROLE_KEY}):
        assert ask(wrong) == missing


def test_an_unauthorised_call_is_logged_without_its_secret(service: ServiceProcess) -> None:
    def logged() -> list[dict[str, Any]]:
        """Call, and return what the log has of it: it may be full for this second."""
        answer = service.http.post(f"{TICK}?key=guess-in-the-address", headers=WRONG)
        return [line for line in service.log() if line.get("requestId") == answer.headers["x-request-id"]]

    [line] = eventually(logged, "no line was logged")
    assert (line["event"], line["level"], line["client"]) == ("unauthorised call", "warning", "127.0.0.1")
    assert (line["call"], line["header"], line["secret"]) == (f"POST {TICK}", "x-cron-secret", "wrong")
    assert "guess" not in service.log_path.read_text(encoding="utf-8")


def test_unauthorised_calls_are_counted(service: ServiceProcess) -> None:
    counted = 'unauthorised_calls_total{secret="x-cron-secret"}'
    service.http.post(TICK)
    before = service.metric(counted)
    service.http.post(TICK, headers=WRONG)
    service.http.post(TICK)
    assert service.metric(counted) == before + 2


def test_a_client_that_keeps_failing_waits_and_one_with_the_secret_does_not(service: ServiceProcess) -> None:
    async def call() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=30, limits=httpx.Limits()) as client:
            strangers = [asyncio.create_task(client.post(TICK, headers=WRONG)) for _ in range(60)]
            await asyncio.wait(strangers, return_when=asyncio.FIRST_COMPLETED)
            # From the same address: whoever has the secret is not held back.
            assert (await client.post(TICK, headers=CRON)).status_code == 200
            assert not all(task.done() for task in strangers)
            assert {answer.status_code for answer in await asyncio.gather(*strangers)} == {401}

    started = time.monotonic()
    asyncio.run(call())
    assert time.monotonic() - started > 0.9


@pytest.fixture
def calls(clock: Clock) -> UnauthorisedCalls:
    return UnauthorisedCalls(Metrics(), clock)


def test_the_first_failures_of_a_client_are_answered_at_once_and_later_ones_at_a_pace(
    calls: UnauthorisedCalls,
) -> None:
    delays = [calls.delay_s("a") for _ in range(30)]
    assert delays[:20] == pytest.approx([0] * 20)
    assert delays[20:] == pytest.approx([0.05 * n for n in range(1, 11)])
    assert calls.delay_s("b") == 0


def test_no_answer_is_held_back_for_long_and_a_client_that_stops_is_forgiven(
    calls: UnauthorisedCalls, clock: Clock
) -> None:
    assert max(calls.delay_s("a") for _ in range(1_000)) == pytest.approx(1.0)
    clock.now += 2.5
    assert calls.delay_s("a") == 0


async def test_answers_held_back_are_few_and_the_rest_is_not(calls: UnauthorisedCalls) -> None:
    request = Request({"type": "http", "method": "POST", "headers": [], "client": ("10.0.0.1", 1)})
    error = Unauthorised("apikey", "it", given=True)
    notes = [asyncio.create_task(calls.note(request, error)) for _ in range(1_100)]
    done, held = await asyncio.wait(notes, timeout=0.2)
    assert [task.result() for task in done].count(False) == 1_100 - 20 - 1_000
    for task in held:
        task.cancel()


@pytest.mark.parametrize("path", ["/metrics", "/alerts"])
def test_strangers_see_neither_metrics_nor_alerts(service: ServiceProcess, path: str) -> None:
    assert service.http.get(path).status_code == 401
    assert service.http.get(path, headers={"Authorization": f"Bearer {CRON_SECRET}"}).status_code == 401
    assert service.http.get(path, headers=BEARER).status_code == 200


def test_strangers_see_of_health_what_is_well_and_nothing_else(service: ServiceProcess) -> None:
    answer = service.http.get("/health").json()
    assert answer.keys() == {"status", "checks", "timestamp"}
    assert answer["checks"] == {
        "database": {"healthy": True},
        "pubnub": {"healthy": True},
        "edgeFunctions": {"healthy": True},
    }
    for check in service.health().json()["checks"].values():
        assert check.keys() == {"healthy", "latencyMs", "error"}


def may_watch(bearer: str, **more: Any) -> bool:
    headers = [(b"authorization", f"Bearer {bearer}".encode())]
    keys = Keys(settings(**more))
    try:
        keys.watch.check(Request({"type": "http", "headers": headers}))
    except Unauthorised:
        return False
    return True


def test_a_secret_of_its_own_lets_in_to_watch_and_to_nothing_else() -> None:
    assert may_watch("secret-of-prometheus", watch_secret="secret-of-prometheus")
    assert may_watch(ROLE_KEY, watch_secret="secret-of-prometheus")
    assert not may_watch("secret-of-prometheus")
    assert not may_watch("", watch_secret="")
    keys = Keys(settings(watch_secret="secret-of-prometheus"))
    headers = [(b"authorization", b"Bearer secret-of-prometheus")]
    with pytest.raises(Unauthorised):
        keys.bearer.check(Request({"type": "http", "headers": headers}))


def test_a_setting_opens_what_is_watched_to_everybody() -> None:
    assert may_watch("", watch_open=True)
    assert not may_watch("", watch_open=False)
