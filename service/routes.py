"""The service's endpoints: which path is served by whom, and how that is described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from service.alerts.engine import Alerts
from service.broadcast import Broadcaster
from service.dead_letters import DeadLetters, ReplayRequest
from service.events import Event
from service.flags import Flags
from service.health import Health
from service.http.errors import json_response
from service.http.keys import Keys, Unauthorised, UnauthorisedCalls
from service.http.requests import EVENT_LIMIT, read_body, validate
from service.logs import get_logger, request_id
from service.metrics import CONTENT_TYPE, Metrics
from service.monitor import Monitor, TickFailed, TickTimeout, TickUnavailable
from service.openapi import (
    answers,
    body,
    call_schema,
    prefer_parameter,
    query_parameters,
    row_schema,
    schema_of,
    security,
)
from service.rest.endpoint import Rest
from service.rest.tables import FUNCTIONS, TABLES, Function, Table
from service.timer import Timer, TimerRequest

log = get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

_EVENT: Final = TypeAdapter(Event)
_REPLAY: Final = TypeAdapter(ReplayRequest)
_OBJECT: Final = {"type": "object"}


class _DirectRoute(APIRoute):
    """A route whose handler reads its request itself: FastAPI's own reading takes as long as all the rest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class _TickAnswer(BaseModel):
    model_config = ConfigDict(extra="allow")

    processed: int = Field(ge=0)
    errors: int = Field(ge=0)
    skipped: int = Field(ge=0)
    executionTime: float = Field(ge=0, description="ms")
    timestamp: str
    requestId: str
    environment: str
    version: str
    message: str = ""
    metrics: dict[str, float]


def function_routes(
    *,
    keys: Keys,
    environment: str,
    monitor: Monitor,
    broadcaster: Broadcaster,
    timer: Timer,
    dead_letters: DeadLetters,
    flags: Flags,
) -> APIRouter:
    """Return the routes under ``/functions/v1``."""
    router = APIRouter(prefix="/functions/v1", route_class=_DirectRoute)

    async def monitor_game_timers(request: Request) -> Response:
        """Move every game whose phase is over. Any body is ignored."""
        keys.check_cron(request)
        await read_body(request)
        current = str(request_id.get())
        try:
            tick = await monitor.tick(current)
        except TickFailed as error:
            log.warning("a tick failed", error=str(error), ms=round(error.tick.execution_s * 1000, 1))
            status = (
                504 if isinstance(error, TickTimeout) else 503 if isinstance(error, TickUnavailable) else 500
            )
            headers = {"Retry-After": "2"} if status != 500 else None
            return json_response(error.tick.answer(current, environment), status, headers)
        log.info(
            "tick",
            processed=tick.processed,
            skipped=tick.skipped,
            graced=tick.graced,
            ms=round(tick.execution_s * 1000, 1),
        )
        return json_response(tick.answer(current, environment))

    async def broadcast_pubnub_event(request: Request) -> Response:
        """Publish an event now, and answer with PubNub's timetokens."""
        keys.check_bearer(request)
        event = validate(_EVENT, await read_body(request, EVENT_LIMIT))
        return json_response(await broadcaster.broadcast(event, str(request_id.get())))

    async def replay_dead_letters(request: Request) -> Response:
        """Put dead letters back into the outbox: those named, those of a game, or the oldest."""
        keys.check_bearer(request)
        return json_response(await dead_letters.replay(validate(_REPLAY, await read_body(request))))

    async def list_dead_letters(request: Request) -> Response:
        """Return the dead letters that wait, the oldest first."""
        keys.check_bearer(request)
        return json_response(await dead_letters.waiting())

    async def feature_flags(request: Request) -> Response:
        """Return the feature flags as they are now."""
        keys.check_bearer(request)
        return json_response({"flags": flags.now.as_dict()})

    # First: routes are tried in their order, and this one is asked for most.
    _add(
        router, "POST", "/get-game-timer", timer.answer,
        answers({200: _OBJECT}, 400, 401, 404, 413, 500, 503),
        body(schema_of(TimerRequest), secured=("bearer",)),
    )  # fmt: skip
    tick_schema = schema_of(_TickAnswer)
    _add(
        router,
        "POST",
        "/monitor-game-timers",
        monitor_game_timers,
        answers({200: tick_schema}, 401, 413, same=(500, 503, 504)),
        security("cron"),
    )
    _add(
        router, "POST", "/broadcast-pubnub-event", broadcast_pubnub_event,
        answers({200: _OBJECT}, 400, 401, 413, 500, 502, 503), body(schema_of(Event), secured=("bearer",)),
    )  # fmt: skip
    _add(
        router, "POST", "/replay-dead-letters", replay_dead_letters,
        answers({200: _OBJECT}, 400, 401, 413, 500, 503), body(schema_of(ReplayRequest), secured=("bearer",)),
    )  # fmt: skip
    _add(
        router,
        "GET",
        "/dead-letters",
        list_dead_letters,
        answers({200: _OBJECT}, 401, 500, 503),
        security("bearer"),
    )
    _add(router, "GET", "/feature-flags", feature_flags, answers({200: _OBJECT}, 401), security("bearer"))
    return router


def watch_routes(
    *, keys: Keys, unauthorised: UnauthorisedCalls, health: Health, metrics: Metrics, alerts: Alerts
) -> APIRouter:
    """Return the routes that watch the service; strangers see of it whether its parts are healthy."""
    router = APIRouter(route_class=_DirectRoute)

    async def show_health(request: Request) -> Response:
        """Tell whether the database, PubNub and the functions are well; with the secret also how and why."""
        details = True
        try:
            keys.check_watch(request)
        except Unauthorised as error:
            details = False
            if error.given:  # whoever guesses the secret here is slowed down as elsewhere
                await unauthorised.note(request, error)
        healthy, answer = await health.answer(details=details)
        return json_response(answer, 200 if healthy else 503)

    async def show_metrics(request: Request) -> Response:
        """Return all metrics in Prometheus's text format."""
        keys.check_watch(request)
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def show_alerts(request: Request) -> Response:
        """Return the alert rules, their readings and which are raised."""
        keys.check_watch(request)
        return json_response(alerts.answer())

    _add(
        router,
        "GET",
        "/health",
        show_health,
        answers({200: _OBJECT}, same=(503,)),
        {"security": [{}, *security("bearer")["security"]]},
    )
    _add(
        router,
        "GET",
        "/metrics",
        show_metrics,
        {
            200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **answers({}, 401),
        },
        security("bearer"),
    )
    _add(router, "GET", "/alerts", show_alerts, answers({200: _OBJECT}, 401), security("bearer"))
    return router


def rest_routes(rest: Rest) -> APIRouter:
    """Return the routes under ``/rest/v1``."""
    router = APIRouter(prefix="/rest/v1", route_class=_DirectRoute)
    secured = security("apikey", "bearer")
    for table in TABLES:
        path = f"/{table.name}"
        rows = {"type": "array", "items": row_schema(table)}
        filters = query_parameters(table, filters=True)
        new = row_schema(table, table.insertable)
        _add(
            router, "GET", path, _on(rest.read, table, f"Read {table.name}."),
            answers({200: rows}, 400, 401, 500, 503, rest=True), {"parameters": filters, **secured},
        )  # fmt: skip
        _add(
            router, "POST", path, _on(rest.insert, table, f"Insert one or many {table.name}: all or none."),
            answers({201: None}, 400, 401, 409, 413, 500, 503, rest=True),
            {
                "parameters": [*query_parameters(table, filters=False), prefer_parameter()],
                **body({"anyOf": [new, {"type": "array", "items": new}]}),
                **secured,
            },
        )  # fmt: skip
        _add(
            router, "PATCH", path, _on(rest.update, table, f"Change the {table.name} that filters choose."),
            answers({200: rows, 204: None}, 400, 401, 409, 413, 500, 503, rest=True),
            {
                "parameters": [*filters, prefer_parameter()],
                **body(row_schema(table, table.updatable)),
                **secured,
            },
        )  # fmt: skip
        _add(
            router, "DELETE", path, _on(rest.delete, table, f"Delete the {table.name} that filters choose."),
            answers({200: rows, 204: None}, 400, 401, 409, 500, 503, rest=True),
            {"parameters": [*filters, prefer_parameter()], **secured},
        )  # fmt: skip
    for function in FUNCTIONS:
        success = {204: None} if function.returns == "void" else {200: {"type": ["object", "array"]}}
        _add(
            router, "POST", f"/rpc/{function.name}", _call(rest, function),
            answers(success, 400, 401, 404, 409, 413, 500, 503, rest=True),
            {**body(call_schema(function), required=bool(function.required)), **secured},
        )  # fmt: skip
    return router


def _on(serve: Callable[[Table, Request], Awaitable[Response]], table: Table, words: str) -> Handler:
    async def handler(request: Request) -> Response:
        return await serve(table, request)

    handler.__doc__ = words
    handler.__name__ = f"{serve.__name__}_{table.name}"
    return handler


def _call(rest: Rest, function: Function) -> Handler:
    async def handler(request: Request) -> Response:
        return await rest.call(function, request)

    handler.__doc__ = f"Call {function.name}."
    handler.__name__ = f"call_{function.name}"
    return handler


def _add(
    router: APIRouter,
    method: str,
    path: str,
    handler: Handler,
    responses: dict[int | str, dict[str, Any]],
    extra: dict[str, Any] | None = None,
) -> None:
    # Handlers read their requests themselves; what they read is described in `extra`.
    success = next(int(status) for status in responses if int(status) < 300)
    router.add_api_route(
        path,
        handler,
        methods=[method],
        status_code=success,
        response_class=Response,
        response_model=None,
        responses=responses,
        openapi_extra=extra,
    )
