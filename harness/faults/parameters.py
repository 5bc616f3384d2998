"""Parameters of faults: declared as fields with their default and help; the command line is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from harness.faults.errors import FaultError
from harness.sla.units import parse_duration, parse_share

_KIND: Final = "stormwatch"
#: No fault lasts longer, nor does what it does.
LONGEST_S: Final = 3600.0
#: What those who are told a number take: 32 bits with a sign.
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kind of fault: its name, what it may be, and one line on what it does."""

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    #: Of a count: the largest that makes sense.
    most: int = _LARGEST

    @property
    def option(self) -> str:
        """Its name on the command line, without the dashes."""
        return self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Refuse a value that is none.

        Raises
        ------
        FaultError
            The message names the parameter, the value and what it may be.
        """
        complaint = self._complaint(value)
        if complaint:
            raise FaultError(f"--{self.option}: {complaint}")

    def _complaint(self, value: Any) -> str | None:
        try:
            if self.kind == "duration" and parse_duration(value) > LONGEST_S:
                return f"{value!r} is longer than {LONGEST_S / 60:g} minutes"
            if self.kind in {"duration", "share"} and self._is_nothing(value):
                return f"{value!r} is nothing"
            if self.kind == "key" and value is not None:
                parse_lock_key(value)
        except ValueError as error:
            return str(error)
        if self.kind == "count" and not (isinstance(value, int) and 1 <= value <= self.most):
            return f"{value!r} is not a whole number from 1 to {self.most}"
        if self.choices and value not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        return None

    def _is_nothing(self, value: str) -> bool:
        """Tell whether nothing would come of it: no share, or no time where the default is some."""
        if self.kind == "share":
            return not parse_share(value)
        return not parse_duration(value) and parse_duration(self.default) > 0


def duration(default: str, help: str) -> Any:
    """Declare a parameter that is a time with its unit, ``"2s"``; 0 only where that is the default."""
    return _declare("duration", default, help)


def share(default: str, help: str) -> Any:
    """Declare a parameter that is a percentage over 0, ``"30%"``."""
    return _declare("share", default, help)


def count(default: int, help: str, *, most: int = _LARGEST) -> Any:
    """Declare a parameter that is a whole number from 1 to ``most``."""
    return _declare("count", default, help, most=most)


def choice(default: str, choices: Sequence[str], help: str) -> Any:
    """Declare a parameter that is one of ``choices``."""
    return _declare("choice", default, help, tuple(choices))


def lock_key(help: str) -> Any:
    """Declare a parameter that is the key of an advisory lock: ``"-5"``, or of two parts ``"3,-7"``.

    None, the default: the lock that the system's ticks run under.
    """
    return _declare("key", None, help)


def parse_lock_key(text: str) -> tuple[int, ...]:
    """Return the key of an advisory lock in its parts: one of 64 bits, or two of 32, as Postgres has them.

    Raises
    ------
    ValueError
        It is none.
    """
    if re.fullmatch(r"-?[0-9]+(,-?[0-9]+)?", text):
        parts = tuple(map(int, text.split(",")))
        most = 2 ** (63 if len(parts) == 1 else 31)
        if all(-most <= part < most for part in parts):
            return parts
    raise ValueError(f"{text!r} is neither a whole number of 64 bits nor two of 32, such as 3,-7")


def _declare(kind: str, default: Any, help: str, choices: tuple[str, ...] = (), most: int = _LARGEST) -> Any:
    return field(default=default, kw_only=True, metadata={_KIND: (kind, help, choices, most)})


def parameters(kind: type) -> list[Parameter]:
    """Return the parameters of a kind of fault, in the order of their declaration."""
    return [_parameter(declared) for declared in fields(kind) if _KIND in declared.metadata]


def _parameter(declared: Field[Any]) -> Parameter:
    kind, help, choices, most = declared.metadata[_KIND]
    return Parameter(declared.name, kind, declared.default, help, choices, most)
