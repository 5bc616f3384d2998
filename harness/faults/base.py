"""What a fault is: something broken on purpose for a while, recorded, and mended whatever happens.

A new fault is a frozen dataclass with a ``name`` and one context manager, :meth:`Fault.applied`, in the
file of its place, under :func:`register`::

    @register
    @dataclass(frozen=True)
    class Down(NetworkFault):
        \"\"\"Cut every open connection and refuse new ones.

        At its end, clients can connect again.
        \"\"\"

        name = "down"

        @contextmanager
        def applied(self, system: System) -> Iterator[Exercised]:
            proxies = self.proxies(system)
            proxies.disable(self.target)
            try:
                yield lambda: None
            finally:
                proxies.enable(self.target)

Its fields are its parameters: :func:`duration`, :func:`share`, :func:`count`, :func:`choice` and
:func:`lock_key` declare them with their default and help, from which the command line is made too. A file in
this folder is found by being there; what its place is, its classes say.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Protocol, TypeVar

from harness.sla.units import parse_duration, parse_share
from harness.target import Action, Permission, Target

if TYPE_CHECKING:
    from harness.history import HistoryWriter

#: Asked before a fault is mended: why it was not exercised, None if it was (or if nobody can tell).
Exercised = Callable[[], str | None]

_KIND: Final = "stormwatch"
#: No fault lasts longer, nor does what it does.
LONGEST_S: Final = 3600.0
#: What those who are told a number take: 32 bits with a sign.
_LARGEST: Final = 2**31 - 1


class FaultError(Exception):
    """A fault can't be described, applied or undone: the harness's failure, not the service's."""


class MissingPartError(FaultError):
    """The target has no such part to break: a real deployment has no process to kill. Skip the scenario."""


class NotExercisedError(AssertionError):
    """The fault was applied and undone, but nothing came across it: what was seen proves nothing."""


class System(Protocol):
    """What faults act on: a stack of ours, one that another process runs, or a :class:`Deployment`."""

    @property
    def target(self) -> Target:
        """The system's addresses."""

    @property
    def permission(self) -> Permission:
        """What may be done to it."""

    @property
    def parts(self) -> Mapping[str, Any]:
        """The processes that can be harmed, by name."""

    def pid(self, name: str) -> int | None:
        """Return the process id of a part, None while it is down."""

    def kill(self, name: str) -> None:
        """End a part by SIGKILL and wait until it is gone."""

    def terminate(self, name: str) -> None:
        """Ask a part to end in order."""

    def pause(self, name: str) -> None:
        """Stop a part in its tracks."""

    def resume(self, name: str) -> None:
        """Let a paused part go on."""

    def restart(self, name: str) -> None:
        """End a part if it runs, start it again, wait until it serves."""


@dataclass(frozen=True)
class Deployment:
    """A system that somebody else runs: it has addresses, but no processes within our reach.

    Raises
    ------
    ConsentError
        Nobody consented to its being broken.
    """

    permission: Permission

    def __post_init__(self) -> None:
        self.permission.require(Action.BREAK)

    @property
    def target(self) -> Target:
        return self.permission.target

    @property
    def parts(self) -> Mapping[str, Any]:
        return {}

    def pid(self, name: str) -> int | None:
        self._refuse(name)

    def kill(self, name: str) -> None:
        self._refuse(name)

    def terminate(self, name: str) -> None:
        self._refuse(name)

    def pause(self, name: str) -> None:
        self._refuse(name)

    def resume(self, name: str) -> None:
        self._refuse(name)

    def restart(self, name: str) -> None:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise MissingPartError(f"the target is a deployment: it has no process {name!r} within reach")


@dataclass(frozen=True)
class Fault(ABC):
    """Something that can be broken, and mended. Compares, prints and repeats as the value that it is."""

    #: What is broken: a proxy, a part, or what the place says.
    target: str

    place: ClassVar[str]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        for parameter in parameters(type(self)):
            parameter.check(getattr(self, parameter.name))

    def __str__(self) -> str:
        return f"{self.place}:{self.name} {self.target}".strip()

    def describe(self) -> str:
        """Return the fault with its parameters, as the command line takes it."""
        options = [f"--{p.option} {getattr(self, p.name)}" for p in parameters(type(self))]
        return " ".join([str(self), *options])

    @property
    def occupies(self) -> frozenset[str]:
        """What it acts on or can't do without: no other fault may break that at the same time."""
        return frozenset({self.target})

    @abstractmethod
    def applied(self, system: System) -> AbstractContextManager[Exercised]:
        """Break it on entering, mend it on every way out.

        The value tells, before it is mended, whether anything came across it.

        Raises
        ------
        MissingPartError
            ``system`` has no such part.
        FaultError
            It can't be applied, or not be undone.
        """

    def observed(self, system: System, history: HistoryWriter | None) -> AbstractContextManager[Exercised]:
        """Break it as :meth:`applied` does; for faults that record more than their begin and end."""
        return self.applied(system)

    @classmethod
    def examples(cls, system: System) -> Sequence[Fault]:
        """Return the faults of this kind that ``system`` can have, for random schedules."""
        return ()

    @contextmanager
    def inject(self, system: System, history: HistoryWriter | None = None) -> Iterator[None]:
        """Apply the fault while the block runs, and record its begin and its end.

        Its window begins before it is applied and ends when it is undone, a part that was killed being
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
            with self.observed(system, history) as exercised:
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
        from harness.history.run import now_ns

        self._fault = fault
        self._history = history
        self._event = str(uuid.uuid4())
        self._now = now_ns
        self._start_ns = now_ns()
        self.begun = False

    def begin(self) -> None:
        self.begun = True
        self._append(None, None)

    def end(self, error: str | None) -> None:
        if not self.begun:
            self._append(None, error)
        self._append(self._now(), error)

    def _append(self, end_ns: int | None, error: str | None) -> None:
        if self._history is None:
            return
        from harness.history.schema import Row

        self._history.append(
            Row(
                kind="fault",
                name=self._fault.name,
                actor="fault",
                place=self._fault.place,
                target=self._fault.target,
                event=self._event,
                start_ns=self._start_ns,
                end_ns=end_ns,
                ok=None if end_ns is None and error is None else error is None,
                error=error,
            )
        )


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kind of fault: its name, what it may be, and one line on what it does."""

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    #: Of a count: the largest that makes sense.
    most: int = _LARGEST

    @property
    def option(self) -> str:
        """Its name on the command line, without the dashes."""
        return self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Refuse a value that is none.

        Raises
        ------
        FaultError
            The message names the parameter, the value and what it may be.
        """
        complaint = self._complaint(value)
        if complaint:
            raise FaultError(f"--{self.option}: {complaint}")

    def _complaint(self, value: Any) -> str | None:
        try:
            if self.kind == "duration" and parse_duration(value) > LONGEST_S:
                return f"{value!r} is longer than {LONGEST_S / 60:g} minutes"
            if self.kind in {"duration", "share"} and self._is_nothing(value):
                return f"{value!r} is nothing"
            if self.kind == "key":
                parse_lock_key(value)
        except ValueError as error:
            return str(error)
        if self.kind == "count" and not (isinstance(value, int) and 1 <= value <= self.most):
            return f"{value!r} is not a whole number from 1 to {self.most}"
        if self.choices and value not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        return None

    def _is_nothing(self, value: str) -> bool:
        """Tell whether nothing would come of it: no share, or no time where the default is some."""
        if self.kind == "share":
            return not parse_share(value)
        return not parse_duration(value) and parse_duration(self.default) > 0


def duration(default: str, help: str) -> Any:
    """Declare a parameter that is a time with its unit, ``"2s"``; 0 only where that is the default."""
    return _declare("duration", default, help)


def share(default: str, help: str) -> Any:
    """Declare a parameter that is a percentage over 0, ``"30%"``."""
    return _declare("share", default, help)


def count(default: int, help: str, *, most: int = _LARGEST) -> Any:
    """Declare a parameter that is a whole number from 1 to ``most``."""
    return _declare("count", default, help, most=most)


def choice(default: str, choices: Sequence[str], help: str) -> Any:
    """Declare a parameter that is one of ``choices``."""
    return _declare("choice", default, help, tuple(choices))


def lock_key(default: str, help: str) -> Any:
    """Declare a parameter that is the key of an advisory lock: ``"-5"``, or of two parts ``"3,-7"``."""
    return _declare("key", default, help)


def parse_lock_key(text: str) -> tuple[int, ...]:
    """Return the key of an advisory lock in its parts: one of 64 bits, or two of 32, as Postgres has them.

    Raises
    ------
    ValueError
        It is none.
    """
    if re.fullmatch(r"-?[0-9]+(,-?[0-9]+)?", text):
        parts = tuple(map(int, text.split(",")))
        most = 2 ** (63 if len(parts) == 1 else 31)
        if all(-most <= part < most for part in parts):
            return parts
    raise ValueError(f"{text!r} is neither a whole number of 64 bits nor two of 32, such as 3,-7")


def _declare(kind: str, default: Any, help: str, choices: tuple[str, ...] = (), most: int = _LARGEST) -> Any:
    return field(default=default, kw_only=True, metadata={_KIND: (kind, help, choices, most)})


def parameters(kind: type[Fault]) -> list[Parameter]:
    """Return the parameters of a kind of fault, in the order of their declaration."""
    return [_parameter(declared) for declared in fields(kind) if _KIND in declared.metadata]


def _parameter(declared: Field[Any]) -> Parameter:
    kind, help, choices, most = declared.metadata[_KIND]
    return Parameter(declared.name, kind, declared.default, help, choices, most)


_KINDS: Final[dict[str, type[Fault]]] = {}
_Kind = TypeVar("_Kind", bound=type[Fault])


def register(kind: _Kind) -> _Kind:
    """Make a kind of fault known to schedules and to the command line, as ``place:name``."""
    _KINDS[f"{kind.place}:{kind.name}"] = kind
    return kind


def kinds() -> dict[str, type[Fault]]:
    """Return every kind of fault by ``place:name``: those of each module in ``harness.faults``."""
    import harness.faults

    for module in pkgutil.iter_modules(harness.faults.__path__, "harness.faults."):
        importlib.import_module(module.name)  # for what it registers
    return dict(sorted(_KINDS.items()))


def places() -> dict[str, str]:
    """Return each place and, in one line, what is done there: as the class says that has the ``place``."""
    found: dict[str, str] = {}
    for kind in kinds().values():
        owner = next(base for base in kind.__mro__ if "place" in vars(base))
        if owner is not kind or kind.place not in found:
            found[kind.place] = inspect.cleandoc(owner.__doc__ or "").partition("\n")[0]
    return found


def find_kind(name: str) -> type[Fault]:
    """Return the kind of fault called ``place:name``.

    Raises
    ------
    FaultError
        There is none; the message lists those of its place, or of its name if the place was left out.
    """
    known = kinds()
    if name not in known:
        place = name.partition(":")[0]
        near = [other for other in known if place in other.split(":")]
        raise FaultError(f"no fault {name!r}: there are {', '.join(near or sorted(known))}")
    return known[name]
