"""Alert rules: read from YAML, checked when the service starts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.metrics import Metrics
from service.settings import SettingsError, parse_duration

#: Reading -> its value over a window of so many seconds.
READINGS: Final[dict[str, Callable[[Metrics, float], float]]] = {
    "error_rate": lambda metrics, window_s: metrics.errors.mean(window_s),
    "execution_time": lambda metrics, window_s: metrics.execution_times.highest(window_s),
    "pubnub_failures": lambda metrics, window_s: metrics.pubnub_failures.total(window_s),
    "unauthorised_calls": lambda metrics, window_s: metrics.unauthorised_calls.total(window_s),
}
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_CONDITION: Final = re.compile(rf"\s*({'|'.join(READINGS)})\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")
_LONGEST_S: Final = 3600.0


class Rule(BaseModel):
    """When to raise an alert, and where to send it."""

    model_config = ConfigDict(frozen=True)

    name: str
    condition: str
    window: str
    channels: Annotated[tuple[Literal["slack", "email", "pagerduty"], ...], Field(min_length=1)]

    @field_validator("condition")
    @classmethod
    def _is_condition(cls, text: str) -> str:
        if _CONDITION.fullmatch(text) is None:
            raise ValueError(f"is not one of {', '.join(READINGS)}, compared by > >= < <= with a number")
        return text

    @field_validator("window")
    @classmethod
    def _is_window(cls, text: str) -> str:
        if not 1 <= parse_duration(text) <= _LONGEST_S:
            raise ValueError("is not between 1s and 1h")
        return text

    @property
    def window_s(self) -> float:
        """The window in seconds."""
        return parse_duration(self.window)

    def value(self, metrics: Metrics) -> float:
        """Return the reading over the rule's window."""
        return READINGS[self._parts[0]](metrics, self.window_s)

    def holds(self, value: float) -> bool:
        """Tell whether the alert is due at ``value``."""
        _, comparison, threshold = self._parts
        return _COMPARE[comparison](value, float(threshold))

    @property
    def _parts(self) -> tuple[str, ...]:
        match = _CONDITION.fullmatch(self.condition)
        assert match is not None
        return match.groups()


class _Document(BaseModel):
    alerts: list[Rule]


def load_rules(path: Path) -> list[Rule]:
    """Read the rules in ``path``.

    Raises
    ------
    SettingsError
        The file can't be read, or a rule is malformed; it is named.
    """
    file = f"ALERTS_FILE={str(path)!r}"
    try:
        rules = _Document.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).alerts
    except ValidationError as error:
        problem = error.errors()[0]
        place = [f"alert {part + 1}" if isinstance(part, int) else str(part) for part in problem["loc"][1:]]
        words = problem["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{file}: {' '.join(place[:2])}: {problem['input']!r} {words}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} can't be read: {error}") from error
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{file}: two alerts are named {name!r}")
    return rules
