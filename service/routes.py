"""The service's endpoints: which path is served by whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from service.alerts.engine import Alerts
from service.broadcast import Broadcaster
from service.dead_letters import DeadLetters, ReplayRequest
from service.events import Event
from service.flags import Flags
from service.health import Health
from service.http.errors import ErrorAnswer, RestErrorAnswer, described_errors, json_response
from service.http.keys import Keys, Unauthorised, UnauthorisedCalls
from service.http.requests import EVENT_LIMIT, body_of, described_body, parse_json, validate
from service.logs import get_logger, request_id
from service.metrics import CONTENT_TYPE, Metrics
from service.monitor import Monitor, TickFailed, TickTimeout, TickUnavailable
from service.rest.endpoint import Rest
from service.rest.tables import FUNCTIONS, TABLES, Function, Table
from service.timer import Timer, TimerRequest

log = get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
Object = dict[str, Any]
EventBody = Annotated[Event, body_of(Event)]
ReplayBody = Annotated[ReplayRequest, body_of(ReplayRequest)]


class TickAnswer(BaseModel):
    """The body of ``monitor-game-timers``."""

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


class DirectRoute(APIRoute):
    """A route without FastAPI's solving of dependencies, which doubles the CPU time of a small request.

    Its own ``dependencies`` and its handler are called with the request, and nothing else.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        checks = [depends.dependency for depends in self.dependencies]

        async def answer(request: Request) -> Response:
            for check in checks:
                assert check is not None
                await check(request)
            response: Response = await self.endpoint(request)
            return response

        return answer


def timer_route(keys: Keys, timer: Timer) -> APIRouter:
    """Return the route that players ask all the time."""
    router = APIRouter(prefix="/functions/v1", route_class=DirectRoute)

    @router.post(
        "/get-game-timer",
        response_model=Object,
        dependencies=[Depends(keys.bearer)],
        responses=described_errors(400, 401, 404, 413, 500, 503),
        openapi_extra=described_body(TimerRequest),
    )
    async def get_game_timer(request: Request) -> Response:
        """Return what is left of a game's phase."""
        body = validate(TimerRequest, parse_json(await request.body()))
        return Response(await timer.of(body.gameId), media_type="application/json")

    return router


def tick_route(keys: Keys, environment: str, monitor: Monitor) -> APIRouter:
    """Return the route of a tick."""
    router = APIRouter(prefix="/functions/v1", dependencies=[Depends(keys.cron)])

    @router.post(
        "/monitor-game-timers",
        response_model=TickAnswer,
        responses=described_errors(401, 413)
        | described_errors(500, 503, 504, model=TickAnswer | ErrorAnswer),
    )
    async def monitor_game_timers(request: Request) -> Response:
        """Move every game whose phase is over. Any body is ignored."""
        await request.body()
        current = str(request_id.get())
        try:
            tick = await monitor.tick(current)
        except TickFailed as error:
            log.warning("a tick failed", error=str(error), ms=round(error.tick.execution_s * 1000, 1))
            statuses = {TickTimeout: 504, TickUnavailable: 503}
            status = statuses.get(type(error), 500)
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

    return router


def function_routes(
    keys: Keys, broadcaster: Broadcaster, dead_letters: DeadLetters, flags: Flags
) -> APIRouter:
    """Return the other routes under ``/functions/v1``."""
    router = APIRouter(
        prefix="/functions/v1", dependencies=[Depends(keys.bearer)], responses=described_errors(401, 500)
    )

    @router.post(
        "/broadcast-pubnub-event",
        response_model=Object,
        responses=described_errors(400, 413, 502, 503),
        openapi_extra=described_body(Event),
        max_body_size=EVENT_LIMIT,
    )
    async def broadcast_pubnub_event(event: EventBody) -> Response:
        """Publish an event now, and answer with PubNub's timetokens."""
        return json_response(await broadcaster.broadcast(event, str(request_id.get())))

    @router.post(
        "/replay-dead-letters",
        response_model=Object,
        responses=described_errors(400, 413, 503),
        openapi_extra=described_body(ReplayRequest),
    )
    async def replay_dead_letters(body: ReplayBody) -> Response:
        """Put dead letters back into the outbox: those named, those of a game, or the oldest."""
        return json_response(await dead_letters.replay(body))

    @router.get("/dead-letters", response_model=Object, responses=described_errors(503))
    async def list_dead_letters() -> Response:
        """Return the dead letters that wait, the oldest first."""
        return json_response(await dead_letters.waiting())

    @router.get("/feature-flags", response_model=Object)
    async def feature_flags() -> Response:
        """Return the feature flags as they are now."""
        return json_response({"flags": flags.now.as_dict()})

    return router


_METRICS: dict[int | str, Object] = described_errors(401) | {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


def watch_routes(
    keys: Keys, unauthorised: UnauthorisedCalls, health: Health, metrics: Metrics, alerts: Alerts
) -> APIRouter:
    """Return the routes that watch the service; without the secret they tell only what is healthy."""
    router = APIRouter()
    secured = [Depends(keys.watch)]

    @router.get(
        "/health",
        response_model=Object,
        responses=described_errors(503, model=Object),
        openapi_extra={"security": [{}, {"bearer": []}]},
    )
    async def show_health(request: Request) -> Response:
        """Tell whether the database, PubNub and the functions are healthy; with the secret, also why."""
        details = True
        try:
            keys.watch.check(request)
        except Unauthorised as error:
            details = False
            if error.given:  # whoever guesses the secret here is slowed down as elsewhere
                await unauthorised.note(request, error)
        healthy, answer = await health.answer(details=details)
        return json_response(answer, 200 if healthy else 503)

    @router.get("/metrics", response_class=Response, dependencies=secured, responses=_METRICS)
    async def show_metrics() -> Response:
        """Return all metrics in Prometheus's text format."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    @router.get("/alerts", response_model=Object, dependencies=secured, responses=described_errors(401))
    async def show_alerts() -> Response:
        """Return the alert rules, their readings and which are raised."""
        return json_response(alerts.answer())

    return router


def rest_routes(keys: Keys, rest: Rest) -> APIRouter:
    """Return the routes under ``/rest/v1``."""
    router = APIRouter(
        prefix="/rest/v1",
        dependencies=[Depends(keys.api)],
        responses=described_errors(400, 401, 409, 413, 500, 503, model=RestErrorAnswer),
    )
    for table in TABLES:
        _add_table(router, rest, table)
    for function in FUNCTIONS:
        nothing = function.returns == "void"
        router.add_api_route(
            f"/rpc/{function.name}",
            _call(rest, function),
            methods=["POST"],
            status_code=204 if nothing else 200,
            response_model=None if nothing else Object | list[Object],
            responses=described_errors(404, model=RestErrorAnswer),
            openapi_extra=described_body(function.model(), required=bool(function.required)),
        )
    return router


def _add_table(router: APIRouter, rest: Rest, table: Table) -> None:
    rows: Any = list[table.model("row_of")]  # type: ignore[misc]  # a model made here
    new, changes = table.model("new", table.insertable), table.model("changed", table.updatable)
    filters, prefer = _parameters(table, filters=True), _PREFER
    done: dict[int | str, Object] = {204: {"description": "Done, nothing to tell"}}
    path = f"/{table.name}"
    router.add_api_route(
        path,
        _on(rest.read, table, f"Read {table.name}."),
        response_model=rows,
        openapi_extra={"parameters": filters},
    )
    router.add_api_route(
        path,
        _on(rest.insert, table, f"Insert one or many {table.name}: all or none."),
        methods=["POST"],
        status_code=201,
        response_model=rows,
        openapi_extra={"parameters": [*_parameters(table, filters=False), prefer]}
        | described_body(new, list[new]),  # type: ignore[valid-type]  # a model made here
    )
    router.add_api_route(
        path,
        _on(rest.update, table, f"Change the {table.name} that filters choose."),
        methods=["PATCH"],
        response_model=rows,
        responses=done,
        openapi_extra={"parameters": [*filters, prefer]} | described_body(changes),
    )
    router.add_api_route(
        path,
        _on(rest.delete, table, f"Delete the {table.name} that filters choose."),
        methods=["DELETE"],
        response_model=rows,
        responses=done,
        openapi_extra={"parameters": [*filters, prefer]},
    )


#: The header that asks for the written rows.
_PREFER: Object = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "enum": ["return=representation", "return=minimal"]},
}


def _parameters(table: Table, *, filters: bool) -> list[Object]:
    """Describe the query parameters of a table's routes."""
    number = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
    described = {
        "select": ("Columns, with commas between", {"type": "string"}),
        "order": ("Columns with .asc or .desc, with commas between", {"type": "string"}),
        "limit": ("Rows, at most", number),
        "offset": ("Rows to leave out first", number),
    }
    if filters:
        described |= {name: (f"Filter such as {name}=eq.x", {"type": "string"}) for name in table.columns}
    return [
        {"name": name, "in": "query", "description": words, "schema": schema}
        for name, (words, schema) in described.items()
    ]


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
