"""A system with other tables, ids and locks than the reference service, and a fault of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.documents.words import Words
from harness.faults import Exercised, Fault, FaultTarget
from harness.system import Levers
from harness.tests.bare import Bare


@dataclass(frozen=True)
class Fire(Fault):
    """Set the house on fire.

    At its end, it is put out.
    """

    target: str = "house"
    place = "house"
    name = "fire"

    @classmethod
    def mend(cls, on: FaultTarget) -> Iterator[str]:
        yield "house: the fire is out"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        yield lambda: None


#: The tables of its levers.
TABLES = """
    CREATE TABLE lots (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), title text NOT NULL, state text NOT NULL,
        ends_at timestamptz, made_at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE bids (lot uuid, cents int);
    INSERT INTO lots (title, state) SELECT 'sw01234567-' || n, 'open' FROM generate_series(1, 5) AS n;
"""


class Lots(Bare):
    """Lots, bids, and ticks under a lock."""

    name = "lots"
    words = Words("lot", "lots")
    levers = Levers(
        tables=("lots", "bids"),
        items="lots",
        state="state",
        tick_lock="7170",
        lock_rows="SELECT FROM lots WHERE state = 'open' ORDER BY title LIMIT $1 FOR UPDATE",
        rows_fell_due="SELECT EXISTS (SELECT FROM lots "
        "WHERE xmax = pg_current_xact_id()::xid AND ends_at BETWEEN now() AND clock_timestamp())",
        make_due="INSERT INTO lots (title, state, ends_at) SELECT $1 || n, 'open', "
        "statement_timestamp() + make_interval(secs => $2) FROM generate_series(1, $3::int) AS n",
        unmoved="SELECT count(*) FROM lots WHERE starts_with(title, $1) AND state = 'open'",
        newest="SELECT title FROM lots ORDER BY made_at DESC LIMIT 1",
        faults=(Fire,),
    )
