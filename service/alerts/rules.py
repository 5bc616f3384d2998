"""Alert rules: read from YAML, checked when the service starts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from service.metrics import Metrics
from service.settings import SettingsError, parse_duration

#: Reading -> its value over a window of so many seconds.
READINGS: Final[dict[str, Callable[[Metrics, float], float]]] = {
    "error_rate": lambda metrics, window_s: metrics.error_rate(window_s),
    "execution_time": lambda metrics, window_s: metrics.execution_times.highest(window_s),
    "pubnub_failures": lambda metrics, window_s: metrics.pubnub_failures.total(window_s),
    "unauthorised_calls": lambda metrics, window_s: metrics.unauthorised_calls.total(window_s),
}
CHANNELS: Final = ("slack", "email", "pagerduty")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_CONDITION: Final = re.compile(r"\s*([a-z_]+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")
_LONGEST_S: Final = 3600.0


@dataclass(frozen=True)
class Rule:
    """When to raise an alert, and where to send it."""

    name: str
    condition: str
    reading: str
    comparison: str
    threshold: float
    window_s: float
    window: str
    channels: tuple[str, ...]

    def value(self, metrics: Metrics) -> float:
        """Return the reading over the rule's window."""
        return READINGS[self.reading](metrics, self.window_s)

    def holds(self, value: float) -> bool:
        """Tell whether the alert is due at ``value``."""
        return _COMPARE[self.comparison](value, self.threshold)


def load_rules(path: Path) -> list[Rule]:
    """Read the rules in ``path``.

    Raises
    ------
    SettingsError
        The file can't be read, or a rule is malformed; it is named.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"ALERTS_FILE={str(path)!r} can't be read: {error}") from error
    entries = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise SettingsError(f"ALERTS_FILE={str(path)!r} has no list `alerts`")
    rules = [
        _rule(entry, f"ALERTS_FILE={str(path)!r}: alert {number}") for number, entry in enumerate(entries, 1)
    ]
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"ALERTS_FILE={str(path)!r}: two alerts are named {name!r}")
    return rules


def _rule(entry: Any, where: str) -> Rule:
    if not isinstance(entry, dict):
        raise SettingsError(f"{where} is no mapping")
    missing = [name for name in ("name", "condition", "window", "channels") if name not in entry]
    if missing:
        raise SettingsError(f"{where} has no {missing[0]!r}")
    match = _CONDITION.fullmatch(str(entry["condition"]))
    if match is None or match[1] not in READINGS:
        raise SettingsError(
            f"{where}: condition {entry['condition']!r} is not one of {', '.join(READINGS)}, "
            "compared by > >= < <= with a number"
        )
    try:
        window_s = parse_duration(str(entry["window"]))
    except ValueError as error:
        raise SettingsError(f"{where}: window {entry['window']!r} {error}") from None
    if not 1 <= window_s <= _LONGEST_S:
        raise SettingsError(f"{where}: window {entry['window']!r} is not between 1s and 1h")
    channels = entry["channels"]
    if not isinstance(channels, list) or not channels or any(c not in CHANNELS for c in channels):
        raise SettingsError(f"{where}: channels {channels!r} are not among {', '.join(CHANNELS)}")
    return Rule(
        str(entry["name"]),
        str(entry["condition"]),
        match[1],
        match[2],
        float(match[3]),
        window_s,
        str(entry["window"]),
        tuple(channels),
    )
