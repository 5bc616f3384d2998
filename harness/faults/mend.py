"""Removes what faults have left behind whose process was killed before it could undo them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil

from harness.faults import FaultError, FaultTarget, kinds
from harness.faults.database_fault import MARK, drop
from harness.faults.database_fault import SQL as DATABASE_SQL
from harness.faults.sessions import Sessions
from harness.stack.errors import StackError
from harness.stack.proxies import Proxies
from harness.stack.pubnub_control import PubNubControl
from harness.system.witness import WATCH_MARK
from harness.target.sessions import TROUBLE, Who
from harness.target.sql import named_statements

#: Names of the toxics that faults make; a toxic that somebody else made is left alone.
_TOXIC: Final = re.compile(r"[a-z_]+-(upstream|downstream)-[0-9a-f]{6}")

_SQL: Final = named_statements(Path(__file__).parent / "sql" / "mend.sql")


def mend(on: FaultTarget) -> Iterator[str]:
    """Undo all that faults have left behind, and tell of each thing that was undone.

    What is still being broken on purpose is mended too: nobody can tell it from what was left.

    Yields
    ------
    A line a thing.

    Raises
    ------
    FaultError
        At the end: what could not be looked at or mended.
    """
    trouble: list[str] = []
    # Processes first: who is paused or gone can't be asked for the rest.
    menders: tuple[Callable[[FaultTarget], Iterator[str]], ...] = (
        _processes,
        _network,
        _pubnub,
        _database,
        *(kind.mend for kind in kinds(on.system).values()),
    )
    for mender in menders:
        try:
            yield from mender(on)
        except (FaultError, StackError, *TROUBLE) as error:
            trouble.append(str(error) or type(error).__name__)
    if trouble:
        raise FaultError("; ".join(trouble))


def _processes(on: FaultTarget) -> Iterator[str]:
    for name in on.parts:
        pid = on.pid(name)
        if pid is None:
            on.restart(name)
            yield f"{name} was down: started again"
        elif _is_stopped(pid):
            on.resume(name)
            yield f"{name} was paused: goes on"


def _is_stopped(pid: int) -> bool:
    """Tell whether a process or one of its children is stopped."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return any(member.status() == psutil.STATUS_STOPPED for member in family)
    except psutil.NoSuchProcess:
        return False


def _network(on: FaultTarget) -> Iterator[str]:
    if on.target.toxiproxy_url is None:
        return
    proxies = Proxies(on.target.toxiproxy_url)
    for name, proxy in sorted(proxies.all().items()):
        if not proxy.enabled:
            proxies.enable(name)
            yield f"proxy {name} was down: up again"
        for toxic in proxy.toxics:
            if _TOXIC.fullmatch(toxic):
                proxies.remove_toxic(name, toxic)
                yield f"proxy {name}: toxic {toxic} removed"


def _pubnub(on: FaultTarget) -> Iterator[str]:
    url, token = on.target.pubnub_control_url, on.target.pubnub_control_token
    if url is None or token is None:
        return
    control = PubNubControl(url, token)
    for rule in control.rules():
        if rule.active:
            control.remove(rule.id)
            about = ", ".join(rule.operations) or "all"
            yield f"PubNub emulator: rule {rule.action} on {about} removed"


def _database(on: FaultTarget) -> Iterator[str]:
    if on.target.database_url is None:
        return
    with Sessions(on.target.database_url) as sessions:
        if ended := sessions.value(_SQL["end_sessions"], Who.FAULT):
            yield f"database: {ended} sessions ended that faults had left open"
        for mark in (MARK, WATCH_MARK):
            for (schema,) in sessions.rows(_SQL["schemas"], mark):
                yield from _schema(sessions, schema)
        for (outsider,) in sessions.rows(_SQL["outsiders"]):
            sessions.insist(DATABASE_SQL["drop_outsider"].format(outsider=outsider))
            yield f"database: user {outsider} removed"
        if sessions.value(_SQL["may_read_settings"]) and sessions.value(_SQL["is_read_only"]):
            sessions.insist(DATABASE_SQL["allow_writing"], DATABASE_SQL["reload"])
            yield "database: was read-only, may be written again"


def _schema(sessions: Sessions, schema: str) -> Iterator[str]:
    """Undo what one fault did to tables: its triggers, and what it left word of."""
    for trigger, table in sessions.rows(_SQL["triggers"], schema):
        sessions.insist(DATABASE_SQL["drop_trigger"].format(trigger=trigger, table=table))
        yield f"database: trigger {trigger} on {table} removed"
    if sessions.value(_SQL["has_word"], schema):
        for (statement,) in sessions.rows(_SQL["word"].format(schema=schema)):
            sessions.insist(statement)
            yield f"database: undone by {statement}"
    drop(sessions, schema)
