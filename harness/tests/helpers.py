"""What several test files need: waiting for something to come true, and a policy changed in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.sla.policy import DEFAULT_POLICY

Found = TypeVar("Found")

#: The reference service, also where another system is named.
REFERENCE = "scenarios.systems.drawing_game:DrawingGame"


def eventually(
    holds: Callable[[], Found], within_s: float = 60.0, *, otherwise: Callable[[], str] | None = None
) -> Found:
    """Return what ``holds`` returns once that is true.

    Parameters
    ----------
    holds : asked again and again.
    within_s : how long it may take.
    otherwise : says what is wrong where it takes longer.
    """
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, otherwise() if otherwise else "it did not come true in time"
        time.sleep(0.05)
    return found


def policy_with(folder: Path, old: str, new: str) -> Path:
    """Return a file in ``folder`` with the shipped policy, ``old`` replaced by ``new`` once."""
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    assert old in text
    path = folder / "sla.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path
