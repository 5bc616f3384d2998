"""Witnesses that a database gives to who has no log: a watch on a table, and looks at it again and again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.faults.mend import mend
from harness.history import HistoryWriter, read_history
from harness.observe.database import due_soon, note_overdue, reader_of, why_unreadable
from harness.observe.reader import DatabaseReader
from harness.stack.postgres import Postgres
from harness.system import Lifecycle, PollWitness, SqlWitness, System, Timed, WatchWitness
from harness.system.witness import WATCH_MARK, WitnessError
from harness.target import Target
from harness.tests.database_system import execute, value
from harness.tests.permitted import deployment

PREFIX = "sw01234567-"
STATES = "SELECT id AS item, state, ends_at AS due_at FROM lots WHERE starts_with(title, $1)"
TABLE = """
CREATE TYPE lot_state AS ENUM ('announced', 'bidding', 'sold', 'withdrawn');
CREATE TABLE lots (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    state lot_state NOT NULL DEFAULT 'announced',
    ends_at timestamptz,
    naive timestamp)
"""


class Auction(System):
    name = "auction"
    lifecycle = Lifecycle(
        begins="announced",
        moves=("announced->bidding", "bidding->sold", "announced->withdrawn"),
        timed={"announced": Timed("1s"), "bidding": Timed("5s")},
        ends=frozenset({"sold", "withdrawn"}),
    )
    witness = WatchWitness(
        "lots", due_at="ends_at", mark="title", by_hand=frozenset({"withdrawn"}), every="50ms"
    )

    def start(self, session: Any, item: Any) -> None:
        raise NotImplementedError

    def channel(self, item: str, player: str) -> str:
        return item

    def read(self, message: Any) -> None:
        return None


def with_witness(witness: Any) -> type[System]:
    return type("Other", (Auction,), {"witness": witness})


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres(max_connections=30) as running:
        yield running


@pytest.fixture
def url(server: Postgres) -> Iterator[str]:
    execute(server.url, TABLE)
    yield server.url
    execute(server.url, "DROP TABLE lots; DROP TYPE lot_state")


class Reading:
    """A reader of lots, and what it found."""

    def __init__(self, url: str, folder: Path, system: type[System] = Auction, *, watch: bool = True) -> None:
        self._url, self._folder = url, folder
        self._history = HistoryWriter(folder, "reader", "a-run")
        reader = reader_of(system, url, PREFIX, self._history, may_watch=watch)
        assert reader is not None
        self.reader: DatabaseReader = reader

    def rows(self, kind: str = "transition") -> list[dict[str, Any]]:
        self._history.flush()
        return [row for row in read_history(self._folder).table.to_pylist() if row["kind"] == kind]


async def told(url: str, question: str) -> Any:
    """Return the first value that a question is answered with."""
    return await asyncio.to_thread(value, url, question)


async def done(url: str, statements: str) -> None:
    await asyncio.to_thread(execute, url, statements)


async def lot(url: str, title: str = f"{PREFIX}1", *, ends_s: float = 60.0) -> str:
    """Add a lot that ends its state in so many seconds; return its id."""
    insert = "INSERT INTO lots (title, ends_at) VALUES ('{}', clock_timestamp() + '{} s') RETURNING id"
    return str(await told(url, insert.format(title, ends_s)))


async def move(url: str, to: str) -> None:
    await done(url, f"UPDATE lots SET state = '{to}', ends_at = clock_timestamp() + '60 s'")


SCHEMA = f"SELECT nspname FROM pg_namespace WHERE starts_with(nspname, '{WATCH_MARK}')"
TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"


# --- the watch -----------------------------------------------------------------------------------------


async def test_a_watch_notes_every_move_and_is_gone_afterwards(url: str, tmp_path: Path) -> None:
    reading = Reading(url, tmp_path)
    await reading.reader.connect()
    assert await told(url, TRIGGERS) == 1
    id = await lot(url)
    await move(url, "bidding")
    await move(url, "sold")
    assert await reading.reader.finish(within_s=5) is None
    first, second = reading.rows()
    assert [row["name"] for row in (first, second)] == ["announced->bidding", "bidding->sold"]
    assert first["game"] == second["game"] == id
    # The very times: no look lies in between, and Postgres keeps those of commits.
    assert first["intended_ns"] > first["start_ns"]
    assert first["start_ns"] <= first["end_ns"] <= second["start_ns"]
    assert first["value"] is None
    assert await told(url, TRIGGERS) == 0
    assert await told(url, SCHEMA) is None
    assert reading.reader.left is None


async def test_a_watch_notes_nothing_of_others_and_no_due_time_of_what_is_done_by_hand(
    url: str, tmp_path: Path
) -> None:
    reading = Reading(url, tmp_path)
    await lot(url, "another")
    await reading.reader.connect()
    await lot(url)
    await move(url, "withdrawn")
    await reading.reader.finish(within_s=5)
    (row,) = reading.rows()
    assert (row["name"], row["intended_ns"]) == ("announced->withdrawn", None)


async def test_a_watch_that_can_not_note_a_move_lets_it_happen_and_says_so(url: str, tmp_path: Path) -> None:
    reading = Reading(url, tmp_path)
    await reading.reader.connect()
    schema = await told(url, SCHEMA)
    await done(url, f"ALTER TABLE {schema}.moves ADD CHECK (false)")
    await lot(url)
    await move(url, "bidding")
    assert await told(url, "SELECT state::text FROM lots") == "bidding"
    assert await reading.reader.finish(within_s=5) == "the watch could not note 1 moves"


async def test_a_watch_that_can_not_be_taken_away_is_named_with_its_statement(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.observe.watch_reader.TAKE_AWAY_LIMIT_S", 0.0)
    reading = Reading(url, tmp_path)
    await reading.reader.connect()
    schema = await told(url, SCHEMA)
    await done(url, f"ALTER SEQUENCE {schema}.missed RENAME TO gone")
    await reading.reader.finish(within_s=5)
    left = reading.reader.left or ""
    assert "`stormwatch fault mend` removes it" in left
    await done(url, left.rpartition("or: ")[2])
    assert await told(url, SCHEMA) is None


async def test_a_watch_whose_reader_was_killed_is_mended(url: str, tmp_path: Path) -> None:
    reading = Reading(url, tmp_path)
    await reading.reader.connect()
    await reading.reader.close()
    schema = await told(url, SCHEMA)
    target = Target("http://127.0.0.1:9", "key", "secret", "sub", database_url=url)
    done = await asyncio.to_thread(lambda: list(mend(deployment(target))))
    assert done == [f"database: trigger {schema} on lots removed"]
    assert await told(url, SCHEMA) is None


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(WitnessError, match="table of the watch: 'lots; DROP"):
        WatchWitness("lots; DROP TABLE lots")
    with pytest.raises(WitnessError, match="due_at of the watch"):
        WatchWitness("public.lots", due_at="now()")
    with pytest.raises(WitnessError, match=r"every of the witness: '5' is not a duration"):
        PollWitness("SELECT 1", every="5")


# --- looks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [Auction, with_witness(PollWitness(STATES + " -- lots\n;"))])
async def test_without_consent_to_a_watch_the_table_is_read_again_and_again(
    system: type[System], url: str, tmp_path: Path
) -> None:
    reading = Reading(url, tmp_path, system, watch=False)
    await reading.reader.connect()
    assert await told(url, SCHEMA) is None
    id = await lot(url)
    await reading.reader.connect()
    await move(url, "bidding")
    await reading.reader.finish(within_s=5)
    (row,) = reading.rows()
    assert (row["name"], row["game"]) == ("announced->bidding", id)
    assert row["intended_ns"] > row["start_ns"]
    assert row["value"] > 0


async def test_a_lot_past_due_is_told_at_the_end_and_whenever_asked(url: str, tmp_path: Path) -> None:
    id = await lot(url, ends_s=-1.0)
    system = with_witness(PollWitness(STATES))
    for number, (one, watch) in enumerate(((Auction, True), (Auction, False), (system, False))):
        reading = Reading(url, tmp_path / str(number), one, watch=watch)
        await reading.reader.connect()
        await note_overdue(url, PREFIX, reading.reader._history, one)
        await reading.reader.finish(within_s=5)
        assert [(row["name"], row["game"], row["error"]) for row in reading.rows()] == [
            ("overdue", id, "announced")
        ] * 2
        assert await due_soon(url, PREFIX, 0, 60, one) == 0
        assert await due_soon(url, PREFIX, -2, 60, one) == 1


# --- what is wrong with statements is said before the load ---------------------------------------------


@pytest.mark.parametrize(
    ("witness", "said"),
    [
        (PollWitness(STATES), None),
        (PollWitness(STATES.replace("ends_at", "end_at")), 'states of the witness of auction: column "end'),
        (PollWitness(STATES.replace("ends_at", "end_at")), "HINT:  Perhaps you meant to reference the col"),
        (PollWitness(STATES.replace("state,", "state AS at,")), "it lacks the column state; it has item"),
        (PollWitness(STATES.replace("ends_at", "naive")), "due_at is a timestamp: write"),
        (PollWitness("SELECT id AS item, state FROM lots"), r"it takes 0 values, and is given 1 \(\$1 ...\)"),
        (SqlWitness(moves=STATES), "moves of the witness of auction: it takes 1 values, and is given 2"),
        (WatchWitness("lots", due_at="until"), 'states of the witness of auction: column "until"'),
        (WatchWitness("nowhere"), 'relation "nowhere" does not exist'),
    ],
)
async def test_a_statement_that_can_not_be_used_is_named_with_the_databases_words(
    witness: Any, said: str | None, url: str
) -> None:
    found = await why_unreadable(url, with_witness(witness))
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(said, found), found
