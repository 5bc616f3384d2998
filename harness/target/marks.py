"""The mark that each run puts on its items: how their names begin, by which they are found and removed."""

from __future__ import annotations

import re
import secrets
from typing import Final

#: How a mark begins.
PREFIX: Final = re.compile(r"sw[0-9a-f]{8}-")


def new_prefix() -> str:
    """Return how the marks of a new run's items begin."""
    return f"sw{secrets.token_hex(4)}-"


def prefix_of(mark: str) -> str | None:
    """Return the prefix of the run that made the item with this mark, None if it is somebody else's."""
    found = PREFIX.match(mark)
    return found[0] if found else None


def is_prefix(text: str) -> bool:
    """Return whether ``text`` is the prefix of a run, and so can't be that of anybody else's items."""
    return PREFIX.fullmatch(text) is not None
