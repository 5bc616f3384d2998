"""Looks at a deployment that take a call or two: health, a tick, secrets, migrations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from harness.documents.smoke import SmokeRow
from harness.documents.verdict import NOT_APPLICABLE, RowVerdict
from harness.faults.unauthorised import REFUSED, Attempt, attempts
from harness.history import now_ns
from harness.judge.smoke import NO_DATABASE
from harness.observe.looks import TargetUnusable, look_at_health
from harness.observe.migrations import (
    MigrationsError,
    definitions_at,
    definitions_of,
    differences,
    read_migrations,
)
from harness.stack import StackError
from harness.stack.postgres import Postgres
from harness.system import Call, HasHealth, HasMigrations, HasSecrets, System, Ticks
from harness.system.cleaning import clean
from harness.system.tick import ANSWER_LIMIT_S, TickCall
from harness.target import Action, Permission
from harness.target.client import Answer, Check, Client
from harness.target.marks import new_prefix

#: Names of the rows.
HEALTH: Final = "health"
MONITOR: Final = "monitor"
SECRETS: Final = "secrets refused"
MIGRATIONS: Final = "migrations"

#: What is told before a deployment is looked at.
PLAN: Final = (
    "one call of each function and table without its secret, a few with a wrong one: all must be refused",
)
#: Ways of :func:`harness.faults.unauthorised.attempts` that are tried: the first on each call, the other on
#: one call for each kind of secret. More would be an attack, which its alerts tell of.
_WITHOUT: Final = "no secret"
_WRONG: Final = "wrong secret"
#: Of what is wrong, so much is shown.
_SHOWN: Final = 3

#: A verdict, and what was seen.
_Found = tuple[RowVerdict, str]


def look(permission: Permission, system: System) -> list[SmokeRow]:
    """Return a row for each look at the system; none has an effect but the tick.

    Raises
    ------
    ConsentError
        The target may not be loaded.
    """
    permission.require(Action.LOAD)
    looks: dict[str, Callable[[Permission, System], _Found]] = {
        HEALTH: _health,
        MONITOR: _monitor,
        SECRETS: _secrets,
        MIGRATIONS: _migrations,
    }
    return [_timed(name, one, permission, system) for name, one in looks.items()]


def _timed(
    name: str, one: Callable[[Permission, System], _Found], permission: Permission, system: System
) -> SmokeRow:
    begun = time.monotonic()
    verdict, what = one(permission, system)
    took = None if verdict == NOT_APPLICABLE else (time.monotonic() - begun) * 1000
    return SmokeRow(name=name, verdict=verdict, what=what, ms=took)


def _health(_: Permission, system: System) -> _Found:
    if not isinstance(system, HasHealth):
        return NOT_APPLICABLE, f"{system.name} does not tell its health"
    try:
        ill = look_at_health(system)
    except TargetUnusable as error:
        return "fail", str(error)
    return ("fail", f"it calls itself unhealthy: {ill}") if ill else ("pass", "all is well, it says")


def _monitor(permission: Permission, system: System) -> _Found:
    if not isinstance(system, Ticks):
        return NOT_APPLICABLE, f"{system.name} ticks by itself"
    if Action.TICK not in permission:
        return NOT_APPLICABLE, f"{Action.TICK.setting} does not name the address: no tick was called"
    tick = TickCall(system, "smoke", now_ns())
    with Client(system.target, "smoke", limit_s=ANSWER_LIMIT_S) as client:
        answer = _sent(client, tick.call, tick.check)
    if not answer.ok:
        return "fail", answer.told(tick.name)
    row = tick.row(answer)
    moved = "" if row.value is None else f", {row.value:g} {system.words.items} moved"
    return "pass", f"{tick.name} answered {answer.status}{moved}"


def _secrets(permission: Permission, system: System) -> _Found:
    mark = new_prefix()
    calls = _guarded(system, mark)
    may_tick = Action.TICK in permission
    if isinstance(system, Ticks) and not may_tick:
        # Let in, it would be a tick.
        calls = [call for call in calls if call.path != system.tick().path]
    if not calls:
        return NOT_APPLICABLE, f"the file of {system.name} names no calls that need a secret"
    with Client(system.target, "smoke") as client:
        answers = [(attempt, _sent(client, attempt.call)) for attempt in _tried(calls)]
    left = ""
    if any(answer.status not in REFUSED for _, answer in answers):  # it may have made something
        cleaned = clean(permission, type(system), mark)
        left = f"; {cleaned.left}" if cleaned.left else ""
    verdict, what = _refused(answers)
    return verdict, what + left + ("" if may_tick else f"; the tick was left out ({Action.TICK.setting})")


def _guarded(system: System, mark: str) -> list[Call]:
    """Return the calls that need a secret."""
    if isinstance(system, HasSecrets):
        return list(system.guarded(mark))
    tick = system.tick() if isinstance(system, Ticks) else None
    return [tick] if tick is not None and tick.headers else []


def _tried(calls: Sequence[Call]) -> Iterator[Attempt]:
    """Yield each call without its secret, and one for each kind of secret with a wrong one."""
    kinds = {tuple(sorted(call.headers)): call for call in reversed(calls)}
    once = [call.path for call in kinds.values()]
    for attempt in attempts(calls):
        if attempt.way == _WITHOUT or (attempt.way == _WRONG and attempt.call.path in once):
            yield attempt


def _refused(answers: Sequence[tuple[Attempt, Answer]]) -> _Found:
    wrong: dict[RowVerdict, list[str]] = {"fail": [], "inconclusive": []}
    for attempt, answer in answers:
        if answer.status not in REFUSED:
            told = f"{attempt.way}: {answer.told(attempt.route)}"
            wrong["inconclusive" if _says_nothing(answer) else "fail"].append(told)
    for verdict, lines in wrong.items():
        if lines:
            more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            return verdict, "; ".join(lines[:_SHOWN]) + more
    return "pass", f"{len(answers)} calls without the right secret, all refused"


def _says_nothing(answer: Answer) -> bool:
    """Whether an answer tells neither that a call was let in nor that it was kept out."""
    return answer.status is None or answer.status == 429 or answer.status >= 500


def _migrations(_: Permission, system: System) -> _Found:
    if not isinstance(system, HasMigrations):
        return NOT_APPLICABLE, f"the file of {system.name} names no `migrations`"
    url = system.target.database_url
    if url is None:
        return NOT_APPLICABLE, NO_DATABASE
    try:
        migrations = read_migrations(system.migrations)
        found = asyncio.run(definitions_at(url))
        with Postgres() as empty:
            wanted = asyncio.run(definitions_of(migrations, empty.service_url))
    except (MigrationsError, StackError) as error:
        return "inconclusive", str(error)
    if not wanted:
        return (
            "inconclusive",
            "no function or trigger of the migrations is in the search path: nothing to compare",
        )
    if wrong := differences(wanted, found):
        return "fail", "; ".join(wrong)
    return "pass", f"{len(wanted)} functions and triggers are what the migrations say"


def _sent(client: Client, call: Call, check: Check | None = None) -> Answer:
    return client.call(call.method, call.path, body=call.body, headers=call.headers, check=check)
