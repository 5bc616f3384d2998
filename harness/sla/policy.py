"""The policy: every promise with its threshold, read from a TOML file and checked line by line."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.files import SHIPPED, DocumentError, read_toml
from harness.sla.promises import (
    MeasurementLimits,
    Objective,
    Policy,
    Recovery,
    Rollout,
    Tolerances,
    parse_threshold,
)

__all__ = [
    "DEFAULT_POLICY",
    "EXAMPLE_POLICY",
    "Objective",
    "Policy",
    "PolicyError",
    "flatten",
    "load_policy",
    "parse_threshold",
]

#: Names the policy in the environment.
SETTING: Final = "STORMWATCH_SLA"
#: The policy that comes along, used unless another is named.
DEFAULT_POLICY: Final = SHIPPED / "scenarios" / "sla.toml"
#: What `stormwatch init` writes: for a system that has no policy beside it yet.
EXAMPLE_POLICY: Final = Path(__file__).parents[1] / "commands" / "starter" / "sla.toml"


#: Tables that a policy may leave out, in whole or in part.
_WITH_DEFAULTS: Final[Mapping[str, type[BaseModel]]] = {
    "tolerances": Tolerances,
    "measurement": MeasurementLimits,
    "recovery": Recovery,
    "rollout": Rollout,
}


class PolicyError(Exception):
    """A policy can't be used; the message names the file and line, or the option, a line for each fault."""


def load_policy(
    path: Path | None = None, *, profile: str | None = None, changes: Mapping[str, str] | None = None
) -> Policy:
    """Read a policy and check it, with the changes of all its profiles.

    Parameters
    ----------
    path : a TOML file; None: what ``STORMWATCH_SLA`` says, else ``scenarios/sla.toml`` of the harness.
    profile : name of the profile whose changes apply.
    changes : single overrides by dotted name, ``{"broadcast_latency.threshold": "1s"}``; the
        ``objectives.`` in front may be left out.

    Raises
    ------
    PolicyError
        It can't be read, says something that is not understood, or the override names nothing.
    """
    path = path or Path(os.environ.get(SETTING) or DEFAULT_POLICY)
    document, policy, text = _read(path)
    chosen = document
    # All of them, so that one that can't be used is not found out on the day that it is.
    for name, one in policy.profiles.items():
        own = [
            _Change(key, value, f"{path}:{_line_of(['profiles', name, 'changes', key], text)}")
            for key, value in flatten(one.changes)
        ]
        changed = _changed(document, own)[0]
        if name == profile:
            chosen = changed
    if profile is not None and profile not in policy.profiles:
        known = ", ".join(sorted(policy.profiles)) or "none"
        raise PolicyError(f"{path}: no profile {profile!r}; it has: {known}")
    asked = [
        _Change(key, _typed(key, value), f"--set {key}={value}") for key, value in (changes or {}).items()
    ]
    return _changed(chosen, asked)[1]


def _read(path: Path) -> tuple[dict[str, Any], Policy, str]:
    try:
        text, document = read_toml(path)
    except FileNotFoundError:
        raise PolicyError(f"{path}: no such policy; leave out --sla to use {DEFAULT_POLICY.name}") from None
    except DocumentError as error:
        raise PolicyError(str(error)) from error
    document = _with_what_it_extends(path, document, text)
    try:
        return document, Policy.model_validate(document), text
    except ValidationError as error:
        told = [
            f"{path}:{_line_of(keys, text)}: {'.'.join(keys)}: {complaint}"
            for keys, complaint in _complaints(error)
        ]
        raise PolicyError("\n".join(told)) from None


def _with_what_it_extends(path: Path, document: dict[str, Any], text: str) -> dict[str, Any]:
    """Return ``document`` on top of the policy that its ``extends`` names, if it names one."""
    if "extends" not in document:
        return document
    named = document.pop("extends")
    if named != "default":
        raise PolicyError(
            f"{path}:{_line_of(['extends'], text)}: extends: there is no {named!r} to extend; "
            f'"default" is the policy that comes along ({DEFAULT_POLICY.name})'
        )
    return _on_top(read_toml(DEFAULT_POLICY)[1], document)


def _on_top(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables in which the values of ``above`` stand before those ``below``."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _on_top(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested tables by their dotted names, in order."""
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


# --- changes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Change:
    """A value of the document is to be another."""

    #: Dotted; the ``objectives.`` in front may be left out.
    name: str
    value: Any
    #: Who asks for it: a line of the file, or an option.
    place: str


def _changed(document: dict[str, Any], changes: Sequence[_Change]) -> tuple[dict[str, Any], Policy]:
    """Return a valid document with ``changes`` made, and its policy; what is wrong is blamed on a change."""
    document, told = copy.deepcopy(document), []
    for change in changes:
        try:
            _put(document, change)
        except PolicyError as error:
            told.append(str(error))
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        for keys, complaint in _complaints(error):
            # It was valid before: the change that comes nearest to what is wrong is to blame.
            blamed = max(changes, key=lambda change: _common(_keys(change.name, document), keys))
            told.append(f"{blamed.place}: {'.'.join(keys)}: {complaint}")
    if told:
        raise PolicyError("\n".join(told))
    return document, policy


def _put(document: dict[str, Any], change: _Change) -> None:
    keys = _keys(change.name, document)
    # What is optional may be set where it was not.
    optional = keys == ["confidence"]
    if keys[0] in _WITH_DEFAULTS:
        document.setdefault(keys[0], {})
        optional = len(keys) == 2 and keys[-1] in _WITH_DEFAULTS[keys[0]].model_fields
    elif keys[0] == "objectives":
        optional = len(keys) == 3 and keys[-1] in Objective.model_fields
    table: Any = document
    for key in keys[:-1]:
        table = table.get(key) if isinstance(table, dict) else None
    known = isinstance(table, dict) and (keys[-1] in table or optional)
    if not known or keys[0] in {"schema", "profiles"}:
        raise PolicyError(
            f"{change.place}: nothing is called {change.name!r}; "
            "name it as in the file, e.g. broadcast_latency.threshold"
        )
    table[keys[-1]] = change.value


def _keys(name: str, document: Mapping[str, Any]) -> list[str]:
    # No more than three: the last may be a pattern with dots in it.
    keys = name.split(".", 2)
    return ["objectives", *keys] if keys[0] in document["objectives"] else keys


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many keys two places share from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _typed(name: str, text: str) -> str | float:
    """The value of an option: everything in a policy is a string with a unit, but for this."""
    try:
        return float(text) if name.endswith(".assumed_icc") else text
    except ValueError:
        return text  # refused like any other value that is none


# --- what is wrong, and where --------------------------------------------------------------------------


def _complaints(error: ValidationError) -> list[tuple[list[str], str]]:
    """Return where in the document something is wrong, and what, for all that is."""
    return [_complaint(one) for one in error.errors()]


def _complaint(one: ErrorDetails) -> tuple[list[str], str]:
    # "[key]": it is the key that is wrong, and not its value.
    keys = [str(part) for part in one["loc"] if part != "[key]"]
    complaint = one["msg"].removeprefix("Value error, ")
    if one["type"] == "extra_forbidden":
        return keys, "unknown; check its spelling"
    if one["type"] == "missing":
        return keys, "missing"
    # Who looks at several values together names the one that is wrong.
    if one["type"] == "value_error" and (named := re.match(r"([\w.-]+): ", complaint)):
        return keys + named[1].split("."), complaint[named.end() :]
    return keys, complaint


_HEADER: Final = re.compile(r"\s*\[+(?P<name>[^\[\]]+)\]+\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*(?P<name>("[^"]*"|'[^']*'|[\w. -])+?)\s*=""")


def _line_of(keys: Sequence[str], text: str) -> int:
    """Return the line (from 1) of the key, or of the deepest table above it that the file has."""
    wanted = f"{'.'.join(keys)}."
    best_line, best_length = 1, 0
    table = ""
    for line, content in enumerate(text.split("\n"), 1):
        if header := _HEADER.fullmatch(content):
            found = table = f"{_plain(header['name'])}."
        elif key := _KEY.match(content):
            found = f"{table}{_plain(key['name'])}."
        else:
            continue
        if wanted.startswith(found) and len(found) > best_length:
            best_line, best_length = line, len(found)
    return best_line


def _plain(name: str) -> str:
    """A dotted name without its quotes."""
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
