"""What a policy says: promises with their thresholds, tolerances, limits of the measurement, profiles."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from harness.load_options import OPTIONS
from harness.sla.drifts import SERIES, parse_growth
from harness.sla.metrics import METRICS, Comparison, Kind
from harness.sla.units import parse_duration, parse_quantile, parse_share

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


def parse_threshold(text: Any, unit: str) -> float:
    """Return a threshold in seconds (``unit`` is ``s``) or as a fraction (``%``).

    Raises
    ------
    ValueError
        It is not one, or not longer than 0 s, or not between 0 % and 100 %, exclusive.
    """
    value = parse_duration(text) if unit == "s" else parse_share(text)
    if not 0 < value < (math.inf if unit == "s" else 1.0):
        ends = "be longer than 0s" if unit == "s" else "lie between 0% and 100%, exclusive"
        raise ValueError(f"{text!r}: a threshold must {ends}")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Objective(_Model):
    """One promise: a quantile or a share of something, compared with a threshold."""

    #: How reports call it; default: its name.
    title: str
    #: What is measured: one of those below.
    metric: str
    #: On which side of the threshold it is good: ``"<"`` or ``">"``.
    comparison: Comparison
    #: A duration (``"2s"``) for a quantile, a share (``"99.9%"``) for all others.
    threshold: float
    #: ``"p95"``; needed where durations are measured, and nowhere else.
    quantile: Quantile | None = None
    #: No single sample may exceed it (quantiles of durations only).
    ceiling: Limit | None = None
    #: Of its interval; default: that of the policy. A census has none.
    confidence: Confidence | None = None
    #: Profiles for whose runs it is promised; default: all. It is judged in the steady state of the load, a
    #: census over the failure scenarios.
    profiles: list[str] | None = Field(default=None, min_length=1)
    #: Intra-cluster correlation taken for granted where it can't be estimated (rates only).
    assumed_icc: float = Field(default=0.01, ge=0, le=1)
    #: Where it is promised.
    source: str

    @property
    def kind(self) -> Kind:
        """How it is measured."""
        return METRICS[self.metric].kind

    @property
    def unit(self) -> Literal["s", "%"]:
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


class Drift(_Model):
    """What must not grow by more than so much in an hour."""

    #: How reports call it.
    title: str
    #: What is followed: one of those in ``sla.toml``.
    series: str
    #: How much it may grow in an hour: ``"50MB"``, ``"400ms"``, ``"20"``.
    limit: float
    #: How long a steady state must be to be judged by what would come of it in an hour; a shorter one fails
    #: only by what has come to more than an hour's limit already.
    least: Limit = 600.0
    #: Where it is promised, or why it is expected.
    source: str

    @model_validator(mode="before")
    @classmethod
    def _read_limit(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(series := data.get("series"), str):
            return data
        if series not in SERIES:
            raise ValueError(f"series: {series!r} is unknown; known: {', '.join(SERIES)}")
        if "limit" not in data:
            return data
        try:
            return data | {"limit": parse_growth(data["limit"], SERIES[series].unit)}
        except ValueError as error:
            raise ValueError(f"limit: {error}") from None


class Tolerances(_Model):
    """What is granted before something counts as late, lost or disturbed."""

    #: Beyond one tick interval, how much later than its expiry a game may move.
    timer: Seconds = 1.0
    #: How long after its commit an event may still arrive before it counts as lost.
    settle: Seconds = 10.0
    #: How long before a declared fault nothing is judged by the steady-state objectives.
    before_fault: Seconds = 2.0
    #: How long after it.
    after_fault: Seconds = 15.0


class MeasurementLimits(_Model):
    """Beyond these, the measurement itself is in doubt and nothing it touched is judged."""

    #: CPU of any one process of the harness, share of one core, 95th percentile.
    cpu: Share = 0.9
    #: Lag of any event loop of the harness, 95th percentile; less than this widens intervals only.
    loop_lag: Seconds = 1.0
    #: How late cron's ticks may leave, 95th percentile.
    tick_lateness: Seconds = 0.25
    #: Error bound of a comparison with another clock.
    clock_error: Seconds = 0.05
    #: How far the wall clock may wander from the monotonic one during the run.
    clock_jump: Seconds = 0.05
    #: Share of history rows that are unknown, duplicated or match nothing.
    unmatched: Share = 0.001


class Recovery(_Model):
    """How soon a fault is told of, and how soon the service must be itself again after it.

    Examples
    --------
    >>> Recovery(detect="5s", recover="30s", faults={"pubnub:*": "15s"}).limit_s("pubnub:status publish")
    15.0
    """

    #: Until /health names the part that a fault takes away.
    detect: Limit = 5.0
    #: Until a request that is sent while a fault lasts is answered or refused.
    answer: Limit = 20.0
    #: Until a tick and an event succeed, /health is healthy and the backlog is drained.
    recover: Limit = 20.0
    #: The same for some faults: pattern (``"pubnub:*"``, ``"network:* players-pubnub"``) -> limit. The first
    #: that fits counts.
    faults: dict[FaultPattern, Limit] = Field(default_factory=dict)
    #: Drills: from the loss of the database to the first move after it.
    recovery_time: Limit = 300.0
    #: Drills: the age, at that loss, of the newest commit that the backup brings back.
    data_loss: Limit = 60.0
    #: Drills: until a way of rolling back has its effect, and until it is taken back.
    rollback: Limit = 300.0

    def limit_s(self, *faults: str) -> float:
        """Return in how many seconds ``faults`` (``place:name target``) are recovered from: the longest."""
        return max(map(self._limit_s, faults), default=self.recover)

    def _limit_s(self, fault: str) -> float:
        fitting = (limit_s for pattern, limit_s in self.faults.items() if fnmatchcase(fault, pattern))
        return next(fitting, self.recover)


class Step(_Model):
    """A step of a rollout: the share of new items that the new version gets, and for how long at least."""

    share: Annotated[float, Field(ge=0, le=1)]
    least_s: Annotated[float, Field(ge=0)]


def _step(text: Any) -> Any:
    share, found, least = text.partition(" for ") if isinstance(text, str) else ("", "", "")
    if not found:
        raise ValueError(f'{text!r}: write a share and the least time, as in "25% for 20s"')
    return Step(share=parse_share(share), least_s=parse_duration(least))


def _rising(steps: list[Step]) -> list[Step]:
    shares = [step.share for step in steps]
    if shares != sorted(set(shares)) or not shares or shares[-1] != 1:
        told = ", ".join(f"{share * 100:g}%" for share in shares) or "there is none"
        raise ValueError(f"must rise from step to step, up to 100%: {told}")
    return steps


#: The requirements', with times for a local stack.
_STEPS: Final = ("0% for 10s", "25% for 20s", "50% for 15s", "100% for 15s")
_CHECKPOINTS: Final = (
    *("error_rate", "timer_accuracy", "event_delivery", "performance", "alerts"),
    *("integrity", "drift"),
)


class Rollout(_Model):
    """How a new version comes to serve all: in steps, past checkpoints, or back.

    A step of 0% shows that what is there is well. A checkpoint is an objective, or ``performance`` (the
    objectives about durations), ``integrity``, ``drift`` or ``alerts``.
    """

    #: ``"25% for 20s"``: the share of new items that the new version gets, and for how long at least.
    steps: Annotated[list[Annotated[Step, BeforeValidator(_step)]], AfterValidator(_rising)] = Field(
        default_factory=lambda: [_step(text) for text in _STEPS]
    )
    #: Objectives, and ``performance`` (all about durations), ``integrity``, ``drift``, ``alerts``.
    checkpoints: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: [*_CHECKPOINTS])
    #: Of all rollouts of a version that keeps every limit, so many are rolled back nevertheless, at most.
    false_alarms: Share = 0.05
    #: How long a step may take to be told; after that, the rollout is held.
    most: Limit = 900.0
    #: From the first bad event until the old version serves the last player again.
    back_within: Limit = 300.0
    #: For how long the old version must be well after a rollback, to prove that all is.
    proof: Limit = 10.0
    #: A command of the team's that splits the traffic, at every step and at a rollback: it is given
    #: STORMWATCH_SHARE (percent) and the addresses of both versions. On local stacks: with ``--hooks`` alone.
    split: str = ""
    #: Commands of the team's that follow a rollback; on local stacks with ``--hooks`` alone.
    rollback: list[str] = Field(default_factory=list)
    #: How long each of them may take.
    hook: Limit = 30.0


#: Checkpoints that are no objectives.
GROUPS: Final = frozenset({"performance", "alerts", "integrity", "drift"})


def _is_duration(value: object) -> bool:
    try:
        return isinstance(value, str) and parse_duration(value) > 0
    except ValueError:
        return False


class Profile(_Model):
    """A way to run: options of the load, and what of the policy it changes."""

    #: What is said of it; default: its name.
    title: str
    #: Options of the load by name, durations as strings with a unit; ``stormwatch run -- --help`` lists them.
    options: dict[str, Any] = Field(default_factory=dict)
    #: What of the policy is otherwise in its runs, by dotted names: ``{ "tolerances.timer" = "2s" }``.
    changes: dict[str, Any] = Field(default_factory=dict)
    #: Objectives that its runs are too short to decide: their rows are there, and count neither way.
    not_judged: list[str] = Field(default_factory=list)
    #: Whether failure scenarios run, too, unless the command line says.
    failures: bool = True
    #: How often its load is played, one after the other on the same stack: each is judged, and the whole.
    parts: Annotated[int, Field(ge=1, le=1000)] = 1

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        known = [option.name for option in OPTIONS.values()]
        for name, value in options.items():
            if name not in known and not _is_duration(value):
                raise ValueError(
                    f"{name}: the load has no such option; it has: {', '.join(known)}, and the length of "
                    "each timer of the system, with its unit"
                )
            if type(value) not in {str, int, float}:
                raise ValueError(f'{name}: {value!r} is neither a number nor a string, as in 200 or "3s"')
        return options


class Policy(_Model):
    """Everything a run is judged by."""

    #: Which fields there are.
    schema_: Literal["stormwatch.policy/1"] = Field(default="stormwatch.policy/1", alias="schema")
    #: Of every interval. An objective passes when its whole interval is on the right side of its threshold.
    confidence: Confidence = 0.95
    objectives: dict[str, Objective] = Field(min_length=1)
    tolerances: Tolerances = Tolerances()
    measurement: MeasurementLimits = MeasurementLimits()
    recovery: Recovery = Recovery()
    drift: dict[str, Drift] = Field(default_factory=dict)
    rollout: Rollout = Field(default_factory=Rollout)
    profiles: dict[str, Profile] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_what_has_no_title(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        named = {
            kind: {
                name: {"title": name.replace("_", " ")} | one if isinstance(one, dict) else one
                for name, one in data[kind].items()
            }
            for kind in ("objectives", "profiles")
            if isinstance(data.get(kind), dict)
        }
        return data | named

    @model_validator(mode="after")
    def _check_profiles(self) -> Self:
        for name, objective in self.objectives.items():
            for profile in objective.profiles or ():
                if profile not in self.profiles:
                    known = ", ".join(sorted(self.profiles)) or "none"
                    raise ValueError(
                        f"objectives.{name}.profiles: no profile {profile!r}; there are: {known}"
                    )
        for name, one in self.profiles.items():
            if unknown := sorted(set(one.not_judged) - set(self.objectives)):
                known = ", ".join(self.objectives)
                raise ValueError(
                    f"profiles.{name}.not_judged: no objective {unknown[0]!r}; there are: {known}"
                )
        return self

    def left_out(self, objective: str, profile: str | None) -> str | None:
        """Return why runs of a profile are not judged by an objective; None: they are."""
        if profile not in self.profiles or objective not in self.profiles[profile].not_judged:
            return None
        return f"not judged in profile {profile}"

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        for name in () if "rollout" not in self.model_fields_set else self.rollout.checkpoints:
            if name not in GROUPS and name not in self.objectives:
                known = ", ".join([*sorted(GROUPS), *self.objectives])
                raise ValueError(f"rollout.checkpoints: no objective {name!r}; there are: {known}")
        return self

    def confidence_of(self, objective: Objective) -> float | None:
        """Return the confidence of an objective's interval; None: a census, which has no sampling error."""
        return None if objective.kind == "census" else objective.confidence or self.confidence
