"""What a fault is: something broken on purpose for a while, recorded, and mended whatever happens.

A new fault is a frozen dataclass with a ``name`` and one context manager, :meth:`Fault.applied`, in the
file of its place::

    @dataclass(frozen=True)
    class Down(NetworkFault):
        \"\"\"Cut every open connection and refuse new ones.

        At its end, clients can connect again.
        \"\"\"

        name = "down"

        @contextmanager
        def applied(self, on: FaultTarget) -> Iterator[Exercised]:
            proxies = self.proxies(on)
            proxies.disable(self.target)
            try:
                yield lambda: None
            finally:
                proxies.enable(self.target)

Its fields are its parameters, declared as :mod:`harness.faults.parameters` says. It is found by being there.
What it must know of the system, it takes from the system's levers, and names those in ``needs``.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.faults.errors import FaultError, MissingPartError, NotExercisedError
from harness.faults.parameters import parameters
from harness.faults.target import FaultTarget
from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor, FaultName
from harness.stack.errors import StackError
from harness.system import System, levers_of
from harness.system.processes import Part

#: Asked before a fault is mended: why it was not exercised, None if it was (or if nobody can tell).
Exercised = Callable[[], str | None]


@dataclass(frozen=True)
class Fault(ABC):
    """Something that can be broken, and mended. Compares, prints and repeats as the value that it is."""

    #: What is broken: a proxy, a process, or what the place says.
    target: str

    place: ClassVar[str]
    name: ClassVar[str]
    #: An earlier name, still taken. Timelines are drawn by it, so that old seeds repeat.
    formerly: ClassVar[str] = ""
    #: Names of the levers (:class:`harness.system.Levers`) that a system must have for it.
    needs: ClassVar[tuple[str, ...]] = ()
    #: Whether items move without events while it lasts, on purpose: none of those is missed.
    silences: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for parameter in parameters(type(self)):
            parameter.check(getattr(self, parameter.name))

    def __str__(self) -> str:
        return str(FaultName(self.place, self.name, self.target))

    def describe(self) -> str:
        """Return the fault with its parameters, as the command line takes it."""
        values = {p.option: getattr(self, p.name) for p in parameters(type(self))}
        options = [f"--{option} {value}" for option, value in values.items() if value is not None]
        return " ".join([str(self), *options])

    @property
    def occupies(self) -> frozenset[str]:
        """What it acts on or can't do without: no other fault may break that at the same time."""
        return frozenset({self.target})

    @property
    def parts(self) -> frozenset[Part]:
        """What a local stack must have beside the system's processes, for there to be something to break."""
        return frozenset()

    @abstractmethod
    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        """Break it on entering, mend it on every way out.

        The value tells, before it is mended, whether anything came across it.

        Raises
        ------
        MissingPartError
            There is no such part.
        FaultError
            It can't be applied, or not be undone.
        """

    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> AbstractContextManager[Exercised]:
        """Break it as :meth:`applied` does; for faults that record more than their begin and end."""
        return self.applied(on)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the fault in what the stack refuses.

        Raises
        ------
        FaultError
            It refused, or did not answer.
        """
        try:
            yield
        except StackError as error:
            raise FaultError(f"{self}: {error}") from error

    @classmethod
    def lacks(cls, system: type[System]) -> str | None:
        """Return what ``system`` lacks for faults of this kind, and the way out; None: nothing."""
        levers = levers_of(system)
        missing = ", ".join(name for name in cls.needs if not getattr(levers, name))
        return f"{system.name} has no lever {missing}: add it to `levers` of its file" if missing else None

    def _check(self, system: type[System]) -> None:
        if lacking := self.lacks(system):
            raise MissingPartError(f"{self}: {lacking}")

    @classmethod
    def mend(cls, on: FaultTarget) -> Iterator[str]:
        """Undo what a fault of this kind left behind that was killed; yield a line a thing."""
        yield from ()

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        """Return the faults of this kind that there can be ``on`` it, for random schedules."""
        return ()

    @contextmanager
    def inject(self, on: FaultTarget, history: HistoryWriter | None = None) -> Iterator[None]:
        """Apply the fault while the block runs, and record its begin and its end.

        Its window begins before it is applied and ends when it is undone, a process that was killed being
        up again.

        Raises
        ------
        MissingPartError, FaultError
            As :meth:`applied`.
        NotExercisedError
            The block ended well, but nothing came across the fault.
        """
        record = _Record(self, history)
        unexercised: str | None = None
        try:
            self._check(on.system)
            with self.observed(on, history) as exercised:
                record.begin()
                yield
                unexercised = exercised()
        except BaseException as error:
            # An error of the block itself is not the fault's.
            own = isinstance(error, FaultError) or not record.begun
            record.end(str(error) or type(error).__name__ if own else None)
            raise
        record.end(f"not exercised: {unexercised}" if unexercised else None)
        if unexercised:
            raise NotExercisedError(f"{self} was not exercised: {unexercised}")


class _Record:
    """The two rows of a fault in the history."""

    def __init__(self, fault: Fault, history: HistoryWriter | None) -> None:
        self.begun = False
        self._history = history
        self._row = Row(
            "fault",
            fault.name,
            Actor.FAULT,
            place=fault.place,
            target=fault.target,
            event=str(uuid.uuid4()),
            start_ns=now_ns(),
        )

    def begin(self) -> None:
        self.begun = True
        self._append(self._row)

    def end(self, error: str | None) -> None:
        row = self._row._replace(ok=error is None, error=error)
        if not self.begun:
            self._append(row)
        self._append(row._replace(end_ns=now_ns()))

    def _append(self, row: Row) -> None:
        if self._history is not None:
            self._history.append(row)
