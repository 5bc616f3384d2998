"""A pool that got all of its connections back serves with each of them, and one that did not is caught."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.experiment.pool import PoolServes, use_pool
from harness.history import Row
from harness.judge import Evidence, Window, evidence_of
from harness.sla.policy import load_policy
from harness.stack import Postgres
from harness.system import Call
from harness.target import Target
from harness.tests.bare import Bare
from harness.tests.database_system import execute, value
from harness.tests.http_stub import Request, served
from harness.tests.lots import TABLES

FAULT = Window("database:table-lock postgres", START + 20 * NS, START + 30 * NS)
SHAPE = Shape(games_at_once=2, players=1, seconds=40, http_per_s=2)
NOWHERE = "http://127.0.0.1:9"
POOL = PoolServes("service-1")


class Pooled(Bare):
    """Reads its lots with connections of a pool."""

    pool_table: ClassVar = "lots"

    def use_pool(self) -> Call:
        return Call("GET", "/lots")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(max_connections=20) as postgres:
        execute(postgres.service_url, TABLES)
        yield postgres


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def evidence(rows: pd.DataFrame, **readings: Any) -> Evidence:
    """Add readings of the first process, after the fault: its pool has four connections at most."""
    resource = rows[rows["kind"] == "resource"].head(1)
    size = resource.assign(name="pool_size", actor=POOL.actor, value=4.0)
    used = size.assign(name="pool_served_at_once", start_ns=FAULT.end_ns + NS, **readings)
    rows = pd.concat([rows, size, used[: len(readings)]])
    return evidence_of(history_of(rows), run_of(SHAPE), load_policy())


def recorded(rows: pd.DataFrame, service_url: str, database_url: str) -> Row:
    """Use a pool of four connections, and return the row that tells of it."""
    target = target_of(service_url, database_url)
    found: list[Row] = []
    on, history = SimpleNamespace(target=target), SimpleNamespace(append=found.append)
    use_pool(on, Pooled(target), POOL.actor, evidence(rows), history)
    (row,) = found
    return row


def target_of(service_url: str = NOWHERE, database_url: str | None = None) -> Target:
    return Target(service_url, service_role_key="key", cron_secret="secret", database_url=database_url)


@pytest.mark.parametrize("left", [4, 3])
def test_a_connection_that_was_lost_does_not_serve_however_it_is_counted(
    left: int, postgres: Postgres, rows: pd.DataFrame
) -> None:
    pool = threading.Semaphore(left)

    def answer(_: Request) -> tuple[int, Any]:
        with pool:
            return 200, value(postgres.service_url, "SELECT count(*) FROM lots")

    with served(answer) as url:
        row = recorded(rows, url, postgres.url)
    assert (row.name, row.actor, row.value, row.error) == ("pool_served_at_once", "service-1", left, None)


def test_a_call_that_is_not_answered_well_was_not_served(postgres: Postgres, rows: pd.DataFrame) -> None:
    def answer(_: Request) -> tuple[int, Any]:
        return 503, value(postgres.service_url, "SELECT count(*) FROM lots")

    with served(answer) as url:
        row = recorded(rows, url, postgres.url)
    assert row.value == 0


def test_a_database_that_is_away_is_the_reason_why_nobody_can_tell(rows: pd.DataFrame) -> None:
    row = recorded(rows, NOWHERE, "postgres://127.0.0.1:9/x")
    found = POOL.judge(evidence(rows, value=row.value, error=row.error), FAULT)
    assert (row.value, found.verdict) == (None, "inconclusive")
    assert str(row.error) in found.explanation


@pytest.mark.parametrize(("served_at_once", "verdict"), [(4.0, "pass"), (3.0, "fail"), (0.0, "fail")])
def test_all_of_them_must_serve(served_at_once: float, verdict: str, rows: pd.DataFrame) -> None:
    found = POOL.judge(evidence(rows, value=served_at_once), FAULT)
    assert (found.verdict, found.measured) == (verdict, 4 - served_at_once)
    assert found.explanation == f"{served_at_once:g} of 4 statements were served at once"


def test_what_was_not_used_proves_nothing(rows: pd.DataFrame) -> None:
    assert POOL.judge(evidence(rows), FAULT).verdict == "inconclusive"
    before = replace(FAULT, start_ns=FAULT.start_ns + 20 * NS, end_ns=FAULT.end_ns + 20 * NS)
    assert POOL.judge(evidence(rows, value=4.0), before).verdict == "inconclusive"


def test_it_is_expected_of_systems_that_say_how_their_pool_is_used() -> None:
    assert POOL.applies(Pooled(target_of()))
    assert not POOL.applies(Bare(target_of()))
