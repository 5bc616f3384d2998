"""What must not grow while a run goes on: each series, its unit, and the metric whose witnesses it shares.

``harness/judge/drift.py`` reads them, by the same names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ByteSize, TypeAdapter, ValidationError

from harness.sla.units import parse_duration

Unit = Literal["s", "MB", "files", "connections", "events"]


@dataclass(frozen=True)
class Series:
    """Something that is followed over the steady state of a run."""

    unit: Unit
    #: A doubt about this metric is one about the series too; empty: only one about the whole run is.
    metric: str = ""


SERIES: Final[Mapping[str, Series]] = {
    "broadcast_latency": Series("s", "broadcast_latency"),
    "monitor_execution": Series("s", "monitor_execution"),
    "memory": Series("MB"),
    "open_files": Series("files"),
    "pool_in_use": Series("connections"),
    "backlog": Series("events"),
}

_BYTES: Final = TypeAdapter(ByteSize)


def parse_growth(text: Any, unit: Unit) -> float:
    """Return how much a series may grow in an hour: ``"400ms"``, ``"50MB"``, ``"20"``.

    Raises
    ------
    ValueError
        It is no quantity of that unit, or nothing.
    """
    if unit == "s":
        found = parse_duration(text)
    elif unit == "MB":
        try:
            # A number without a unit would be bytes, which nobody means.
            found = _BYTES.validate_python(text if str(text).strip()[-1:].isalpha() else None) / 1e6
        except ValidationError:
            raise ValueError(f'{text!r} is no size: write a number with its unit, as in "50MB"') from None
    else:
        try:
            found = float(text)
        except (TypeError, ValueError):
            raise ValueError(f'{text!r} is no number of {unit}: write it as in "20"') from None
    if not 0 < found < math.inf:
        raise ValueError(f"{text!r}: a limit must be more than nothing")
    return found
