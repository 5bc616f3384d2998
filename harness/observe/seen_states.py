"""Moves that are told by looks at the states of items: what differs from the look before."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from harness.history import Row
from harness.history.names import AMBIGUOUS, Actor, Transition, move
from harness.system import Lifecycle


class Looked(NamedTuple):
    """An item as a look found it. Times are Unix ns by one clock: the system's."""

    item: str
    state: str
    #: When the timer of its state ends; None: none runs, or nobody tells.
    due_ns: int | None
    #: Since when it is in its state; None: nobody tells.
    entered_ns: int | None
    #: When it was asked for, and when that was answered.
    asked_ns: int
    answered_ns: int


class SeenStates:
    """What looks have found so far.

    Parameters
    ----------
    lifecycle : of the items.
    by_hand : states that something other than a timer may bring about.
    """

    def __init__(self, lifecycle: Lifecycle, by_hand: Collection[str]) -> None:
        self._lifecycle = lifecycle
        self._by_hand = by_hand
        self._last: dict[str, Looked] = {}
        #: Item that is gone -> when that was found first and last.
        self._gone: dict[str, tuple[int, int]] = {}

    def missed(self, item: str, asked_ns: int) -> None:
        """Note that an item was not there when it was asked for: not yet, or no longer."""
        if item in self._last:
            self._gone[item] = (self._gone.get(item, (asked_ns,))[0], asked_ns)
        else:
            self._last[item] = Looked(item, self._lifecycle.begins, None, None, asked_ns, asked_ns)

    def row(self, found: Looked, absent_ns: int | None = None) -> Row | None:
        """Note what a look found; return the row of the move that it tells of, None if it tells of none.

        Parameters
        ----------
        absent_ns : when the item was not there yet, should this be the first look at it; None: nobody
            knows, and moves from before are not told.
        """
        if absent_ns is not None:
            self.missed(found.item, absent_ns)
        last = self._last.get(found.item, found)
        self._last[found.item] = found
        self._gone.pop(found.item, None)
        return None if last.state == found.state else self._moved(last, found)

    def overdue(self) -> Iterator[Row]:
        """Yield the rows of the items whose timers were past due at the last look at them.

        One that was gone before its timer ended never moved. Of one that was gone afterwards, or that
        may have been moved by hand, nobody knows: it may have moved, and been removed.
        """
        for one in self._last.values():
            if one.state not in self._lifecycle.timed or one.due_ns is None:
                continue
            gone_ns, looked_ns = self._gone.get(one.item, (one.asked_ns, one.asked_ns))
            lost = gone_ns < one.due_ns and not self._moved_by_hand(one.state)
            if one.due_ns < (looked_ns if lost else one.asked_ns):
                yield Row(
                    "transition",
                    Transition.OVERDUE,
                    Actor.DATABASE,
                    game=one.item,
                    intended_ns=one.due_ns,
                    end_ns=looked_ns,
                    ok=False,
                    error=one.state,
                )

    def _moved_by_hand(self, state: str) -> bool:
        return any(before == state and after in self._by_hand for before, after in self._lifecycle.pairs)

    def due_within(self, from_s: float, to_s: float) -> int:
        """Return how many timers fall due in ``from_s`` to ``to_s`` seconds after the last look."""
        return sum(
            from_s <= (one.due_ns - one.asked_ns) / 1e9 <= to_s
            for one in self._last.values()
            if one.due_ns is not None and one.state in self._lifecycle.timed
        )

    def _moved(self, last: Looked, found: Looked) -> Row:
        """Return the row of a move between two looks; ``value`` is how far off its time may be, in s."""
        known = (last.state, found.state) in self._lifecycle.pairs
        timed = known and last.state in self._lifecycle.timed and found.state not in self._by_hand
        between_ns = (last.asked_ns + found.answered_ns) // 2
        exact = found.entered_ns is not None
        event = self._lifecycle.event_of(found.item, found.state)
        return Row(
            "transition",
            move(last.state, found.state),
            Actor.DATABASE,
            game=found.item,
            event=event,
            # Of moves that fell between two looks only the last one is seen, and not which timer made it.
            intended_ns=last.due_ns if timed else None,
            start_ns=found.entered_ns if exact else between_ns,
            ok=True,
            error=None if event else AMBIGUOUS,
            value=None if exact else (found.answered_ns - last.asked_ns) / 2e9,
        )
