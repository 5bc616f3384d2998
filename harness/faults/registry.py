"""The kinds of faults: those in the modules of ``harness.faults``, and those among a system's levers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache

from harness.faults.base import Fault
from harness.faults.errors import FaultError, MissingPartError
from harness.system import System, levers_of


@cache
def kinds(system: type[System] | None = None) -> dict[str, type[Fault]]:
    """Return every kind of fault that ``system`` can have, by ``place:name``.

    Parameters
    ----------
    system : what is put to the test; None: every kind that is not a system's own.

    Raises
    ------
    FaultError
        Something among the faults of its levers is none.
    """
    known = _all(system)
    return {name: kind for name, kind in known.items() if system is None or not kind.lacks(system)}


def _all(system: type[System] | None) -> dict[str, type[Fault]]:
    """Return every kind of fault by ``place:name``, whatever ``system`` lacks for it."""
    own: tuple[type[Fault], ...] = () if system is None else levers_of(system).faults
    for kind in own:
        if not (isinstance(kind, type) and issubclass(kind, Fault)):
            raise FaultError(f"levers of {system.name}: {kind!r} among its faults does not derive from Fault")
    return dict(sorted((f"{kind.place}:{kind.name}", kind) for kind in (*_found(), *own)))


def _found() -> Iterator[type[Fault]]:
    """Yield each class in a module of ``harness.faults`` that has a name of its own."""
    import harness.faults

    for found in pkgutil.iter_modules(harness.faults.__path__, "harness.faults."):
        for thing in vars(importlib.import_module(found.name)).values():
            own = isinstance(thing, type) and issubclass(thing, Fault) and thing.__module__ == found.name
            if own and "name" in vars(thing):
                yield thing


def places(system: type[System] | None = None) -> dict[str, str]:
    """Return each place and, in one line, what is done there: as the class says that has the ``place``."""
    found: dict[str, str] = {}
    # The class may be of kinds for which the system lacks something.
    for kind in _all(system).values():
        owner = next(base for base in kind.__mro__ if "place" in vars(base))
        if owner is not kind or kind.place not in found:
            found[kind.place] = inspect.cleandoc(owner.__doc__ or "").partition("\n")[0]
    known = {kind.place for kind in kinds(system).values()}
    return {place: about for place, about in found.items() if place in known}


def find_kind(name: str, system: type[System]) -> type[Fault]:
    """Return the kind of fault called ``place:name``.

    Raises
    ------
    FaultError
        There is none; the message lists those of its place, or of its name if the place was left out.
    MissingPartError
        ``system`` lacks what it needs.
    """
    every = _all(system)
    kind = every.get(name) or next(
        (kind for kind in every.values() if kind.formerly and f"{kind.place}:{kind.formerly}" == name), None
    )
    if kind is None:
        place = name.partition(":")[0]
        known = kinds(system)
        near = [other for other in known if place in other.split(":")]
        raise FaultError(f"no fault {name!r}: there are {', '.join(near or known)}")
    if lacking := kind.lacks(system):
        raise MissingPartError(f"{name}: {lacking}")
    return kind
