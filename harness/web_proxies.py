"""Web proxies that the environment names (``HTTP_PROXY`` and the like): no client of the harness uses one.

One rule for all: the load, subscribers, probes, faults and the looks at the database must take the same
way to a system, not every one of them can take a proxy, and what a proxy adds or hides would be measured
as the system's. What is fetched from the internet (:func:`for_downloads`) is no part of a measurement.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_KINDS: Final = frozenset(f"{kind}_proxy" for kind in ("http", "https", "all", "ftp", "ws", "wss", "no"))
#: What tells programs to use none, also where the operating system names one.
_NONE: Final = {"NO_PROXY": "*", "no_proxy": "*"}

#: What was taken out of the environment.
_given: dict[str, str] = {}


def leave_out() -> None:
    """Take proxies out of the environment of this process and of all that it starts from now on."""
    found = {name: value for name, value in os.environ.items() if name.lower() in _KINDS}
    if found != _NONE:
        _given.update(found)
        for name in found:
            del os.environ[name]
        os.environ.update(_NONE)


def notice() -> str | None:
    """Return the line that says what was left out; None if there was no proxy."""
    names = sorted(name for name, value in _given.items() if value and name.lower() != "no_proxy")
    if not names:
        return None
    verb = "are" if len(names) > 1 else "is"
    return f"{', '.join(names)} {verb} not used: every client goes straight to the system, so none differs"


@contextmanager
def for_downloads() -> Iterator[None]:
    """Give proxies back to the environment for as long as something is fetched from the internet."""
    if not _given:
        yield
        return
    for name in _NONE:
        os.environ.pop(name, None)
    os.environ.update(_given)
    try:
        yield
    finally:
        leave_out()
