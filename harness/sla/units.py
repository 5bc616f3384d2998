"""Quantities as people write them: ``"1.5s"``, ``"500 ms"``, ``"0.5%"``, ``"p95"``."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = r"(?P<number>[0-9]+(?:\.[0-9]+)?)"
_DURATION: Final = re.compile(rf"\s*{_NUMBER}\s*(?P<unit>us|ms|s|min|m|h)\s*")
_SHARE: Final = re.compile(rf"\s*{_NUMBER}\s*%\s*")
_QUANTILE: Final = re.compile(rf"\s*p{_NUMBER}\s*")


def parse_duration(text: str) -> float:
    """Return the seconds of ``text`` (``"250ms"``, ``"5s"``, ``"1.5 min"``, ``"2h"``).

    Raises
    ------
    ValueError
        It is not a number with a unit of time.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a duration: write a number with its unit, as in "2s" or "500ms"')
    return float(match["number"]) * _SECONDS[match["unit"]]


def parse_share(text: str) -> float:
    """Return the fraction of ``text`` (``"99.9%"`` is 0.999).

    Raises
    ------
    ValueError
        It is not a percentage between 0 % and 100 %.
    """
    match = _SHARE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a share: write a percentage, as in "99.9%"')
    # By way of decimals: 99.9 / 100 in floating point is a little over 0.999.
    share = Decimal(match["number"]) / 100
    if share > 1:
        raise ValueError(f"{text!r} is over 100%")
    return float(share)


def parse_quantile(text: str) -> float:
    """Return the fraction of ``text`` (``"p95"`` is 0.95).

    Raises
    ------
    ValueError
        It is not a quantile strictly between p0 and p100: no sample bounds those.
    """
    match = _QUANTILE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a quantile: write it as "p95" or "p99.9"')
    fraction = float(Decimal(match["number"]) / 100)
    if not 0 < fraction < 1:
        raise ValueError(f"{text!r}: a quantile must lie between p0 and p100, exclusive")
    return fraction


def format_quantity(value: float | None, unit: str) -> str:
    """Return ``value`` as people read it: three significant digits, its unit, ``never`` for infinity."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never" if unit == "s" else "unbounded"
    if unit == "s":
        if abs(value) < 1:
            return f"{_three_digits(value * 1000)} ms"
        return f"{_three_digits(value)} s"
    if unit == "%":
        return f"{_percent(value)} %"
    return f"{value:g} {unit}".rstrip()


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(digits, 4)}f}"


def _percent(value: float) -> str:
    # Near 0 and near 100 it is the distance to the end that counts: 99.9962, 0.0038.
    if value in (0.0, 100.0):
        return f"{value:.0f}"
    distance = min(abs(value), abs(100 - value))
    digits = 2 if distance >= 0.1 else min(6, 1 - math.floor(math.log10(distance)))
    return f"{value:.{digits}f}"


def format_limited(measured: float | None, unit: str, limit: float | None) -> str:
    """Return a measurement check's figure against its limit: ``33 % (limit 90 %)``."""
    if unit in {"", "missing", "cut off", "rows"}:
        return "–" if measured is None else f"{measured:g} {unit}"
    value = format_quantity(measured, unit)
    if limit is None or measured is None:
        return value
    return f"{value} (limit {format_quantity(limit, unit)})"
