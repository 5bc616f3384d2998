"""Helpers to read messages: each says what is wrong in short and stable words, so that it can be counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.system.base import Unreadable

#: The history keeps numbers of so many bits.
_LIMIT: Final = 1 << 63


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return ``value``, which must be an object.

    Raises
    ------
    Unreadable
        It is not.
    """
    if not isinstance(value, dict):
        raise Unreadable(f"{name} is not an object")
    return value


def text(message: Mapping[str, Any], name: str) -> str:
    """Return the text in the field ``name``.

    Raises
    ------
    Unreadable
        There is none.
    """
    if name not in message:
        raise Unreadable(f"no {name}")
    value = message[name]
    # JSON can escape half of a surrogate pair, which no file can hold.
    if not isinstance(value, str) or not (value.isascii() or _can_be_held(value)):
        raise Unreadable(f"{name} is no text")
    return value


def _can_be_held(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def integer(message: Mapping[str, Any], name: str) -> int | None:
    """Return the whole number from 0 in the field ``name``, None where the field is missing or null.

    Raises
    ------
    Unreadable
        It is something else.
    """
    value = message.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < _LIMIT):
        raise Unreadable(f"{name} is no whole number")
    return value
