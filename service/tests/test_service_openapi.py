"""The OpenAPI description, fuzzed: no 5xx, no answer that it does not describe."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # noqa: F401  # which it would import in the midst of the tests
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import Service
from service.tests.support import API, CRON, ServiceProcess
from service.tests.support import settings as unstarted


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    outcome: list[dict[str, Any]] = []

    def describe() -> None:
        async def make() -> dict[str, Any]:
            return Service(unstarted()).application().openapi()

        outcome.append(asyncio.run(make()))

    thread = threading.Thread(target=describe)
    thread.start()
    thread.join()
    return outcome[0]


OPERATIONS = [
    ("POST", "/functions/v1/monitor-game-timers"),
    ("POST", "/functions/v1/broadcast-pubnub-event"),
    ("POST", "/functions/v1/get-game-timer"),
    ("POST", "/functions/v1/replay-dead-letters"),
    ("GET", "/functions/v1/dead-letters"),
    ("GET", "/functions/v1/feature-flags"),
    *[
        (method, f"/rest/v1/{table}")
        for table in ("games", "game_participants", "submissions")
        for method in ("GET", "POST", "PATCH", "DELETE")
    ],
    ("POST", "/rest/v1/rpc/transition_game_status"),
    ("POST", "/rest/v1/rpc/find_expired_games"),
    ("POST", "/rest/v1/rpc/setup_test_data"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/alerts"),
]


def test_every_operation_is_fuzzed(described: dict[str, Any]) -> None:
    there = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert there == set(OPERATIONS)


def test_the_running_service_describes_itself(service: ServiceProcess, described: dict[str, Any]) -> None:
    assert service.http.get("/openapi.json").json() == described


@pytest.fixture(scope="module")
def schema(described: dict[str, Any]) -> Any:
    return schemathesis.openapi.from_dict(described)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_input_makes_it_fail(service: ServiceProcess, schema: Any, method: str, path: str) -> None:
    operation = schema[path][method]
    answered: list[int] = []

    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        def call(case: Any) -> None:
            answer = case.call(base_url=service.url, headers={**API, **CRON}, timeout=30)
            answered.append(answer.status_code)
            case.validate_response(
                answer,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        strategy = operation.as_strategy(generation_mode=mode)
        _check(call, strategy)
    assert answered


def _check(call: Any, strategy: Any) -> None:
    from hypothesis import given
    from hypothesis.errors import Unsatisfiable

    fuzz = given(strategy)(
        settings(
            max_examples=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )(call)
    )
    try:
        fuzz()
    except Unsatisfiable:
        # Nothing about this operation can be wrong: it takes no parameters.
        return
