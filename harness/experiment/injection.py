"""A fault that was injected into an experiment: when, what was expected of it, and what came of that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from harness.documents.rows import Finding, Injected
from harness.experiment.expectations import not_applicable
from harness.faults import Fault
from harness.history.run import moment
from harness.judge import Evidence, FaultWindow, Window
from harness.judge.findings import Expectation, judge_all
from harness.judge.recovery import BacklogDrained, HealthyAgain, ServesAgain, detected_after_s
from harness.stack.proxies import LOAD_SERVICE


@dataclass
class Injection:
    """A fault that was injected, when, what was expected of it and what came of that."""

    name: str
    place: str
    expectations: list[Expectation]
    #: As the policy names them: its limit for them is what recovery is judged by.
    faults: list[str]
    #: When it began to be applied, was in effect, began to be undone, and was undone. Unix ns.
    begun_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0
    undone_ns: int = 0
    findings: dict[Expectation, Finding] = field(default_factory=dict)
    detected_after_s: float | None = None
    #: Of a schedule: each of its faults, as the record has it.
    parts: list[FaultWindow] = field(default_factory=list)

    @property
    def effect(self) -> Window:
        """When the fault was in effect: what is expected while it lasts is judged by this."""
        return Window(self.name, self.start_ns, self.end_ns)

    @property
    def span(self) -> Window:
        """From its very begin to its end: what it may have held up, and recovery counts from its end."""
        return Window(self.name, self.begun_ns, self.undone_ns)

    def take_findings(self, evidence: Evidence, always: Sequence[Expectation]) -> None:
        """Find out from the record what came of it.

        Parameters
        ----------
        always : expected from its very begin to its end, beside what is expected while it is in effect.
        """
        self.findings = {
            one: found
            for span, expected in ((self.effect, self.expectations), (self.span, always))
            for one, found in zip(expected, judge_all(evidence, span, expected), strict=True)
            if not not_applicable(one, evidence, span)
        }
        self.detected_after_s = detected_after_s(evidence, self.span)
        if len(self.faults) > 1:
            self.parts = [
                fault for fault in evidence.faults if self.begun_ns <= fault.start_ns < self.undone_ns
            ]

    def documents(self) -> list[Injected]:
        """Return the fault as documents hold it; behind a schedule, each fault of it."""
        whole = Injected(
            name=self.name,
            place=self.place,
            started_at=_reached(self.begun_ns),
            ended_at=_reached(self.undone_ns),
            expectations=tuple(self.findings.values()),
            detected_after_s=self.detected_after_s,
            recovered_after_s=self._measured(ServesAgain, HealthyAgain, BacklogDrained),
        )
        parts = [
            Injected(
                name=part.name,
                place=part.fault.place,
                started_at=_reached(part.start_ns),
                ended_at=_reached(part.end_ns or 0),
                error=part.error,
            )
            for part in self.parts
        ]
        return [whole, *parts]

    def _measured(self, *kinds: type) -> float | None:
        """Return the longest time that expectations of ``kinds`` measured; None unless all did."""
        found = [finding.measured for key, finding in self.findings.items() if isinstance(key, kinds)]
        times = [measured for measured in found if measured is not None]
        return max(times) if times and len(times) == len(found) else None


def takes_away(fault: Fault, processes: Collection[str]) -> bool:
    """Return whether a fault takes away one of the system's ``processes``, or its address."""
    return fault.target == LOAD_SERVICE or fault.target in processes


def _reached(unix_ns: int) -> str | None:
    """Return a time as RFC 3339; None for a fault that never got so far."""
    return moment(unix_ns) if unix_ns else None
