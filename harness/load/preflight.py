"""Looks at a target before the load starts: is it there, does it let us in?"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from gevent import subprocess
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook

from harness.observe.errors import name_of
from harness.target import Target

_LIMIT_S: Final = 10.0
_REFUSED: Final = frozenset({401, 403})


class TargetUnusable(Exception):
    """The target can't be driven; the message names the address or setting, and the way out."""


def check_target(target: Target) -> list[str]:
    """Return what is already ill with the target (parts of its health), which does not prevent a run.

    Raises
    ------
    TargetUnusable
        It can't be reached, is something else, or refuses our keys.
    """
    service = _session(target.service_url)
    status, health = _ask(
        service,
        "GET",
        "/health",
        {},
        f"no service at {target.service_url}",
        "give its address with --host or SUPABASE_URL",
    )
    if status not in {200, 503} or not isinstance(health, dict):
        raise TargetUnusable(
            f"{target.service_url}/health answered http {status}, not a health report; "
            "give the service's base address with --host or SUPABASE_URL"
        )
    key = {"apikey": target.service_role_key, "Authorization": f"Bearer {target.service_role_key}"}
    secret = {"x-cron-secret": target.cron_secret}
    for name, method, path, headers in (
        ("SUPABASE_SERVICE_ROLE_KEY", "GET", "/rest/v1/games?select=id&limit=1", key),
        ("CRON_SECRET", "POST", "/functions/v1/monitor-game-timers", secret),
    ):
        status, _ = _ask(
            service, method, path, headers, f"{target.service_url}{path} can't be called", "is it up?"
        )
        if status in _REFUSED:
            raise TargetUnusable(
                f"{name} was refused by {target.service_url} (http {status}); set the right one"
            )
    pubnub = _session(target.pubnub_origin)
    _ask(pubnub, "GET", "/time/0", {}, f"no PubNub at {target.pubnub_origin}", "set PUBNUB_ORIGIN")
    if target.database_url is not None:
        _see_that_it_can_be_read(target.database_url)
    checks = health.get("checks")
    parts = checks.items() if isinstance(checks, dict) else ()
    return sorted(name for name, check in parts if not (isinstance(check, dict) and check.get("healthy")))


def _see_that_it_can_be_read(database_url: str) -> None:
    # In a process of its own: asyncio can't live beside gevent.
    looked = subprocess.run(
        [sys.executable, "-m", "harness.observe.database"],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if looked.returncode != 0:
        why = (looked.stderr.strip() or "no reason given").splitlines()[-1]
        raise TargetUnusable(f"DATABASE_URL can't be read: {why}; set it right, or leave it out")


def _session(url: str) -> FastHttpSession:
    # An event hook of its own: these calls are no part of Locust's statistics.
    return FastHttpSession(
        url, EventHook(), user=None, network_timeout=_LIMIT_S, connection_timeout=_LIMIT_S, max_retries=0
    )


def _ask(
    session: FastHttpSession, method: str, path: str, headers: dict[str, str], trouble: str, way_out: str
) -> tuple[int, object]:
    body: dict[str, object] | None = {} if method == "POST" else None
    response = session.request(method, path, json=body, headers=headers)
    if not response.status_code:
        error = getattr(response, "error", None)
        raise TargetUnusable(f"{trouble}: {name_of(error) if error else 'no answer'}; {way_out}")
    try:
        return response.status_code, json.loads(response.content or b"null")
    except ValueError:
        return response.status_code, None
