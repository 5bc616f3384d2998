"""Looks at a target before the load starts: is it there, does it let us in, can it be driven?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from gevent import subprocess

from harness.system import Ticks, find_system
from harness.system.cleaning import Cleaned
from harness.target import Action, Permission, Target
from harness.target.client import look
from harness.target.marks import new_prefix, prefix_of

_LIMIT_S: Final = 10.0
_REFUSED: Final = frozenset({401, 403})
_GAMES: Final = "/rest/v1/games"
_PLAYERS: Final = "/rest/v1/game_participants"
_TIMER: Final = "/functions/v1/get-game-timer"
#: Of an answer that says what is wrong, so much is shown.
_SHOWN: Final = 300


class TargetUnusable(Exception):
    """The target can't be driven; the message names what was asked, what came, and the possible causes."""


def check_target(target: Target) -> list[str]:
    """Look at a target, without any effect on it; return what is ill with it, which does not prevent a run.

    Raises
    ------
    TargetUnusable
        It can't be reached, is something else, or refuses our keys.
    """
    service = target.service_url
    status, health = _ask(
        "GET", service, "/health", cause="is it up, and is this its address? (--host or SUPABASE_URL)"
    )
    if status not in {200, 503} or not isinstance(health, dict):
        raise TargetUnusable(
            f"GET {target.service_url}/health answered {status}{_words(health)}, not a health report: "
            "this is not the service's base address (--host or SUPABASE_URL), or it has no such page"
        )
    status, body = _ask("GET", service, f"{_GAMES}?select=id&limit=1", _keys(target))
    if status in _REFUSED:
        raise TargetUnusable(
            f"GET {target.service_url}{_GAMES} answered {status}{_words(body)}: SUPABASE_SERVICE_ROLE_KEY "
            "is not the right one, or a gateway in front of it wants another header"
        )
    _ask("GET", target.pubnub_origin, "/time/0", cause="is PUBNUB_ORIGIN PubNub's address?")
    if target.database_url is not None:
        _see_that_it_can_be_read(target.database_url)
    checks = health.get("checks")
    parts = checks.items() if isinstance(checks, dict) else ()
    return sorted(name for name, check in parts if not (isinstance(check, dict) and check.get("healthy")))


def check_drive(permission: Permission) -> str | None:
    """Make a game, seat a player, ask for the timer, remove it all; call one tick where that is permitted.

    Returns
    -------
    What the target could not serve just now, which does not prevent a run; None if all was well.

    Raises
    ------
    TargetUnusable
        It refuses the calls that the load is made of: their dialect is not its own.
    ConsentError
        It may not be loaded.
    """
    permission.require(Action.LOAD)
    target = permission.target
    service, keys = target.service_url, _keys(target)
    game = f"{new_prefix()}check"
    row = {
        "id": game,
        "prompt": "A lighthouse in a storm",
        "max_players": 2,
        "briefing_duration_s": 60,
        "drawing_duration_s": 60,
        "voting_duration_s": 60,
    }
    steps: list[tuple[str, str, Any, tuple[int, ...]]] = [
        ("POST", _GAMES, row, (201,)),
        ("POST", _PLAYERS, {"game_id": game, "user_id": f"{game}-player"}, (201,)),
        ("GET", f"{_GAMES}?id=eq.{game}&select=id,status", None, (200,)),
        ("POST", _TIMER, {"gameId": game}, (200,)),
    ]
    unserved = None
    try:
        for method, path, body, expected in steps:
            status, answer = _ask(method, service, path, keys, body)
            where = f"{method} {path.partition('?')[0]} answered {status}{_words(answer)}"
            if status >= 500 or status == 429:
                unserved = where
                break
            if status not in expected:
                raise TargetUnusable(f"this target can't be driven: {where}")
    finally:
        _ask("DELETE", service, f"{_GAMES}?id=eq.{game}", keys)
    if Action.TICK in permission:
        _check_tick(service, target)
    return unserved


def _check_tick(service: str, target: Target) -> None:
    if not target.cron_secret:
        raise TargetUnusable(f"CRON_SECRET is not set, and {Action.TICK.setting} has this run tick")
    system = find_system()(target)
    if not isinstance(system, Ticks):
        return
    call = system.tick()
    status, answer = _ask(call.method, service, call.path, dict(call.headers), call.body)
    where = f"{call.method} {target.service_url}{call.path} answered {status}{_words(answer)}"
    if status in _REFUSED:
        raise TargetUnusable(
            f"{where}: CRON_SECRET is not the right one, or a gateway in front of it wants an Authorization "
            "header too"
        )
    if 400 <= status < 500 and status != 429:
        raise TargetUnusable(f"this target can't be driven: {where}")


def earlier_runs(target: Target) -> list[str]:
    """Return the prefixes of runs whose games are still on the target. Changes nothing."""
    path = f"{_GAMES}?id=like.sw*&select=id"
    _, rows = _ask("GET", target.service_url, path, _keys(target))
    ids = [str(row.get("id")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return sorted({prefix for id in ids if (prefix := prefix_of(id))})


def remove_games(permission: Permission, prefix: str) -> Cleaned:
    """Remove a run's games from the target, in a process of its own: asyncio can't live beside gevent."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.system.cleaning", prefix],
            env={**os.environ, **permission.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    except OSError as error:
        return Cleaned(prefix, {}, f"nothing could be removed: {error.strerror}")
    if done.returncode != 0:
        return Cleaned(prefix, {}, f"nothing could be removed: {' '.join(done.stderr.split())}")
    return Cleaned(**json.loads(done.stdout))


def _see_that_it_can_be_read(database_url: str) -> None:
    # In a process of its own: asyncio can't live beside gevent.
    looked = subprocess.run(
        [sys.executable, "-m", "harness.observe.database"],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if looked.returncode != 0:
        why = " ".join(looked.stderr.split()) or "no reason given"
        raise TargetUnusable(f"DATABASE_URL can't be read: {why}; set it right, or leave it out")


def _keys(target: Target) -> dict[str, str]:
    return {**target.keys, "Prefer": "return=representation"}


def _words(answer: object) -> str:
    """Return what an answer says of what is wrong, to stand behind its status."""
    if isinstance(answer, dict):
        answer = answer.get("message") or answer.get("error") or json.dumps(answer)
    text = " ".join(str(answer).split()) if answer else ""
    return f": {text[:_SHOWN]}" if text else ""


def _ask(
    method: str,
    base: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    *,
    cause: str = "is it up?",
) -> tuple[int, Any]:
    """Return the status and the body of an answer.

    Raises
    ------
    TargetUnusable
        There was no answer; the message ends with the possible ``cause``.
    """
    try:
        return look(method, f"{base}{path}", body=body, headers=headers, limit_s=_LIMIT_S)
    except ConnectionError as error:
        raise TargetUnusable(f"{method} {base}{path.partition('?')[0]}: {error}; {cause}") from error
