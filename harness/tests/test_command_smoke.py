"""`stormwatch smoke` on a real stack that is broken on purpose, and what the command says and exits by."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands import smoke
from harness.commands._one_item import played
from harness.documents.smoke import SmokeRow
from harness.experiment.smoke import HEALTH, MIGRATIONS, MONITOR, SECRETS, look
from harness.judge.smoke import BROADCAST, DELIVERY, PLAYED, REMOVED, TRIGGER
from harness.observe.migrations import (
    MigrationsError,
    definitions_at,
    definitions_of,
    differences,
    read_migrations,
)
from harness.stack import Stack, StackOptions, start_stack
from harness.system import Call, System
from harness.target import Action, Target
from harness.target.consent import ask
from harness.tests.database_system import in_session
from harness.tests.helpers import REFERENCE
from scenarios.systems.auction import Auction
from scenarios.systems.drawing_game import DrawingGame

DROP = "DROP TRIGGER game_status_change_trigger ON games"


class Open(DrawingGame):
    """Two of its calls that should need a secret need none, and one is not there."""

    def guarded(self, mark: str) -> list[Call]:
        needs = {"Authorization": "Bearer abc"}
        return [Call("GET", path, needs) for path in ("/health", "/functions/v1/feature-flags", "/none")]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack(StackOptions(advertise=False)) as stack:
        yield stack


def execute(stack: Stack, sql: str) -> None:
    in_session(str(stack.target.database_url), lambda session: session.execute(sql))


@contextmanager
def changed(stack: Stack, sql: str) -> Iterator[None]:
    """Change function and trigger by ``sql`` for as long as the block runs."""
    get = "SELECT pg_get_functiondef('broadcast_game_event()'::regprocedure)"
    function = in_session(str(stack.target.database_url), lambda session: session.fetchval(get))
    get = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'game_status_change_trigger'"
    trigger = in_session(str(stack.target.database_url), lambda session: session.fetchval(get))
    execute(stack, sql)
    try:
        yield
    finally:
        execute(stack, f"{DROP.replace('TRIGGER', 'TRIGGER IF EXISTS')}; {function}; {trigger}")


def looked(stack: Stack, kind: type[System] = DrawingGame, **other: str | None) -> dict[str, SmokeRow]:
    """Return the rows of the looks, at the stack's target with ``other`` fields."""
    return {row.name: row for row in look(stack.permission, kind(replace(stack.target, **other)))}


def test_a_healthy_system_passes_each_look_with_its_time(stack: Stack) -> None:
    rows = looked(stack)
    assert {row.verdict for row in rows.values()} == {"pass"}, rows
    assert all(row.ms for row in rows.values())
    assert rows[SECRETS].what == "19 calls without the right secret, all refused"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (DROP, "game_status_change_trigger on games is missing"),
        (
            "ALTER TABLE games DISABLE TRIGGER game_status_change_trigger",
            "game_status_change_trigger on games is disabled",
        ),
        (
            "CREATE OR REPLACE FUNCTION broadcast_game_event() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'",
            "broadcast_game_event() is another than the migrations say",
        ),
        (
            "ALTER FUNCTION broadcast_game_event() SECURITY DEFINER",
            "broadcast_game_event() is another than the migrations say",
        ),
    ],
    ids=["trigger dropped", "trigger disabled", "function replaced", "function with other rights"],
)
def test_what_is_not_as_it_was_made_is_named(stack: Stack, sql: str, said: str) -> None:
    url = str(stack.target.database_url)
    made = asyncio.run(definitions_at(url))
    with changed(stack, sql):
        assert differences(made, asyncio.run(definitions_at(url))) == [said]
    assert differences(made, asyncio.run(definitions_at(url))) == []


def test_migrations_that_cannot_be_applied_are_named(stack: Stack) -> None:
    with pytest.raises(MigrationsError, match=r"0002.sql can't be applied to an empty Postgres: .*no_such"):
        asyncio.run(definitions_of({"0002.sql": "SELECT no_such()"}, str(stack.target.database_url)))
    with pytest.raises(MigrationsError, match="there are no migrations in /no/such"):
        read_migrations(Path("/no/such"))


def test_migrations_whose_functions_lie_outside_the_search_path_are_not_passed(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "0001.sql").write_text(
        "CREATE SCHEMA aside; CREATE FUNCTION aside.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        encoding="utf-8",
    )

    class Aside(DrawingGame):
        migrations = tmp_path

    row = looked(stack, Aside)[MIGRATIONS]
    assert (row.verdict, row.what.partition(":")[2]) == ("inconclusive", " nothing to compare")


def test_calls_that_are_let_in_without_a_secret_fail_and_so_does_a_tick_with_a_wrong_one(
    stack: Stack,
) -> None:
    rows = looked(stack, Open, cron_secret="not this one")
    assert rows[SECRETS].verdict == "fail"
    assert "no secret: GET /health answered 200" in rows[SECRETS].what
    assert "wrong secret: GET /none answered 404" not in rows[SECRETS].what
    assert rows[MONITOR].verdict == "fail"
    assert "/monitor-game-timers answered 401" in rows[MONITOR].what


def test_a_system_that_does_not_answer_fails_and_what_it_would_say_is_inconclusive(stack: Stack) -> None:
    rows = looked(stack, service_url="http://127.0.0.1:9", database_url="postgresql://u:pw-9@127.0.0.1:9/x")
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts == {
        HEALTH: "fail", MONITOR: "fail", SECRETS: "inconclusive", MIGRATIONS: "inconclusive",
    }  # fmt: skip
    assert "pw-9" not in str(rows)


def test_what_a_target_or_a_system_lacks_is_not_applicable(stack: Stack) -> None:
    assert looked(stack, database_url=None)[MIGRATIONS].verdict == "not applicable"
    target = replace(stack.target, origin="environment")
    loads = ask(target, [Action.LOAD], environment=permitting(target), say=lambda _: None)
    rows = {row.name: row for row in look(loads, DrawingGame(target))}
    assert rows[MONITOR].verdict == "not applicable"
    assert rows[SECRETS].what.endswith("; the tick was left out (STORMWATCH_MAY_TICK)")
    lacks = {row.name for row in look(loads, Auction(target)) if row.verdict == "not applicable"}
    assert lacks == {MONITOR, SECRETS, MIGRATIONS}


def permitting(target: Target) -> dict[str, str]:
    return {Action.LOAD.setting: f"{target.service_url},127.0.0.1"}


def test_a_dropped_trigger_is_told_by_the_rows_that_it_breaks_and_by_no_other(
    stack: Stack, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "harness.cli", "smoke", stack.target.service_url, "--system", REFERENCE]
    options = ["--", "--briefing=300ms", "--drawing=1s", "--voting=300ms", "--tick=300ms"]
    options += [
        "--sync=100ms",
        "--drain=5s",
    ]  # what nobody is told, players ask for; nobody waits for it long
    count = "SELECT count(*) FROM games"
    with changed(stack, DROP):
        done = subprocess.run(
            [*command, "--json", "--junit", str(tmp_path / "smoke.xml"), *options],
            env=os.environ | stack.permission.environment() | {"SUPABASE_URL": "http://127.0.0.1:9"},
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=180,
        )
    assert done.returncode == 1, done.stderr
    found = {row["name"]: row["verdict"] for row in json.loads(done.stdout)["rows"]}
    broken = {MIGRATIONS, TRIGGER, PLAYED}
    assert found == dict.fromkeys([HEALTH, MONITOR, SECRETS, BROADCAST, DELIVERY, REMOVED], "pass") | (
        dict.fromkeys(broken, "fail")
    )
    cases = ET.parse(tmp_path / "smoke.xml").iter("testcase")
    assert {case.get("name") for case in cases if case.find("failure") is not None} == broken
    assert "is about to be loaded" in done.stderr
    assert in_session(str(stack.target.database_url), lambda session: session.fetchval(count)) == 0


# -- the command alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass", "not applicable"], 0),
        (["pass", "inconclusive"], 3),
        (["pass", "inconclusive", "fail"], 1),
        (["not applicable"], 3),
    ],
)
def test_it_exits_as_the_gate_does_whoever_is_told_and_is_no_pass_where_nothing_was_seen(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, verdicts: Sequence[str], code: int
) -> None:
    rows = [
        SmokeRow.model_validate({"name": "a [row]", "verdict": one, "what": "why", "ms": 1.5})
        for one in verdicts
    ]

    @contextmanager
    def permitted(*_: object) -> Iterator[tuple[object, tuple[()]]]:
        yield stack.permission, ()

    monkeypatch.setattr(smoke, "permitted", permitted)
    monkeypatch.setattr(smoke, "_looked", lambda *_: rows)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "http://127.0.0.1:9/se-cret")
    done = CliRunner().invoke(main, ["smoke", "--local", "--system", REFERENCE, "--notify", "webhook"])
    assert done.exit_code == code, done.output
    assert done.stderr == "nobody was told by webhook: connection refused\n"
    assert "a [row]" in done.stdout
    assert "1.5" in done.stdout


def test_an_item_that_cannot_be_played_is_inconclusive(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    from harness.process import ProcessError

    def refused(*_: object) -> None:
        raise ProcessError("stormwatch: not set: PUBNUB_SUBSCRIBE_KEY")

    monkeypatch.setattr(smoke, "played", refused)
    monkeypatch.setattr("harness.experiment.smoke.look", lambda *_: [])
    rows = smoke._looked(stack.permission, DrawingGame(stack.target), [])
    assert {row.verdict for row in rows} == {"inconclusive"}
    told = {row.name: row.what for row in rows}
    assert told.pop(PLAYED) == "not set: PUBNUB_SUBSCRIBE_KEY"
    assert set(told.values()) == {"no item was played"}


def test_what_an_interrupted_item_made_is_removed_first(
    monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    ended: list[float] = []

    class Load:
        exit_code = None

        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> Load:
            return self

        def __exit__(self, *_: object) -> None:
            assert ended, "it was killed"

        def wait(self) -> None:
            raise KeyboardInterrupt

        def finish(self, timeout_s: float) -> None:
            ended.append(timeout_s)

    monkeypatch.setattr("harness.experiment.load.LoadProcess", Load)
    with pytest.raises(KeyboardInterrupt):
        played(stack.permission, [])


def test_an_address_and_a_local_stack_exclude_each_other() -> None:
    done = CliRunner().invoke(main, ["smoke", "http://127.0.0.1:9", "--local"])
    assert done.exit_code == 2
    assert "which of the two" in done.output
