"""The secrets that let callers in, and what becomes of calls without them: logged, counted, slowed down."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from typing import Final

from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from service.http.errors import ApiError, error_response
from service.logs import Throttled, get_logger
from service.metrics import Metrics
from service.settings import Settings

log = Throttled(get_logger(__name__))

#: Unauthorised calls that a client may make at once; beyond them so many a second are answered.
_FREE: Final = 20
_A_SECOND: Final = 20
#: The longest that an answer is held back, and how many may be at a time: they must not use up the service.
_LONGEST_S: Final = 1.0
_HELD: Final = 1_000
#: Clients that are remembered, those that called last.
_CLIENTS: Final = 10_000


class Unauthorised(ApiError):
    """A call lacks the right secret. The caller is not told whether it is missing or wrong.

    Parameters
    ----------
    header : where it belongs.
    wanted : what belongs there.
    given : whether anything was there.
    """

    def __init__(self, header: str, wanted: str, *, given: bool) -> None:
        super().__init__(
            401,
            "unauthorized",
            f"{wanted} is missing or wrong",
            field=header,
            headers={"WWW-Authenticate": 'Bearer realm="stormwatch"'},
        )
        self.header = header
        self.given = given


class Bearer(HTTPBearer):
    """Lets in who has one of the secrets as a bearer."""

    def __init__(self, wanted: str, secrets: list[bytes]) -> None:
        super().__init__(scheme_name="bearer", description="The service role key, or WATCH_SECRET to watch")
        self._wanted = f"Bearer <{wanted}>"
        self._secrets = secrets

    async def __call__(self, request: Request) -> None:  # type: ignore[override]  # nobody wants the secret
        self.check(request)

    def check(self, request: Request) -> None:
        """Raise Unauthorised if the secret is missing or wrong."""
        _check(_bearer(request), self._secrets, "Authorization", self._wanted)


class Open(Bearer):
    """Lets in everybody."""

    def check(self, request: Request) -> None:
        """Do nothing."""


class CronSecret(APIKeyHeader):
    """Lets in who has the cron secret."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(name="x-cron-secret", scheme_name="cron", description="The cron secret")
        self._secret = secret

    async def __call__(self, request: Request) -> None:  # type: ignore[override]  # nobody wants the secret
        given = request.headers.get("x-cron-secret", "")
        _check(given, [self._secret], "x-cron-secret", "<cron secret>")


class ApiKey(APIKeyHeader):
    """Lets in who has the service role key twice, as Supabase's gateway wants it."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(
            name="apikey",
            scheme_name="apikey",
            description="The service role key, also as Authorization: Bearer",
        )
        self._secret = secret

    async def __call__(self, request: Request) -> None:  # type: ignore[override]  # nobody wants the secret
        wanted = "<service role key>, also as Authorization: Bearer,"
        for given in (request.headers.get("apikey", ""), _bearer(request)):
            _check(given, [self._secret], "apikey", wanted)


class Keys:
    """The secrets as FastAPI's dependencies, which raise Unauthorised; compared in constant time."""

    def __init__(self, settings: Settings) -> None:
        role = settings.supabase_service_role_key.get_secret_value().encode()
        watch = [] if settings.watch_secret is None else [settings.watch_secret.get_secret_value().encode()]
        self.bearer = Bearer("service role key", [role])
        self.api = ApiKey(role)
        self.cron = CronSecret(settings.cron_secret.get_secret_value().encode())
        self.watch = (Open if settings.watch_open else Bearer)(
            "service role key or watch secret", [role, *watch]
        )


class UnauthorisedCalls:
    """Logs, counts and slows down unauthorised calls. Who has the right secret never waits.

    Parameters
    ----------
    clock : seconds, monotonic.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        #: Client -> when it would have made its calls if it had kept to the pace; those of now at the end.
        self._paced: dict[str, float] = {}
        self._held = 0

    async def answer(self, request: Request, error: Exception) -> Response:
        """Return the answer to an unauthorised call, when it is due (Starlette's exception handler)."""
        assert isinstance(error, Unauthorised)
        if not await self.note(request, error):
            error.headers["Connection"] = "close"
        return error_response(request.url.path, error)

    async def note(self, request: Request, error: Unauthorised) -> bool:
        """Log and count a call, and wait until it may be answered; False: too many wait already."""
        client = request.client.host if request.client else "unknown"
        route = getattr(request.scope.get("route"), "path", "(none)")
        self._metrics.refused(error.header)
        log.warning(
            "unauthorised call",
            client=client,
            call=f"{request.method} {route}",
            header=error.header,
            secret="wrong" if error.given else "missing",
        )
        delay_s = self.delay_s(client)
        if delay_s > 0:
            if self._held >= _HELD:
                return False
            self._held += 1
            try:
                await asyncio.sleep(delay_s)
            finally:
                self._held -= 1
        return True

    def delay_s(self, client: str) -> float:
        """Note a call of ``client``, and return how long its answer is held back."""
        now = self._clock()
        burst_s = _FREE / _A_SECOND
        paced = min(max(now, self._paced.pop(client, now)) + 1 / _A_SECOND, now + burst_s + _LONGEST_S)
        self._paced[client] = paced
        if len(self._paced) > _CLIENTS:
            del self._paced[next(iter(self._paced))]
        return round(max(0.0, paced - now - burst_s), 3)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check(given: str, secrets: list[bytes], header: str, wanted: str) -> None:
    # Headers come as Latin-1. All are compared, so that time tells nothing.
    found = [hmac.compare_digest(given.encode("latin-1", "replace"), secret) for secret in secrets]
    if not any(found):
        raise Unauthorised(header, f"{header}: {wanted}", given=bool(given))
