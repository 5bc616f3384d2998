"""Looks at a target without any effect on it: is it there, does it let us in, can it be read?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any, Final

from harness.observe.database import why_unreadable
from harness.system import Call, FindsLeftovers, HasHealth, OnPubNub, System, Unreadable, find_system
from harness.system.cleaning import CleaningError, clean, marks_left
from harness.system.find import place_of, step_of
from harness.system.optional import told_ill
from harness.target import Action, Permission, Target
from harness.target.client import look, words_of
from harness.target.consent import ask
from harness.target.marks import prefix_of

_LIMIT_S: Final = 10.0
#: Statuses that refuse a key.
REFUSED: Final = frozenset({401, 403})
#: What a refused key may mean.
WRONG_KEY: Final = (
    "SUPABASE_SERVICE_ROLE_KEY is not the right one or not set, or a gateway in front wants another header"
)
#: What no answer may mean.
IS_IT_UP: Final = "is it up, and is this its address? (--host or SUPABASE_URL)"


class TargetUnusable(Exception):
    """The target can't be driven; the message names what was asked, what came, and the possible causes."""


def look_at_health(system: System) -> str | None:
    """Return the parts that the system calls ill; None: all are well, or it does not tell.

    Raises
    ------
    TargetUnusable
        It can't be reached, or is something else.
    """
    if not isinstance(system, HasHealth):
        return None
    call, base = system.health(), system.target.service_url
    status, body = asked(base, call, cause=IS_IT_UP)
    try:
        with step_of(system, "ill", Unreadable):
            return told_ill(system, status, body)
    except Unreadable as error:
        raise TargetUnusable(
            f"{call.method} {base}{call.path} answered {status}{words_of(body)}, not a health report: this "
            "is not the service's base address (--host or SUPABASE_URL), or it has no such page"
        ) from error


def earlier_runs(system: System) -> list[str] | None:
    """Return the prefixes of runs whose items are still there, as its API tells; None: it can't tell.

    Raises
    ------
    TargetUnusable
        It refuses our keys, or does not answer.
    """
    if not isinstance(system, FindsLeftovers):
        return None
    try:
        return sorted({str(prefix_of(mark)) for mark, _ in marks_left(system, system)})
    except CleaningError as error:
        refused = any(f"answered {status}" in str(error) for status in REFUSED)
        raise TargetUnusable(f"{error}: {WRONG_KEY}" if refused else str(error)) from error


def look_at_pubnub(system: System) -> None:
    """See that PubNub is there, where players listen on it; raises :class:`TargetUnusable`."""
    if not isinstance(system, OnPubNub):
        return
    if not system.target.pubnub_subscribe_key:
        raise TargetUnusable(f"not set: PUBNUB_SUBSCRIBE_KEY; players of {system.name} listen on PubNub")
    asked(system.target.pubnub_origin, Call("GET", "/time/0"), cause="is PUBNUB_ORIGIN PubNub's address?")


def look_at_database(system: System, trial: Permission | None = None, prefix: str = "") -> str:
    """See that the witness can read its database, if that is known; remove a trial's item first.

    In one process of its own: asyncio can't live beside gevent, and to start two takes as long again.

    Parameters
    ----------
    trial : permission to load; None: there was no trial.
    prefix : of its item; empty: it made nothing.

    Returns
    -------
    What of the trial could not be removed, and why; empty: nothing is left.

    Raises
    ------
    TargetUnusable
        It can't be read.
    """
    target = system.target
    if target.database_url is None and not prefix:
        return ""
    looked = subprocess.run(
        [sys.executable, "-m", "harness.observe.looks", place_of(type(system)), prefix],
        env={**os.environ, **(trial.environment() if trial else target.environment())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if looked.returncode != 0:
        why = " ".join(looked.stderr.split()) or "no reason given"
        raise TargetUnusable(f"DATABASE_URL can't be read: {why}; set it right, or leave it out")
    return looked.stdout.strip()


def asked(base: str, call: Call, *, cause: str = "is it up?") -> tuple[int, Any]:
    """Return the status and the body of an answer.

    Raises
    ------
    TargetUnusable
        There was none; the message ends with the possible ``cause``.
    """
    try:
        return look(call.method, f"{base}{call.path}", body=call.body, headers=call.headers, limit_s=_LIMIT_S)
    except ConnectionError as error:
        path = call.path.partition("?")[0]
        raise TargetUnusable(f"{call.method} {base}{path}: {error}; {cause}") from error


def main(named: str, prefix: str) -> None:
    """Remove the item of a trial, if there was one, and exit with why the database can't be read."""
    system, target = find_system(named), Target.from_environment()
    if prefix:
        cleaned = clean(ask(target, [Action.LOAD], say=lambda _: None), system, prefix)
        print(cleaned.left or "")
    if target.database_url is not None:
        sys.exit(asyncio.run(why_unreadable(target.database_url, system)))


if __name__ == "__main__":
    main(*sys.argv[1:])
