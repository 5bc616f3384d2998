"""live.json: what is known of a run while it goes on."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, Strict

from harness.documents.base import Count, Document, Example, Interval, Many, Model, Moment, Number
from harness.documents.rows import Ceiling
from harness.documents.verdict import RowVerdict, Verdict

SCHEMA: Final = "stormwatch.live/1"


class InWords(Model):
    """An objective's figures as they are shown."""

    target: str
    measured: str
    interval: str
    samples: str
    needed: str | None
    #: Where the interval lies on a scale from 0 (far better than promised) to 1, the threshold at 0.5.
    place: Annotated[tuple[float, float], Strict(False)] | None
    #: The places so far, the oldest first: Unix time in seconds, low, high.
    trail: Many[Annotated[tuple[float, float, float], Strict(False)]] = ()


class LiveObjective(Model):
    """An objective so far; its figures as a report has them."""

    name: str
    title: str
    verdict: RowVerdict
    measured: Number
    unit: Literal["s", "%"]
    quantile: float | None
    comparison: Literal["<", ">"]
    threshold: float
    ceiling: Ceiling | None
    interval: Interval
    confidence: float | None
    samples: Count
    samples_needed: int | None
    reason: str
    shown: InWords


class LiveIntegrity(Model):
    """An integrity rule so far."""

    name: str
    title: str
    verdict: RowVerdict
    violations: Count
    looked_at: Count
    examples: Many[Example]


class LiveDoubt(Model):
    """Why the measurement can't be trusted."""

    name: str
    title: str
    explanation: str


class Kpi(Model):
    """A figure that the requirements want on a dashboard; nothing judges it."""

    title: str
    #: What each figure is of, and the figure in words; none: ``source`` says what is lacking.
    figures: Many[Annotated[tuple[str, str], Strict(False)]]
    source: str


class Figures(Model):
    """What the last judgement found."""

    judged_at: Moment
    verdict: Verdict
    objectives: Many[LiveObjective]
    integrity: Many[LiveIntegrity]
    doubts: Many[LiveDoubt]
    kpis: Many[Kpi] = ()


class LiveWindow(Model):
    """The window that is open."""

    name: str
    since: Moment
    elapsed_s: float
    #: None: nobody knows.
    lasts_s: float | None
    left_s: float | None


class LiveFault(Model):
    """A fault that is on, or the newest that was."""

    name: str
    #: None: it is the load's own.
    scenario: str | None
    since: Moment
    for_s: float
    #: How long ago it ended; None: it is on.
    ended_s: float | None = None


class UnderWay(Model):
    """A scenario that was begun and has not ended."""

    id: str
    title: str


class LiveScenarios(Model):
    """The failure scenarios so far."""

    under_way: Many[UnderWay]
    passed: Count
    done: Count
    #: None: not known.
    planned: int | None


class Live(Document):
    """What goes on at the moment, and the figures of the last time it was judged."""

    schema_id: Literal["stormwatch.live/1"] = Field(SCHEMA, alias="schema")
    run: str
    updated_at: Moment
    #: Whether the first window was opened.
    begun: bool
    ended: bool
    window: LiveWindow | None
    faults: Many[LiveFault]
    #: The one that ended last.
    newest: LiveFault | None = None
    scenarios: LiveScenarios
    #: How often it is judged at the moment.
    every_s: float | None
    #: Why it can't be judged.
    problem: str | None
    #: None: it was not judged yet.
    figures: Figures | None
    #: What the system calls its items.
    items: str = "items"
    #: What repeats the run.
    command: str | None = None
