"""Looks at a target before the load starts: is it there, does it let us in, can it be driven?"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from gevent.event import Event
from locust.event import EventHook

from harness.load.api import Api, open_session
from harness.load.item import PlayedItem
from harness.load_options import LoadOptions
from harness.observe.looks import (
    IS_IT_UP,
    REFUSED,
    WRONG_KEY,
    TargetUnusable,
    asked,
    look_at_database,
    look_at_health,
    look_at_pubnub,
)
from harness.system import Refused, System, Ticks
from harness.system.cleaning import Cleaned
from harness.system.find import place_of
from harness.target import Action, Permission
from harness.target.client import Answer, words_of
from harness.target.marks import new_prefix

log = logging.getLogger(__name__)


def check_target(system: System) -> str | None:
    """Look at a target, without any effect on it; return what is ill with it, which does not prevent a run.

    Raises
    ------
    TargetUnusable
        It can't be reached, or is something else.
    """
    ill = look_at_health(system)
    look_at_pubnub(system)
    return ill


def check_drive(permission: Permission, system: System, options: LoadOptions) -> str | None:
    """Start an item as the load does, and remove it; call one tick where that is permitted.

    Nobody listens to it, and nothing is recorded of it. The database is looked at on the way.

    Returns
    -------
    What the target could not serve just now, which does not prevent a run; None if all was well.

    Raises
    ------
    TargetUnusable
        It refuses what the load is made of: the first call that is refused says which, and how. Or its
        database can't be read.
    SystemFileError
        A step of the system's file fails.
    ConsentError
        It may not be loaded.
    """
    permission.require(Action.LOAD)
    trial = _Trial(system, options)
    try:
        unserved = _unserved(trial.item)
    except BaseException:  # Ctrl-C too: what the trial made is removed
        if trial.api.may_have_made_something:
            remove_items(permission, type(system), trial.prefix)
        raise
    prefix = trial.prefix if trial.api.may_have_made_something else ""
    if left := look_at_database(system, permission, prefix):
        log.warning("of a first item that was tried: %s", left)
    if Action.TICK in permission and isinstance(system, Ticks):
        _check_tick(system, system)
    return unserved


def remove_items(permission: Permission, system: type[System], prefix: str) -> Cleaned:
    """Remove what a run has made, in a process of its own: asyncio can't live beside gevent."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.system.cleaning", place_of(system), prefix],
            env={**os.environ, **permission.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except OSError as error:
        return Cleaned(prefix, {}, f"nothing could be removed: {error.strerror}")
    if done.returncode != 0:
        return Cleaned(prefix, {}, f"nothing could be removed: {' '.join(done.stderr.split())}")
    return Cleaned(**json.loads(done.stdout))


def _unserved(item: PlayedItem) -> str | None:
    """Start an item; return the call that could not be served, if that may pass by itself."""
    try:
        item.start()
    except _NotServed as failed:
        answer, told = failed.answer, failed.answer.told(failed.name)
    except Refused as refused:
        raise TargetUnusable(f"this target can't be driven: {refused}") from refused
    else:
        return None
    if answer.status is None:
        raise TargetUnusable(f"{told}; {IS_IT_UP}")
    if answer.status >= 500 or answer.status == 429:
        return told
    if answer.status in REFUSED:
        raise TargetUnusable(f"this target can't be driven: {told}: {WRONG_KEY}")
    raise TargetUnusable(f"this target can't be driven: {told}")


def _check_tick(system: System, ticks: Ticks) -> None:
    call, target = ticks.tick(), system.target
    status, answer = asked(target.service_url, call)
    where = f"{call.method} {target.service_url}{call.path} answered {status}{words_of(answer)}"
    if status in REFUSED:
        unset = f"is not set, and {Action.TICK.setting} has this run tick"
        wrong = "is not the right one" if target.cron_secret else unset
        raise TargetUnusable(
            f"{where}: CRON_SECRET {wrong}, or a gateway in front of it wants an Authorization header too"
        )
    if 400 <= status < 500 and status != 429:
        raise TargetUnusable(f"this target can't be driven: {where}")


class _NotServed(Refused):
    """A call of the trial did not come to what it should; the trial ends with it."""

    def __init__(self, answer: Answer, name: str) -> None:
        super().__init__(name)
        self.answer = answer
        self.name = name


class _TrialApi(Api):
    """Calls the system once, records nothing, and ends the trial with the first call that is not served."""

    may_have_made_something = False

    def call(self, method: str, path: str, body: Any = None, *, actor: str, **options: Any) -> Answer:
        """Call; raises :class:`_NotServed`."""
        name = f"{method} {options.get('route') or path}"
        expect = options.get("expect", (200,))
        answer = self.send(
            method, path, name, options["headers"], body, expect=expect, check=options.get("check")
        )
        refused = answer.status is None or 400 <= answer.status < 500
        self.may_have_made_something |= not refused
        if not answer.ok:
            raise _NotServed(answer, name)
        return answer


class _Trial:
    """A run of one item, to which nobody listens."""

    def __init__(self, system: System, options: LoadOptions) -> None:
        self.prefix = new_prefix()
        self.system = system
        self.options = options
        self.subscribers = _Nobody()
        self.draining = Event()
        self.api = _TrialApi(open_session(system.target.service_url, EventHook()), None)
        self.item = PlayedItem(self, self.api, "check", 1)

    def item_id(self, slot: str, number: int) -> str:
        """Return the id of its item."""
        return f"{self.prefix}{slot}-{number}"

    def first_known(self, id: str, mark: str) -> bool:
        """Take any id: there is only one item."""
        return True

    def chance(self, *of: object) -> random.Random:
        """Return its dice."""
        return random.Random(str(of))  # noqa: S311 - nothing secret


class _Nobody:
    """Players who do not listen."""

    def subscribe(
        self, game: str, players: Mapping[str, Mapping[str, str]], on_phase: Callable[[str], None]
    ) -> int:
        """Have nobody listen."""
        return 0

    def over(self, game: str) -> None:
        """Nobody listens."""
