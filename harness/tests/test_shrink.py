"""The search for the smallest timeline that still fails, on judges that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest

from harness.experiment.results import ExpectationsFailed, Inconclusive
from harness.experiment.shrink import Cut, fails_alike, smallest
from harness.faults import FaultError
from harness.faults.network import Down
from harness.faults.schedule import Entry, Schedule

SIX = Cut(12, (1, 2, 3, 4, 5, 6))
DRAWN = Schedule(
    (
        Entry(2.0, 3.0, Down("service-pubnub")),
        Entry(4.0, 4.0, Down("service-postgres")),
        Entry(12.0, 0.5, Down("load-service")),
    )
)


def needs(*faults: int, step_s: float = 0.0, games: int = 1) -> Callable[[Cut], bool]:
    """Return a judge of a service that fails under these faults at once, no faster, with so many games."""

    def fails(cut: Cut) -> bool:
        slow = cut.step_s is None or cut.step_s >= step_s
        return set(faults) <= set(cut.faults) and slow and cut.games >= games

    return fails


def counted(fails: Callable[[Cut], bool], made: list[Cut]) -> Callable[[Cut], bool]:
    return lambda cut: made.append(cut) or fails(cut)  # type: ignore[func-returns-value]  # notes it first


@pytest.mark.parametrize("pair", [(1, 2), (3, 4), (2, 5), (1, 6), (5, 6)])
def test_two_faults_that_are_needed_together_are_what_is_left(pair: tuple[int, int]) -> None:
    found = smallest(SIX, needs(*pair), 20)
    assert found.cut == Cut(1, pair, 1.0)
    assert not found.open
    assert (found.failed, found.tried) == (2, 2)


def test_one_fault_among_many_is_found_in_few_runs() -> None:
    found = smallest(Cut(1, tuple(range(1, 17)), 1.0), needs(11), 15)
    assert found.cut.faults == (11,)
    assert found.runs <= 15


def test_what_is_shorter_or_has_fewer_games_is_kept_only_where_it_fails() -> None:
    found = smallest(SIX, needs(2, 5, step_s=2.0, games=5), 30)
    assert found.cut == Cut(6, (2, 5), 2.0)


def test_no_two_runs_of_the_search_are_alike_but_the_last() -> None:
    made: list[Cut] = []
    found = smallest(SIX, counted(needs(1, 6), made), 30)
    assert made.pop() == found.cut
    assert len(set(made)) == len(made)
    assert len(made) + 1 == found.runs


def test_it_ends_when_its_runs_are_used_up_and_says_so() -> None:
    made: list[Cut] = []
    found = smallest(SIX, counted(needs(1, 6), made), 4)
    assert len(made) == found.runs == 4
    assert needs(1, 6)(found.cut)
    assert "4 runs were not enough" in str(found)


def test_of_a_flaky_failure_only_what_was_seen_to_fail_is_told_and_how_often() -> None:
    chance: Iterator[bool] = chain([False, True, False, True, True], repeat(False))
    seen: list[Cut] = [SIX]

    def fails(cut: Cut) -> bool:
        failed = next(chance)
        seen.extend([cut] if failed else [])
        return failed

    found = smallest(SIX, fails, 30)
    assert found.cut == seen[-1]
    assert "it failed 1 times of 2" in str(found)


def test_ctrl_c_ends_the_search_and_keeps_what_was_found() -> None:
    made: list[Cut] = []

    def fails(cut: Cut) -> bool:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(cut)
        return needs(5, 6)(cut)

    found = smallest(SIX, fails, 15)
    assert found.interrupted
    assert found.cut == Cut(12, (5, 6))
    assert "the search was interrupted" in str(found)


@pytest.mark.parametrize(
    ("error", "same"),
    [
        (ExpectationsFailed("lost", ["integrity: lost events: none"]), True),
        (ExpectationsFailed("slow", ["answered within 10 s"]), False),
        (Inconclusive("no steady state"), False),
        (FaultError("Toxiproxy does not answer"), False),
        (pytest.skip.Exception("no such part"), False),
    ],
)
def test_only_the_services_own_failure_of_the_same_kind_counts(error: BaseException, same: bool) -> None:
    def play(cut: Cut) -> None:
        raise error

    assert fails_alike(play, frozenset({"integrity: lost events: none"}))(SIX) is same


def test_all_well_is_no_failure() -> None:
    assert not fails_alike(lambda cut: None, frozenset({"integrity: lost events: none"}))(SIX)


def test_what_is_left_of_a_timeline_begins_with_its_first_fault() -> None:
    left = Cut(1, (2, 3)).of(DRAWN)
    assert [(entry.at_s, entry.for_s) for entry in left.entries] == [(0.0, 4.0), (8.0, 0.5)]
    with pytest.raises(FaultError, match="has 3 faults, and no number 4"):
        Cut(1, (1, 4)).of(DRAWN)


def test_a_hastened_timeline_keeps_its_order_and_what_overlaps() -> None:
    fast = Cut(1, step_s=1.0).of(DRAWN)
    assert [(entry.at_s, entry.for_s) for entry in fast.entries] == [(1.0, 2.0), (2.0, 2.0), (5.0, 0.5)]
