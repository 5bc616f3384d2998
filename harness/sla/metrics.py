"""What can be promised: each metric with its kind, its good side and the witnesses that it rests on.

``harness/judge/metrics.py`` measures them, by functions of the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from harness.sla.witnesses import Witness, rests_on

Kind = Literal["quantile", "rate", "census"]
Comparison = Literal["<", ">"]


@dataclass(frozen=True)
class Metric:
    """How something is measured, and on which side of a threshold it is good."""

    kind: Kind
    comparison: Comparison
    rests_on: frozenset[Witness]

    @property
    def unit(self) -> Literal["s", "%"]:
        """Unit of its values in a report: seconds, or percent."""
        return "s" if self.kind == "quantile" else "%"


def _latency(*witnesses: Witness) -> Metric:
    return Metric("quantile", "<", rests_on(*witnesses, timed=True))


def _rate(comparison: Comparison, *witnesses: Witness) -> Metric:
    return Metric("rate", comparison, rests_on(*witnesses))


_HEARD: Final = (Witness.SUBSCRIBERS, Witness.MESSAGES)

METRICS: Final[Mapping[str, Metric]] = {
    "monitor_execution": _latency(Witness.CRON),
    "broadcast_latency": _latency(Witness.DATABASE, Witness.DATABASE_CLOCK, *_HEARD),
    "trigger_execution": _latency(Witness.DATABASE, Witness.TRIGGERS),
    "act_latency": _latency(Witness.PLAYERS, *_HEARD),
    "pubnub_delivery": _latency(*_HEARD, Witness.PUBNUB_CLOCK),
    "timer_answers": _latency(Witness.PLAYERS, Witness.DATABASE, Witness.DATABASE_CLOCK),
    "errors": _rate("<", Witness.PLAYERS, Witness.CRON, Witness.SUBSCRIBERS),
    "availability": _rate(">", Witness.PLAYERS, Witness.CRON, Witness.HEALTH),
    "timer_accuracy": _rate(">", Witness.DATABASE, Witness.CRON, Witness.SCHEDULE, Witness.OWN_CLOCK),
    "event_delivery": _rate(">", Witness.DATABASE, *_HEARD),
    "act_delivery": _rate(">", Witness.PLAYERS, *_HEARD),
    "scenarios_passed": Metric("census", ">", rests_on(Witness.SCENARIOS)),
}
