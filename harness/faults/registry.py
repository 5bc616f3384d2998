"""The kinds of faults: found by being there, in the modules of ``harness.faults``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache

from harness.faults.base import Fault
from harness.faults.errors import FaultError


@cache
def kinds() -> dict[str, type[Fault]]:
    """Return every kind of fault by ``place:name``."""
    return dict(sorted((f"{kind.place}:{kind.name}", kind) for kind in _found()))


def _found() -> Iterator[type[Fault]]:
    """Yield each class in a module of ``harness.faults`` that has a name of its own."""
    import harness.faults

    for found in pkgutil.iter_modules(harness.faults.__path__, "harness.faults."):
        for thing in vars(importlib.import_module(found.name)).values():
            own = isinstance(thing, type) and issubclass(thing, Fault) and thing.__module__ == found.name
            if own and "name" in vars(thing):
                yield thing


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
    former = {f"{kind.place}:{kind.formerly}": kind for kind in known.values() if kind.formerly}
    if name in former:
        return former[name]
    if name not in known:
        place = name.partition(":")[0]
        near = [other for other in known if place in other.split(":")]
        raise FaultError(f"no fault {name!r}: there are {', '.join(near or sorted(known))}")
    return known[name]
