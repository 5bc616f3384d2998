"""The policy: every promise with its threshold, read from a TOML file and checked line by line."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.files import DocumentError, read_toml
from harness.load_options import OPTIONS
from harness.sla.metrics import METRICS, Comparison, Kind
from harness.sla.units import parse_duration, parse_quantile, parse_share

SCHEMA: Final = "stormwatch.policy/1"

#: The policy of the project, used unless another is named.
DEFAULT_POLICY: Final = Path(__file__).parents[2] / "scenarios" / "sla.toml"

#: A fault as histories name it, with * for anything: ``network:* service-pubnub``, ``pubnub:*``.
_FAULT_PATTERN: Final = re.compile(r"[^\s:]+:\S+( \S.*)?")


def _below_all(share: float) -> float:
    if share >= 1:
        raise ValueError('must be below "100%": nothing is beyond that, so nothing would be checked')
    return share


def _sure(share: float) -> float:
    if not 0.5 <= share < 1:
        raise ValueError('must be at least "50%" and below "100%"')
    return share


def _like_a_fault(pattern: str) -> str:
    if not _FAULT_PATTERN.fullmatch(pattern):
        raise ValueError('no fault is called so: write "place:name target", * for anything, as in "pubnub:*"')
    return pattern


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(allow_inf_nan=False)]
#: A limit that something can stay below.
Limit = Annotated[Seconds, Field(gt=0)]
Share = Annotated[float, BeforeValidator(parse_share), AfterValidator(_below_all)]
Confidence = Annotated[float, BeforeValidator(parse_share), AfterValidator(_sure)]
Quantile = Annotated[float, BeforeValidator(parse_quantile)]
FaultPattern = Annotated[str, AfterValidator(_like_a_fault)]


class PolicyError(Exception):
    """A policy can't be used; the message names the file and line, or the option, and the way out."""


def parse_threshold(text: Any, unit: str) -> float:
    """Return a threshold in seconds (``unit`` is ``s``) or as a fraction (``%``).

    Raises
    ------
    ValueError
        It is none, or one that no run can be on either side of.
    """
    value = parse_duration(text) if unit == "s" else parse_share(text)
    most = math.inf if unit == "s" else 1.0
    if not 0 < value < most:
        ends = "longer than nothing" if unit == "s" else "between 0% and 100%, both excluded"
        raise ValueError(f"{text!r} can't be kept, or not be broken: it must be {ends}")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Objective(_Model):
    """One promise: a quantile or a share of something, compared with a threshold."""

    title: str
    metric: str
    comparison: Comparison
    #: Seconds for a quantile, a fraction for a rate or a census.
    threshold: float
    quantile: Quantile | None = None
    #: No single sample may exceed it (quantiles of durations only).
    ceiling: Limit | None = None
    #: Of its interval; None: that of the policy. A census has none.
    confidence: Confidence | None = None
    #: Profiles for whose runs it is promised; None: for every run. It is judged in the steady state of the
    #: load, a census over the failure scenarios.
    profiles: list[str] | None = Field(default=None, min_length=1)
    #: Intra-cluster correlation taken for granted where it can't be estimated (rates only).
    assumed_icc: float = Field(default=0.01, ge=0, le=1)
    #: Where in the requirements it is promised.
    source: str

    @property
    def kind(self) -> Kind:
        """How it is measured."""
        return METRICS[self.metric].kind

    @property
    def unit(self) -> str:
        """Unit of its values in a report: seconds, or percent."""
        return METRICS[self.metric].unit

    def applies_to(self, profile: str | None) -> bool:
        """Whether it is promised for runs of a profile; None: of none."""
        return self.profiles is None or profile in self.profiles

    @model_validator(mode="before")
    @classmethod
    def _read_threshold(cls, data: Any) -> Any:
        # A threshold's unit depends on what is measured, so that "2%" is no bound of a latency.
        if not isinstance(data, dict):
            return data
        metric, threshold = data.get("metric"), data.get("threshold")
        if not isinstance(metric, str):
            return data
        if metric not in METRICS:
            raise ValueError(f"metric: {metric!r} is unknown; known: {', '.join(METRICS)}")
        if threshold is None:
            return data
        try:
            return data | {"threshold": parse_threshold(threshold, METRICS[metric].unit)}
        except ValueError as error:
            raise ValueError(f"threshold: {error}") from None

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        if self.comparison != (good := METRICS[self.metric].comparison):
            raise ValueError(f'comparison: {self.metric} is good on the other side; write "{good}"')
        if self.kind == "quantile" and self.quantile is None:
            raise ValueError(f'quantile: {self.metric} is a duration; say which quantile, as in "p95"')
        if self.kind != "quantile" and self.quantile is not None:
            raise ValueError(f"quantile: {self.metric} is a share of operations and has none")
        if self.kind != "quantile" and self.ceiling is not None:
            raise ValueError(f"ceiling: {self.metric} is a share of operations and has none")
        if self.kind == "census" and self.confidence is not None:
            raise ValueError(f"confidence: {self.metric} counts all there is and needs none")
        return self


class Tolerances(_Model):
    """What is granted before something counts as late, lost or disturbed."""

    #: Beyond one tick interval, how much later than its expiry a game may move.
    timer: Seconds
    #: How long after its commit an event may still arrive before it counts as lost.
    settle: Seconds
    #: How long before and after a declared fault nothing is judged by the steady-state objectives.
    before_fault: Seconds
    after_fault: Seconds


class MeasurementLimits(_Model):
    """Beyond these, the measurement itself is in doubt and nothing it touched is judged."""

    #: CPU of any one process of the harness, share of one core, 95th percentile.
    cpu: Share
    #: Lag of any event loop of the harness, 95th percentile; less than this widens intervals only.
    loop_lag: Seconds
    #: How late cron's ticks may leave, 95th percentile.
    tick_lateness: Seconds
    #: Error bound of a comparison with another clock.
    clock_error: Seconds
    #: How far the wall clock may wander from the monotonic one during the run.
    clock_jump: Seconds
    #: Share of history rows that are unknown, duplicated or match nothing.
    unmatched: Share


class Recovery(_Model):
    """How soon a fault is told of, and how soon the service must be itself again after it.

    Examples
    --------
    >>> Recovery(detect="5s", recover="30s", faults={"pubnub:*": "15s"}).limit_s("pubnub:status publish")
    15.0
    """

    #: Until /health names the part that a fault takes away.
    detect: Limit
    #: Until a tick and an event succeed, /health is healthy and the backlog is drained; where nothing ...
    recover: Limit
    #: ... is said of the fault: pattern of ``place:name target`` -> limit. The first that fits counts.
    faults: dict[FaultPattern, Limit] = Field(default_factory=dict)

    def limit_s(self, *faults: str) -> float:
        """Return in how many seconds ``faults`` (``place:name target``) are recovered from: the longest."""
        return max(map(self._limit_s, faults), default=self.recover)

    def _limit_s(self, fault: str) -> float:
        fitting = (limit_s for pattern, limit_s in self.faults.items() if fnmatchcase(fault, pattern))
        return next(fitting, self.recover)


class Profile(_Model):
    """A way to run: options of the load, and what of the policy it changes."""

    title: str
    #: Options of the load by name, durations as strings with a unit.
    options: dict[str, Any] = Field(default_factory=dict)
    #: ``tolerances.timer = "2s"``, ``objectives.broadcast_latency.threshold = "3s"`` ...
    changes: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        known = [option.name for option in OPTIONS.values()]
        for name, value in options.items():
            if name not in known:
                raise ValueError(f"{name}: the load has no such option; it has: {', '.join(known)}")
            if type(value) not in {str, int, float}:
                raise ValueError(f'{name}: {value!r} is neither a number nor a string, as in 200 or "3s"')
        return options


class Policy(_Model):
    """Everything a run is judged by."""

    schema_: Literal["stormwatch.policy/1"] = Field(alias="schema")
    confidence: Confidence
    objectives: dict[str, Objective] = Field(min_length=1)
    tolerances: Tolerances
    measurement: MeasurementLimits
    recovery: Recovery
    profiles: dict[str, Profile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_profiles(self) -> Self:
        for name, objective in self.objectives.items():
            for profile in objective.profiles or ():
                if profile not in self.profiles:
                    known = ", ".join(sorted(self.profiles)) or "none"
                    raise ValueError(
                        f"objectives.{name}.profiles: no profile {profile!r}; there are: {known}"
                    )
        return self

    def confidence_of(self, objective: Objective) -> float | None:
        """Return the confidence of an objective's interval; None: a census, which has no sampling error."""
        return None if objective.kind == "census" else objective.confidence or self.confidence


def load_policy(
    path: Path | None = None, *, profile: str | None = None, changes: Mapping[str, str] | None = None
) -> Policy:
    """Read a policy and check it, with the changes of all its profiles.

    Parameters
    ----------
    path : a TOML file; None: ``scenarios/sla.toml`` of the project.
    profile : name of the profile whose changes apply.
    changes : single overrides by dotted name, ``{"broadcast_latency.threshold": "1s"}``; the
        ``objectives.`` in front may be left out.

    Raises
    ------
    PolicyError
        It can't be read, says something that is not understood, or the override names nothing.
    """
    path = DEFAULT_POLICY if path is None else path
    try:
        text, document = read_toml(path)
    except FileNotFoundError:
        raise PolicyError(f"{path}: no such policy; leave out --sla to use {DEFAULT_POLICY.name}") from None
    except DocumentError as error:
        raise PolicyError(f"{path}: can't be read: {error}") from error
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        keys, complaint = _first(error)
        raise PolicyError(f"{path}:{_line_of(keys, text)}: {'.'.join(keys)}: {complaint}") from None
    chosen = document, policy
    # All of them, so that one that can't be used is not found out on the day that it is.
    for name, one in policy.profiles.items():
        own = [
            _Change(key, value, f"{path}:{_line_of(['profiles', name, 'changes', key], text)}")
            for key, value in flatten(one.changes)
        ]
        changed = _changed(document, own)
        if name == profile:
            chosen = changed
    if profile is not None and profile not in policy.profiles:
        known = ", ".join(sorted(policy.profiles)) or "none"
        raise PolicyError(f"{path}: no profile {profile!r}; it has: {known}")
    asked = [
        _Change(key, _typed(key, value), f"--set {key}={value}") for key, value in (changes or {}).items()
    ]
    return _changed(chosen[0], asked)[1]


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
    document = copy.deepcopy(document)
    for change in changes:
        _put(document, change)
    try:
        return document, Policy.model_validate(document)
    except ValidationError as error:
        keys, complaint = _first(error)
        # It was valid before: the change that comes nearest to what is wrong is to blame.
        blamed = max(changes, key=lambda change: _common(_keys(change.name, document), keys))
        raise PolicyError(f"{blamed.place}: {'.'.join(keys)}: {complaint}") from None


def _put(document: dict[str, Any], change: _Change) -> None:
    keys = _keys(change.name, document)
    table: Any = document
    for key in keys[:-1]:
        table = table.get(key) if isinstance(table, dict) else None
    # An optional field of an objective may be set where it was not.
    optional = keys[0] == "objectives" and len(keys) == 3 and keys[-1] in Objective.model_fields
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
    if not name.endswith(".assumed_icc"):
        return text
    try:
        return float(text)
    except ValueError:
        raise PolicyError(f"--set {name}={text}: {text!r} is not a number") from None


# --- what is wrong, and where --------------------------------------------------------------------------


def _first(error: ValidationError) -> tuple[list[str], str]:
    """Where in the document the first thing is wrong, and what."""
    first = error.errors()[0]
    # "[key]": it is the key that is wrong, and not its value.
    keys = [str(part) for part in first["loc"] if part != "[key]"]
    complaint = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return keys, "unknown; check its spelling"
    if first["type"] == "missing":
        return keys, "missing"
    # Who looks at several values together names the one that is wrong.
    if first["type"] == "value_error" and (named := re.match(r"([\w.-]+): ", complaint)):
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
