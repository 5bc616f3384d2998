"""The service: builds its components, starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service import VERSION
from service.alerts.engine import Alerts
from service.alerts.rules import load_rules
from service.alerts.sinks import configured_sinks
from service.breaker import Breaker, State
from service.broadcast import Broadcaster
from service.database import GONE, Database, DatabaseUnavailable, connect
from service.dead_letters import DeadLetters
from service.flags import Flags
from service.health import Health
from service.http.errors import ApiError, error_response
from service.http.keys import Keys, Unauthorised, UnauthorisedCalls
from service.http.observe import Observe, as_api_error
from service.http.requests import BODY_LIMIT
from service.lag import LoopLag
from service.logs import get_logger
from service.metrics import Metrics
from service.migrate import migrate
from service.monitor import Monitor
from service.publisher import Publisher
from service.relay import Relay
from service.rest.endpoint import Rest
from service.routes import function_routes, rest_routes, tick_route, timer_route, watch_routes
from service.schedule import Schedule
from service.settings import Settings
from service.statements import statement
from service.timer import Timer

log = get_logger(__name__)

_READ_EVERY_S: Final = 1.0
_RETRY_S: Final = 0.25
#: Answers of a database that waiting does not change.
_REFUSES: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class StartError(Exception):
    """The service can't start; the message names what is missing and the way out."""


class Service:
    """One process of the service.

    Raises
    ------
    SettingsError
        The alert rules are malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = metrics = Metrics()
        self.flags = Flags(settings)
        self.flags.look()
        self.database = Database(
            settings.database_url.get_secret_value(),
            size=settings.pool_size,
            timeout_s=settings.database_timeout,
        )
        metrics.watch_pool(self.database)
        self.breaker = Breaker(
            failures=settings.breaker_failures,
            open_s=settings.breaker_open,
            open_max_s=settings.breaker_open_max,
            changed=self._breaker_changed,
        )
        self.publisher = Publisher(settings, self.breaker, metrics)
        self.relay = Relay(settings, self.publisher, self.flags, metrics)
        self.monitor = Monitor(settings, self.database, self.flags, metrics)
        self.schedule = Schedule(settings, self.monitor)
        self.alerts = Alerts(
            load_rules(settings.alerts_file),
            metrics,
            configured_sinks(settings),
            environment=settings.environment,
            instance=f"{platform.node()}-{os.getpid()}",
        )
        self._lag = LoopLag(metrics.loop_lag)
        self.health = Health(self.database, self.publisher, self._trouble, self._lag.worst_s)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Migrate, connect and begin to work.

        Raises
        ------
        StartError
            The database does not answer.
        """
        settings = self.settings
        if settings.migrate_at_start:
            await wait_and_migrate(settings)
        await self.database.open()
        await self.publisher.open()
        self._spawn("relay", self.relay.run())
        self._spawn("flags", self.flags.follow())
        self._spawn("alerts", self.alerts.run())
        self._spawn("readings", self._read())
        self._spawn("lag", self._lag.measure())
        if settings.enable_schedule:
            self._spawn("schedule", self.schedule.run())

    async def stop(self) -> None:
        """Finish what is in flight within the limit, then close all connections."""
        self._stopping = True
        limit_s = self.settings.shutdown_limit
        relay = self._tasks.pop("relay", None)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.relay.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await asyncio.gather(
                    self.schedule.finish(limit_s),
                    self.alerts.finish(limit_s / 2),
                    *([] if relay is None else [relay]),
                    return_exceptions=True,
                )
        await self.publisher.close()
        await self.database.close(within_s=2.0)
        log.info("stopped")

    def application(self) -> FastAPI:
        """Return the ASGI application; it starts and stops the service."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            await self.start()
            try:
                yield
            finally:
                await self.stop()

        app = FastAPI(
            title="Stormwatch reference service",
            description="Timer monitoring and broadcasting for a drawing game.",
            version=VERSION,
            lifespan=lifespan,
            telemetry={"tracing": False, "metrics": False, "logs": False},
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            max_body_size=BODY_LIMIT,
            generate_unique_id_function=lambda route: route.name,
        )
        self._serve(app)
        app.add_exception_handler(ApiError, _answer_error)
        app.add_exception_handler(DatabaseUnavailable, _answer_error)
        app.add_exception_handler(HTTPException, _answer_http_error)
        app.add_middleware(Observe, metrics=self.metrics)
        return app

    def _serve(self, app: FastAPI) -> None:
        """Add the routes, and what becomes of calls without their secret."""
        keys = Keys(self.settings)
        unauthorised = UnauthorisedCalls(self.metrics)
        broadcaster = Broadcaster(self.publisher, self.flags)
        for routes in (
            # First: routes are tried in their order.
            timer_route(keys, Timer(self.database)),
            function_routes(keys, broadcaster, DeadLetters(self.database), self.flags),
            tick_route(keys, self.settings.environment, self.monitor),
            rest_routes(keys, Rest(self.database)),
            watch_routes(keys, unauthorised, self.health, self.metrics, self.alerts),
        ):
            app.include_router(routes)
        app.add_exception_handler(Unauthorised, unauthorised.answer)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.critical("a background task ended", task=name, exc_info=error)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        self._tasks[name] = task

    def _trouble(self) -> str | None:
        if self._stopping:
            return "the service is stopping"
        ended = [name for name, task in self._tasks.items() if task.done()]
        return f"{ended[0]} has ended" if ended else None

    def _breaker_changed(self, state: State) -> None:
        self.metrics.breaker_state.set(int(state))
        log.warning("circuit breaker", state=state.word)

    async def _read(self) -> None:
        """Read from the database what the metrics show of it."""
        while True:
            try:
                async with self.database.connection(limit_s=self.settings.database_timeout) as connection:
                    row = await connection.fetchrow(statement("outbox_readings"))
            except (DatabaseUnavailable, asyncpg.PostgresError) as error:
                log.warning("the outbox can't be read", error=str(error))
            else:
                self.metrics.outbox_depth.set(row["depth"])
                self.metrics.outbox_age.set(row["age_s"])
                self.metrics.dead_letters.set(row["dead_letters"])
            await asyncio.sleep(_READ_EVERY_S)


async def wait_and_migrate(settings: Settings) -> list[str]:
    """Wait for the database, migrate it and return what was applied.

    Raises
    ------
    StartError
        It does not answer within ``DATABASE_WAIT``.
    MigrationError
        Its migrations are not ours.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.database_wait
    while True:
        try:
            connection = await connect(
                settings.database_url.get_secret_value(), "migrate", timeout_s=settings.database_timeout
            )
        except _REFUSES as error:
            raise StartError(f"DATABASE_URL is refused by the database: {type(error).__name__}") from error
        except (*GONE, asyncpg.PostgresError) as error:
            if loop.time() >= deadline:
                raise StartError(
                    f"DATABASE_URL: no database answers within {settings.database_wait:g} s "
                    f"({type(error).__name__}); start it, or correct the address"
                ) from error
            await asyncio.sleep(_RETRY_S)
            continue
        try:
            return await migrate(connection)
        finally:
            connection.terminate()


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(request.url.path, as_api_error(error))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = {
        404: ("not_found", f"there is nothing at {request.url.path[:200]}"),
        405: ("wrong_method", f"{request.method[:20]} is not served at {request.url.path[:200]}"),
        413: ("too_large", "the body is too large"),
    }.get(error.status_code, ("http_error", str(error.detail)))
    headers = dict(error.headers or {}) | ({"Connection": "close"} if error.status_code == 413 else {})
    return error_response(request.url.path, ApiError(error.status_code, code, message, headers=headers))
