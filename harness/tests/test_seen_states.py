"""What looks at states tell of moves, and what they can't."""

from __future__ import annotations

from harness.history import Row
from harness.observe.seen_states import Looked, SeenStates
from harness.system import Lifecycle, Timed

NS = 1_000_000_000
LOTS = Lifecycle(
    begins="announced",
    moves=("announced->bidding", "bidding->sold", "bidding->passed", "announced->withdrawn"),
    timed={"announced": Timed("1s"), "bidding": Timed("5s")},
    ends=frozenset({"sold", "passed", "withdrawn"}),
)


def looked(at_s: float, state: str, *, due_s: float | None = None, entered_s: float | None = None) -> Looked:
    """Return a lot as a look of 10 ms found it."""
    asked_ns = round(at_s * NS)
    times = [None if one is None else round(one * NS) for one in (due_s, entered_s)]
    return Looked("lot", state, *times, asked_ns, asked_ns + NS // 100)


def rows(*looks: Looked, absent_s: float | None = None) -> list[Row]:
    """Return the moves that these looks tell of."""
    found = SeenStates(LOTS, {"withdrawn"})
    absent_ns = None if absent_s is None else round(absent_s * NS)
    return [row for one in looks if (row := found.row(one, absent_ns)) is not None]


def test_a_move_happened_between_two_looks() -> None:
    first, second = looked(1.0, "announced", due_s=1.2), looked(1.5, "bidding", due_s=6.2)
    (row,) = rows(first, second)
    assert (row.name, row.game) == ("announced->bidding", "lot")
    assert row.intended_ns == first.due_ns
    assert (row.start_ns, row.value) == (round(1.255 * NS), 0.255)


def test_where_the_system_keeps_since_when_it_is_exact() -> None:
    (row,) = rows(looked(1.0, "announced"), looked(1.5, "bidding", entered_s=1.21))
    assert (row.start_ns, row.value) == (round(1.21 * NS), None)


def test_what_is_done_by_hand_was_not_due() -> None:
    (row,) = rows(looked(1.0, "announced", due_s=9), looked(1.5, "withdrawn"))
    assert row.intended_ns is None


def test_of_moves_between_two_looks_the_last_is_seen_and_no_timer_charged_with_it() -> None:
    (row,) = rows(looked(1.0, "announced", due_s=1.1), looked(1.5, "sold"))
    assert (row.name, row.intended_ns) == ("announced->sold", None)


def test_an_item_that_was_not_there_a_moment_ago_has_moved_since() -> None:
    assert rows(looked(1.5, "announced"), absent_s=1.0) == []
    (row,) = rows(looked(1.5, "bidding"), absent_s=1.0)
    assert (row.name, row.intended_ns, row.value) == ("announced->bidding", None, 0.255)


def test_of_an_item_that_may_have_been_there_for_ever_nothing_is_told() -> None:
    assert rows(looked(1.5, "bidding"), looked(2.0, "bidding")) == []


def test_an_item_that_was_asked_for_in_vain_is_new() -> None:
    found = SeenStates(LOTS, ())
    found.missed("lot", NS)
    row = found.row(looked(1.5, "bidding"))
    assert row is not None
    assert row.name == "announced->bidding"


def test_timers_past_due_and_those_that_fall_due_soon_are_told_by_the_last_look() -> None:
    found = SeenStates(LOTS, ())
    found.row(looked(1.0, "bidding", due_s=3.0))
    assert list(found.overdue()) == []
    assert (found.due_within(1, 3), found.due_within(0, 1), found.due_within(3, 9)) == (1, 0, 0)
    found.row(looked(4.0, "bidding", due_s=3.0))
    (row,) = found.overdue()
    assert (row.name, row.error, row.intended_ns, row.end_ns) == ("overdue", "bidding", 3 * NS, 4 * NS)
    # A lot that is sold keeps the time at which it was.
    found.row(looked(5.0, "sold", due_s=3.0))
    assert list(found.overdue()) == []
