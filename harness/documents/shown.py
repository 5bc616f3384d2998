"""What a report shows and does not judge: timelines, distributions, stages, games, proofs of itself."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, Strict

from harness.documents.base import Count, Many, Model, Moment
from harness.documents.verdict import Verdict

TrialOutcome = Literal[
    "as expected", "as something else", "missed", "can't tell", "left out", "can't be seen"
]


class Span(Model):
    """A window of a run on a timeline; Unix ms."""

    name: str
    start_ms: int
    end_ms: int


class Series(Model):
    """A line of a timeline: a value for each bin, None where nothing happened."""

    panel: str
    title: str
    unit: str
    values: Annotated[Many[float | None], Field(max_length=600)]


class Timeline(Model):
    """A run, or a part of it, in equal bins."""

    start_ms: int
    bin_s: Annotated[int, Field(ge=1)]
    bins: Annotated[int, Field(ge=0, le=600)]
    windows: Many[Span]
    series: Annotated[Many[Series], Field(max_length=32)]

    @property
    def end_ms(self) -> int:
        """Unix ms."""
        return self.start_ms + self.bins * self.bin_s * 1000


class Distribution(Model):
    """How a latency is distributed; seconds."""

    metric: str
    samples: Count
    #: Samples that never arrived.
    never: Count
    #: From, to, count; empty bins are left out.
    bins: Annotated[Many[Annotated[tuple[float, float, int], Strict(False)]], Field(max_length=200)]
    #: Quantile to seconds; None: never.
    quantiles: dict[str, float | None]
    longest: float | None


class Stage(Model):
    """A stage of a broadcast; seconds."""

    name: str
    title: str
    what: str
    samples: Count
    #: Whether it is part of the broadcasting latency, commit to receipt.
    in_budget: bool
    #: Its p95 over the threshold of the broadcasting latency (0.05 of it); None: no part of it.
    budget_share: float | None = None
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Move(Model):
    """A move of a game; ms since the game's ``start_ms``."""

    move: str
    due_ms: float | None
    moved_ms: float | None
    committed_ms: float | None


class Delivery(Model):
    """An event and one of its subscribers; ms since the game's ``start_ms``."""

    player: str
    seq: int | None
    committed_ms: float | None
    accepted_ms: float | None
    received_ms: float | None


class Game(Model):
    """One of the worst games, with all that happened to it."""

    game: str
    why: str
    #: Unix ms.
    start_ms: int
    moves: Annotated[Many[Move], Field(max_length=24)]
    deliveries: Annotated[Many[Delivery], Field(max_length=120)]


class Seen(Model):
    """What could be seen of a part of the system under test."""

    #: ``driven``, ``heard``, ``witnessed``, or an optional member of its file.
    part: str
    #: Absent: the system has no such thing, which is not applicable.
    state: Literal["seen", "not seen", "absent"]
    #: How much of it was seen, or why not.
    what: str


class Calibrated(Model):
    """One thing that was injected, and what was reported of it. Delays are in seconds."""

    path: str
    title: str
    #: Where it was injected.
    place: str
    kind: Literal["delay", "count"]
    injected: Annotated[float, Field(ge=0)]
    reported: float | None = None
    error: float | None = None
    #: Holds the error; None for counts, which are exact.
    interval: Annotated[tuple[float, float], Strict(False)] | None = None
    allowed: Annotated[float, Field(ge=0)]
    samples: Count
    verdict: Verdict = "inconclusive"
    #: Why it is no pass.
    reason: str = ""
    #: Median of the baseline: what harness and system need on this path.
    floor: float | None = None


class Tried(Model):
    """A defect that was put before the harness, and what the harness said of it.

    Rows are named ``integrity lost_events``, ``expectation health names pubnub in time``.
    """

    name: str
    title: str
    family: str
    #: What was to show it; empty: nothing can.
    run: str = ""
    #: Rows that say what it is; one of them is enough, and ``*`` stands for anything.
    expected: Many[str] = ()
    #: Rows that failed.
    caught: Many[str] = ()
    #: What else the report said.
    told: str = ""
    #: Why it can't be seen from outside; empty: it can.
    unseen: str = ""
    #: Why it can't be told whether it is caught: its run could not be made, or was in doubt.
    error: str = ""
    #: None: it was not tried.
    seconds: float | None = None

    @property
    def outcome(self) -> TrialOutcome:
        """What came of it."""
        if self.unseen:
            return "can't be seen"
        if self.error:
            return "can't tell"
        if self.seconds is None:
            return "left out"
        if any(fnmatchcase(row, pattern) for row in self.caught for pattern in self.expected):
            return "as expected"
        return "as something else" if self.caught else "missed"


class Healthy(Model):
    """A run of the healthy system, beside the defects."""

    run: str
    #: Rows that failed: false alarms.
    alarms: Many[str] = ()
    #: Why it could not be made.
    error: str = ""
    seconds: float | None = None


class ValidationShown(Model):
    """The newest validation that was known when a report was made."""

    run: str
    finished_at: Moment
    verdict: Verdict
    tried: Many[Tried]
    healthy: Many[Healthy]


class CalibrationShown(Model):
    """The newest calibration that was known when a report was made."""

    run: str
    finished_at: Moment
    verdict: Verdict
    doubts: Many[str]
    rows: Many[Calibrated]
    #: Whether it was made on a machine like that of the run.
    same_machine: bool
