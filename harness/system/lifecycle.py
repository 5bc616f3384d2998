"""The states of an item under test (a game, a lot, a round), its moves, and which states have a timer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

from harness.history.names import ARROW
from harness.sla.units import parse_duration


class LifecycleError(ValueError):
    """A lifecycle contradicts itself; the message names the state or move."""


@dataclass(frozen=True)
class Timed:
    """How long a state with a timer lasts: durations with a unit."""

    usual: str
    #: In scenarios that need many timers to fall due soon. None: the usual length.
    short: str | None = None
    least: str = "100ms"
    greatest: str = "24h"

    @property
    def short_text(self) -> str:
        """Length in scenarios."""
        return self.short or self.usual

    @property
    def least_s(self) -> float:
        """Least length, in seconds."""
        return parse_duration(self.least)

    @property
    def greatest_s(self) -> float:
        """Greatest length, in seconds."""
        return parse_duration(self.greatest)

    def nearest(self, length: str) -> str:
        """Return ``length``, or what comes nearest to it of those that may be."""
        seconds = parse_duration(length)
        return (
            self.least if seconds < self.least_s else self.greatest if seconds > self.greatest_s else length
        )


@dataclass(frozen=True)
class Lifecycle:
    """The states that an item goes through.

    Parameters
    ----------
    begins : the state of a new item.
    moves : ``"before->after"``, each move that may happen.
    timed : the states that a timer ends, in the order in which an item passes them.
    ends : the states that no move leaves.

    Raises
    ------
    LifecycleError
        A state can't be reached or left, or lengths contradict each other.
    """

    begins: str
    moves: tuple[str, ...]
    timed: Mapping[str, Timed]
    ends: frozenset[str]
    #: (before, after) of every move.
    pairs: tuple[tuple[str, str], ...] = field(init=False, compare=False)
    #: State -> the states that an item in it may be in later.
    later: Mapping[str, frozenset[str]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        pairs = tuple(_pair(move) for move in self.moves)
        object.__setattr__(self, "pairs", pairs)
        object.__setattr__(self, "ends", frozenset(self.ends))
        known = self.states
        for state in [*self.timed, *self.ends]:
            if state not in known:
                raise LifecycleError(f"no move reaches {state!r}; moves are {', '.join(self.moves)}")
        object.__setattr__(self, "later", {state: _reached(pairs, state) for state in known})
        if lost := sorted(known - self.later[self.begins] - {self.begins}):
            raise LifecycleError(f"no move from {self.begins!r} leads to {lost[0]!r}")
        for state in sorted(known):
            leaves = any(before == state for before, _ in pairs)
            if state in self.ends and leaves:
                raise LifecycleError(f"{state!r} is an end, and a move leaves it")
            if state not in self.ends and not leaves:
                raise LifecycleError(f"no move leaves {state!r}, and it is no end")
        if not self.timed:
            raise LifecycleError("no state has a timer: there is nothing to watch")
        for state, timed in self.timed.items():
            for length in (timed.usual, timed.short_text):
                if not 0 < timed.least_s <= parse_duration(length) <= timed.greatest_s:
                    raise LifecycleError(
                        f"{state!r}: {length} is not between {timed.least} and {timed.greatest}"
                    )

    @cached_property
    def states(self) -> frozenset[str]:
        """All states."""
        return frozenset({self.begins, *(state for pair in self.pairs for state in pair)})

    @cached_property
    def once(self) -> frozenset[str]:
        """The states that an item enters once at most."""
        return frozenset(state for state in self.states if state not in self.later[state])

    @cached_property
    def order(self) -> Mapping[str, int]:
        """State -> its place: a state that can only come later has a higher one."""
        return {state: -len(self.later[state] | {state}) for state in self.states}

    def event_of(self, item: str, state: str | None) -> str | None:
        """Return what identifies a move to ``state`` that has no id; None where there may be two of it."""
        return f"{item}={state}" if state in self.once else None

    def entry(self) -> dict[str, Any]:
        """Return it as ``run.json`` keeps it, so that a run can be judged without the system's file."""
        return {
            "begins": self.begins,
            "moves": list(self.moves),
            "timed": {state: asdict(timed) for state, timed in self.timed.items()},
            "ends": sorted(self.ends),
        }

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Self:
        """Read it back."""
        return cls(
            begins=entry["begins"],
            moves=tuple(entry["moves"]),
            timed={state: Timed(**lengths) for state, lengths in entry["timed"].items()},
            ends=frozenset(entry["ends"]),
        )


def _reached(pairs: Iterable[tuple[str, str]], state: str) -> frozenset[str]:
    """Return the states that moves lead to from ``state``."""
    found: set[str] = set()
    new = {state}
    while new:
        new = {after for before, after in pairs if before in new} - found
        found |= new
    return frozenset(found)


def _pair(move: str) -> tuple[str, str]:
    before, arrow, after = move.partition(ARROW)
    if not (before and arrow and after):
        raise LifecycleError(f"{move!r} is no move; write it as 'open->closed'")
    return before, after
