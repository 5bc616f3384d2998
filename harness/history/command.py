"""The command that does a run again, as ``run.json`` tells it: resolved, and without secrets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Final

#: What stands before the host in an address: a user's name and password.
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def command_line(words: Iterable[str]) -> str:
    """Return ``words`` as a shell takes them, addresses without their credentials.

    Examples
    --------
    >>> command_line(["locust", "--host=http://me:secret@host/", "-f", "my games.py"])
    "locust --host=http://host/ -f 'my games.py'"
    """
    return shlex.join(_CREDENTIALS.sub("", word) for word in words)


def with_seed(options: Sequence[str], seed: int | None) -> list[str]:
    """Return ``options`` with ``--seed`` at the end, whatever seed they had; None: none was drawn yet."""
    if seed is None:
        return list(options)
    words = list(options)
    while "--seed" in words:
        place = words.index("--seed")
        del words[place : place + 2]
    return [*(word for word in words if not word.startswith("--seed=")), f"--seed={seed}"]
