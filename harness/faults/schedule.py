"""Many faults, one after the other and over each other: a timeline that can be printed and repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from harness.faults import Fault, FaultError, FaultTarget, MissingPartError, NotExercisedError, kinds
from harness.history import HistoryWriter

#: How long each fault lasts, and how long until the next begins: some overlap, and there is time to recover.
_LASTS_S: Final = (1.0, 4.0)
_APART_S: Final = (2.0, 6.0)


@dataclass(frozen=True)
class Entry:
    """One fault of a schedule, in seconds from the schedule's start."""

    at_s: float
    for_s: float
    fault: Fault

    def __str__(self) -> str:
        return f"{self.at_s:7.2f} s – {self.at_s + self.for_s:6.2f} s   {self.fault.describe()}"


@dataclass(frozen=True)
class Outcome:
    """What became of one entry; no error: it was applied, exercised and undone."""

    entry: Entry
    error: FaultError | NotExercisedError | None = None

    @property
    def trouble(self) -> str | None:
        """What went wrong, in words."""
        return None if self.error is None else str(self.error)

    @property
    def failed(self) -> bool:
        """Whether it could not be applied or undone: the harness's failure, whatever else was seen."""
        return isinstance(self.error, FaultError)


@dataclass(frozen=True)
class Schedule:
    """A timeline of faults. Prints a line a fault; equal seeds give equal timelines."""

    entries: tuple[Entry, ...]

    @property
    def faults(self) -> list[Fault]:
        """Its faults, in their order."""
        return [entry.fault for entry in self.entries]

    @classmethod
    def random(cls, candidates: Sequence[Fault], *, seed: int, for_s: float) -> Schedule:
        """Draw a timeline of faults among ``candidates`` that are all over after ``for_s`` seconds.

        Each place is as likely as any other, and so is each kind of fault in it, however many targets it
        has. A fault never overlaps another that acts on the same things: what they did could not be told
        apart. When faults begin and end depends on the seed alone; which they are, on the seed and their own
        names: a candidate more changes a timeline only where it is drawn, and what overlaps with that.

        Raises
        ------
        FaultError
            There is nothing to draw from, or no time for a single fault.
        """
        if not candidates:
            raise FaultError("a random schedule needs at least one fault that the target can have")
        if for_s < _LASTS_S[1]:
            raise FaultError(
                f"a random schedule of {for_s:g} s is too short: give it {_LASTS_S[1]:g} s or more"
            )
        free_from: dict[str, float] = {}
        entries: list[Entry] = []
        at_s, number = 0.0, 0
        while at_s + _LASTS_S[1] <= for_s:
            turn = f"{seed} {number}"
            draw = random.Random(turn)  # noqa: S311  # repeatable on purpose
            lasts_s = round(draw.uniform(*_LASTS_S), 2)
            usable = [one for one in candidates if all(free_from.get(o, 0.0) <= at_s for o in one.occupies)]
            if usable:
                fault = _drawn_fault(turn, usable)
                free_from |= dict.fromkeys(fault.occupies, at_s + lasts_s)
                entries.append(Entry(at_s, lasts_s, fault))
            at_s = round(at_s + draw.uniform(*_APART_S), 2)
            number += 1
        return cls(tuple(entries))

    def only(self, numbers: Iterable[int]) -> Schedule:
        """Return it with only the faults of these numbers, from 1; it begins with the first of them.

        Raises
        ------
        FaultError
            It has no fault of such a number.
        """
        chosen = sorted(set(numbers))
        if strange := [one for one in chosen if not 1 <= one <= len(self.entries)]:
            raise FaultError(f"the timeline has {len(self.entries)} faults, and no number {strange[0]}")
        left = [self.entries[number - 1] for number in chosen]
        begins_s = min((entry.at_s for entry in left), default=0.0)
        return Schedule(tuple(replace(one, at_s=round(one.at_s - begins_s, 2)) for one in left))

    def hastened(self, step_s: float) -> Schedule:
        """Return it in the same order, with ``step_s`` seconds at most from a begin or an end to the next."""
        begins: dict[int, float] = {}
        ends: dict[int, float] = {}
        now_s = before_s = 0.0
        for at_s, number, is_begin in self._steps():
            now_s = round(now_s + min(at_s - before_s, step_s), 2)
            before_s = at_s
            (begins if is_begin else ends)[number] = now_s
        return Schedule(
            tuple(
                Entry(begins[number], round(ends[number] - begins[number], 2), entry.fault)
                for number, entry in enumerate(self.entries)
            )
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))

    def run(
        self,
        on: FaultTarget,
        history: HistoryWriter | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
        wait: Callable[[float], None] = time.sleep,
    ) -> list[Outcome]:
        """Inject each fault at its time, and return what became of each.

        A fault that can't be applied or was not exercised is told and does not stop the others. What
        takes long to apply or to undo delays what follows; the history has the times that came about.

        Parameters
        ----------
        on : what is broken.
        history : takes each fault's begin and end.
        say : told of each begin and end.
        wait : waits for so many seconds; whoever has to look after something meanwhile gives their own.
        """
        begun = time.monotonic()
        outcomes: list[Outcome] = []
        running: dict[int, ExitStack] = {}
        with ExitStack() as everything:
            for at_s, number, begins in self._steps():
                left_s = begun + at_s - time.monotonic()
                if left_s > 0:
                    wait(left_s)
                entry = self.entries[number]
                try:
                    if begins:
                        say(f"{entry.fault} begins")
                        scope = running[number] = everything.enter_context(ExitStack())
                        scope.enter_context(entry.fault.inject(on, history))
                    elif number in running:
                        running.pop(number).close()
                        outcomes.append(Outcome(entry))
                        say(f"{entry.fault} is undone")
                except (FaultError, NotExercisedError) as error:
                    running.pop(number, None)
                    outcomes.append(Outcome(entry, error))
                    say(str(error))
        return outcomes

    def _steps(self) -> list[tuple[float, int, bool]]:
        """Return when which entry begins, or ends; at equal times, ends come first."""
        steps: list[tuple[float, int, bool]] = []
        for number, entry in enumerate(self.entries):
            steps += [(entry.at_s, number, True), (entry.at_s + entry.for_s, number, False)]
        return sorted(steps, key=lambda step: (step[0], step[2], step[1]))


def _drawn_fault(turn: str, usable: Sequence[Fault]) -> Fault:
    """Draw a place, a kind in it, and one of the kind."""
    places: dict[str, dict[str, dict[str, Fault]]] = {}
    for fault in usable:
        kind = f"{fault.place}:{fault.formerly or fault.name}"
        places.setdefault(fault.place, {}).setdefault(kind, {})[fault.describe()] = fault
    kinds = places[_drawn(turn, places)]
    faults = kinds[_drawn(turn, kinds)]
    return faults[_drawn(turn, faults)]


def _drawn(turn: str, names: Iterable[str]) -> str:
    """Draw one of ``names``, each as likely: each has a number of its own, whoever else is there."""
    return max(names, key=lambda name: random.Random(f"{turn} {name}").random())  # noqa: S311  # as above


def check(outcomes: Sequence[Outcome], *, every: bool = True) -> None:
    """See that a schedule was carried out, and that something came of it.

    Parameters
    ----------
    outcomes : what became of its entries.
    every : whether each fault must have been exercised. Where they were drawn at random it is no wonder
        that some met nobody: one may be in the other's way. Then one of them is enough.

    Raises
    ------
    MissingPartError
        The target lacks a part that was to be broken.
    FaultError
        A fault could not be applied or undone; the message says which and why.
    NotExercisedError
        A fault was not exercised, or none was.
    """
    failed = [outcome.error for outcome in outcomes if isinstance(outcome.error, FaultError)]
    if failed:
        missing = all(isinstance(error, MissingPartError) for error in failed)
        raise (MissingPartError if missing else FaultError)("; ".join(map(str, failed)))
    unexercised = [outcome.trouble for outcome in outcomes if outcome.trouble]
    if not outcomes or (unexercised if every else len(unexercised) == len(outcomes)):
        raise NotExercisedError("; ".join(unexercised) or "no fault was due")


def candidates(on: FaultTarget) -> list[Fault]:
    """Return every fault, as it is by default, that there can be ``on`` it."""
    found: list[Fault] = []
    for kind in kinds(on.system).values():
        try:
            found += kind.examples(on)
        except MissingPartError:
            continue
    return found
