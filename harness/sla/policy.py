"""The policy: every promise with its threshold, read from a TOML file and checked line by line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.sla.units import parse_duration, parse_quantile, parse_share

SCHEMA: Final = "stormwatch.policy/1"

#: The policy of the project, used unless another is named.
DEFAULT_POLICY: Final = Path(__file__).parents[2] / "scenarios" / "sla.toml"

Kind = Literal["quantile", "rate", "census"]

#: What can be promised about: metric -> how it is measured. The checks know the rest.
METRICS: Final[Mapping[str, Kind]] = {
    "monitor_execution": "quantile",
    "broadcast_latency": "quantile",
    "trigger_execution": "quantile",
    "pubnub_delivery": "quantile",
    "errors": "rate",
    "availability": "rate",
    "timer_accuracy": "rate",
    "event_delivery": "rate",
    "scenarios_passed": "census",
}

Seconds = Annotated[float, BeforeValidator(parse_duration)]
Share = Annotated[float, BeforeValidator(parse_share)]
Quantile = Annotated[float, BeforeValidator(parse_quantile)]


class PolicyError(Exception):
    """A policy can't be used; the message names the file, the line and the way out."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Objective(_Model):
    """One promise: a quantile or a share of something, compared with a threshold."""

    title: str
    metric: str
    comparison: Literal["<", ">"]
    #: Seconds for a quantile, a fraction for a rate or a census.
    threshold: float
    quantile: Quantile | None = None
    #: No single sample may exceed it (quantiles of durations only).
    ceiling: Seconds | None = None
    #: Intra-cluster correlation taken for granted where it can't be estimated (rates only).
    assumed_icc: float = Field(default=0.01, ge=0, le=1)
    #: Where in the requirements it is promised.
    source: str

    @property
    def kind(self) -> Kind:
        """How it is measured."""
        return METRICS[self.metric]

    @property
    def unit(self) -> str:
        """Unit of its values in a report: seconds, or percent."""
        return "s" if self.kind == "quantile" else "%"

    @model_validator(mode="before")
    @classmethod
    def _read_threshold(cls, data: Any) -> Any:
        # A threshold's unit depends on what is measured, so that "2%" is no bound of a latency.
        if not isinstance(data, dict):
            return data
        metric = data.get("metric")
        if metric is not None and metric not in METRICS:
            raise ValueError(f"metric: {metric!r} is unknown; known: {', '.join(METRICS)}")
        threshold = data.get("threshold")
        if metric is None or threshold is None:
            return data
        parse = parse_duration if METRICS[metric] == "quantile" else parse_share
        try:
            return data | {"threshold": parse(threshold)}
        except ValueError as error:
            raise ValueError(f"threshold: {error}") from None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "quantile" and self.quantile is None:
            raise ValueError(f'quantile: {self.metric} is a duration; say which quantile, as in "p95"')
        if self.kind != "quantile" and self.quantile is not None:
            raise ValueError(f"quantile: {self.metric} is a share of operations and has none")
        if self.kind != "quantile" and self.ceiling is not None:
            raise ValueError(f"ceiling: {self.metric} is a share of operations and has none")
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
    detect: Seconds
    #: Until a tick and an event succeed, /health is healthy and the backlog is drained; where nothing ...
    recover: Seconds
    #: ... is said of the fault: pattern of ``place:name target`` -> limit. The first that fits counts.
    faults: dict[str, Seconds] = Field(default_factory=dict)

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
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    #: ``tolerances.timer = "2s"``, ``objectives.broadcast_latency.threshold = "3s"`` ...
    changes: dict[str, Any] = Field(default_factory=dict)


class Policy(_Model):
    """Everything a run is judged by."""

    schema_: Literal["stormwatch.policy/1"] = Field(alias="schema")
    confidence: Share
    objectives: dict[str, Objective]
    tolerances: Tolerances
    measurement: MeasurementLimits
    recovery: Recovery
    profiles: dict[str, Profile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_confidence(self) -> Self:
        if not 0.5 <= self.confidence < 1:
            raise ValueError('confidence: must be at least "50%" and below "100%"')
        return self


def load_policy(
    path: Path | None = None, *, profile: str | None = None, changes: Mapping[str, str] | None = None
) -> Policy:
    """Read a policy.

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
        text = path.read_text()
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise PolicyError(f"{path}: no such policy; leave out --sla to use {DEFAULT_POLICY.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path}: not TOML: {error}") from error
    policy = _validate(document, path, text)
    if profile is None and not changes:
        return policy
    if profile is not None:
        if profile not in policy.profiles:
            known = ", ".join(sorted(policy.profiles)) or "none"
            raise PolicyError(f"{path}: no profile {profile!r}; it has: {known}")
        for name, value in _flatten(document["profiles"][profile].get("changes", {})):
            _override(document, name, value, path)
    for name, value in (changes or {}).items():
        _override(document, name, value, path)
    return _validate(document, path, text)


def _validate(document: dict[str, Any], path: Path, text: str) -> Policy:
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        named = re.match(r"([a-z_]+): ", message)
        if named and first["type"] == "value_error" and (not keys or keys[-1] != named[1]):
            keys.append(named[1])
            message = message.removeprefix(named[0])
        if first["type"] == "extra_forbidden":
            message = "unknown; check its spelling"
        elif first["type"] == "missing":
            message = "missing"
        place = f"{path}:{_line_of(keys, text)}"
        raise PolicyError(f"{place}: {'.'.join(keys)}: {message}") from None


def _override(document: dict[str, Any], name: str, value: Any, path: Path) -> None:
    keys = name.split(".")
    if keys[0] in document.get("objectives", {}):
        keys.insert(0, "objectives")
    table: Any = document
    for key in keys[:-1]:
        table = table.get(key) if isinstance(table, dict) else None
    # An optional field (ceiling, assumed_icc) may be set where it was not.
    optional = keys[0] == "objectives" and len(keys) == 3 and keys[-1] in Objective.model_fields
    if not isinstance(table, dict) or (keys[-1] not in table and not optional):
        raise PolicyError(
            f"{path}: nothing is called {name!r}; name it as in the file, e.g. broadcast_latency.threshold"
        )
    old = table.get(keys[-1])
    if isinstance(value, str) and (isinstance(old, float) or keys[-1] == "assumed_icc"):
        try:
            value = float(value)
        except ValueError:
            raise PolicyError(f"{name}: {value!r} is not a number") from None
    table[keys[-1]] = value


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


_HEADER: Final = re.compile(r"\s*\[\s*(?P<name>[^\[\]]+?)\s*\]\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*(?P<name>"[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)\s*=""")


def _line_of(keys: list[str], text: str) -> int:
    """Return the line (from 1) of the key, or of the deepest table above it that the file has."""
    best_line, best_depth = 1, 0
    table: list[str] = []
    for line, content in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(content):
            table = _split(header["name"])
            found = table
        elif key := _KEY.match(content):
            found = table + _split(key["name"])
        else:
            continue
        depth = len(found)
        if found == keys[:depth] and depth > best_depth:
            best_line, best_depth = line, depth
    return best_line


def _split(dotted: str) -> list[str]:
    if dotted[0] in "\"'":
        return [dotted[1:-1]]
    return [part.strip().strip("\"'") for part in dotted.split(".")]
