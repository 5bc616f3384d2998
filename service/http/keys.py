"""The secrets that let callers in, and what becomes of calls without them: logged, counted, slowed down."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from typing import Final

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


class Keys:
    """The secrets, compared in constant time."""

    def __init__(self, settings: Settings) -> None:
        self._service_role_key = settings.supabase_service_role_key.get_secret_value().encode()
        self._cron_secret = settings.cron_secret.get_secret_value().encode()
        watch = settings.watch_secret
        self._watch_secrets = [self._service_role_key]
        if watch is not None:
            self._watch_secrets.append(watch.get_secret_value().encode())
        self._watch_open = settings.watch_open

    def check_bearer(self, request: Request) -> None:
        """Let in who has the service role key.

        Raises
        ------
        Unauthorised
            It is missing or wrong.
        """
        _check(_bearer(request), [self._service_role_key], "Authorization", "Bearer <service role key>")

    def check_apikey(self, request: Request) -> None:
        """Let in who has the service role key twice, as Supabase's gateway wants it.

        Raises
        ------
        Unauthorised
            It is missing or wrong.
        """
        wanted = "<service role key>, also as Authorization: Bearer,"
        for given in (request.headers.get("apikey", ""), _bearer(request)):
            _check(given, [self._service_role_key], "apikey", wanted)

    def check_cron(self, request: Request) -> None:
        """Let in who has the cron secret.

        Raises
        ------
        Unauthorised
            It is missing or wrong.
        """
        given = request.headers.get("x-cron-secret", "")
        _check(given, [self._cron_secret], "x-cron-secret", "<cron secret>")

    def check_watch(self, request: Request) -> None:
        """Let in who may watch the service: with the service role key or ``WATCH_SECRET``; or anybody.

        Raises
        ------
        Unauthorised
            It is missing or wrong, and ``WATCH_OPEN`` is not set.
        """
        if not self._watch_open:
            wanted = "Bearer <service role key or watch secret>"
            _check(_bearer(request), self._watch_secrets, "Authorization", wanted)


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
