"""The smallest timeline of faults that still fails: fewer faults, then shorter, then fewer games.

Delta debugging (Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, 2002) in the form
that removes ever smaller pieces. The libraries that do it know neither a limit of runs nor a run of which
nothing can be told, and here a run takes most of a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import pytest

from harness.experiment.results import ExpectationsFailed, Inconclusive
from harness.faults import FaultError, NotExercisedError
from harness.faults.schedule import Schedule
from harness.process import ProcessError

#: No time between two begins or ends of faults is longer than that: tried from the shortest.
_STEPS_S: Final = (1.0, 2.0)
#: What ends a run of which nothing can be told.
_UNTOLD: Final = (Inconclusive, FaultError, NotExercisedError, ProcessError, pytest.skip.Exception)


@dataclass(frozen=True)
class Cut:
    """What is left of an experiment with a timeline.

    Parameters
    ----------
    games : played at a time.
    faults : numbers of the faults that are left, from 1; empty: all.
    step_s : the longest time from a begin or an end of a fault to the next, in seconds; None: as drawn.
    """

    games: int
    faults: tuple[int, ...] = ()
    step_s: float | None = None

    def of(self, drawn: Schedule) -> Schedule:
        """Return what is left of a timeline.

        Raises
        ------
        FaultError
            It has no fault of that number.
        """
        left = drawn.only(self.faults) if self.faults else drawn
        return left if self.step_s is None else left.hastened(self.step_s)


@dataclass
class Found:
    """The smallest that was seen to fail.

    Parameters
    ----------
    cut : what is left; it failed.
    runs : how many were made in the search.
    failed, tried : of the runs of exactly that, how many failed, of how many.
    open : why there may be a smaller one; empty: each that is smaller was tried.
    interrupted : whether the search was ended by Ctrl-C.
    """

    cut: Cut
    runs: int = 0
    failed: int = 1
    tried: int = 1
    open: str = ""
    interrupted: bool = False

    def __str__(self) -> str:
        found = f"the smallest that still fails, after {self.runs} more runs"
        found += f"; it failed {self.failed} times of {self.tried}"
        return f"{found}; there may be a smaller one, {self.open}" if self.open else found


class _NoMoreRunsError(Exception):
    """As many runs as are allowed have been made."""


class _Search:
    def __init__(self, first: Cut, fails: Callable[[Cut], bool], limit: int) -> None:
        self.found = Found(first)
        self._fails = fails
        self._limit = limit
        self._passed: set[Cut] = set()

    def to_the_end(self) -> None:
        """Make it smaller until nothing smaller fails; then see whether it fails again."""
        for smaller in (_fewer_faults, _shorter, _fewer_games):
            while any(self._still(cut) for cut in smaller(self.found.cut)):
                pass
        if self.found.runs < self._limit:
            self.found.failed += self._run(self.found.cut)
            self.found.tried += 1

    def _still(self, cut: Cut) -> bool:
        if cut in self._passed:
            return False
        if self._run(cut):
            self.found = replace(self.found, cut=cut)
            return True
        self._passed.add(cut)
        return False

    def _run(self, cut: Cut) -> bool:
        if self.found.runs >= self._limit:
            raise _NoMoreRunsError
        self.found.runs += 1
        return self._fails(cut)


def smallest(first: Cut, fails: Callable[[Cut], bool], runs: int) -> Found:
    """Return the smallest of ``first`` that still fails. Ctrl-C ends the search and keeps what was found.

    Parameters
    ----------
    first : what failed, its faults by number.
    fails : runs one, and tells whether it fails; False also where that can't be told.
    runs : the most that are made.
    """
    search = _Search(first, fails, runs)
    try:
        search.to_the_end()
    except _NoMoreRunsError:
        search.found.open = f"for {runs} runs were not enough to try all"
    except KeyboardInterrupt:
        search.found.open = "for the search was interrupted"
        search.found.interrupted = True
    return search.found


def _fewer_faults(cut: Cut) -> Iterator[Cut]:
    """Yield it without one half, without the other, without each quarter ... without each single fault."""
    size = len(cut.faults) // 2
    while size:
        for start in range(0, len(cut.faults), size):
            left = cut.faults[:start] + cut.faults[start + size :]
            if left:
                yield replace(cut, faults=left)
        size //= 2


def _shorter(cut: Cut) -> Iterator[Cut]:
    return (replace(cut, step_s=step) for step in _STEPS_S if cut.step_s is None or step < cut.step_s)


def _fewer_games(cut: Cut) -> Iterator[Cut]:
    if cut.games > 1:
        yield replace(cut, games=cut.games // 2)


def fails_alike(play: Callable[[Cut], None], names: frozenset[str]) -> Callable[[Cut], bool]:
    """Return what tells whether a run fails by one of the expectations that failed at first.

    Parameters
    ----------
    play : runs an experiment; it ends by an error unless all is well.
    names : of the expectations.
    """

    def fails(cut: Cut) -> bool:
        try:
            play(cut)
        except ExpectationsFailed as error:
            return bool(names & error.names)
        except _UNTOLD:
            return False
        return False

    return fails
