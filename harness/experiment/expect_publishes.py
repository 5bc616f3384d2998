"""What may be expected of publishes that PubNub refuses: pauses that it asked for, and few attempts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from harness.documents.rows import Finding
from harness.history.names import Publish
from harness.judge import Evidence, Window
from harness.judge.findings import compare, examples_of, none_of, unseen, within

#: Publishes that were under way as a refusal was answered.
_UNDER_WAY_NS: Final = 100_000_000
#: Clocks and timers are not exact.
_EXACT_NS: Final = 50_000_000


@dataclass(frozen=True)
class LeftAlone:
    """PubNub, having refused an attempt and said for how long it wants none, gets none for so long.

    Parameters
    ----------
    status : that it refuses with.
    for_s : what its ``Retry-After`` says.
    """

    status: int
    for_s: float

    @property
    def name(self) -> str:
        return f"PubNub is left alone for {self.for_s:g} s after each {self.status}, as it asked"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = _attempts(evidence, fault).sort_values("start_ns")
        refused_ns = np.sort(rows["end_ns"][rows["value"] == self.status].dropna().to_numpy(dtype="int64"))
        if len(refused_ns) == 0:
            return unseen(self.name, 0.0, "attempts", f"none of {len(rows)} attempts was refused so")
        came_ns = rows["start_ns"].to_numpy(dtype="int64")
        last = np.searchsorted(refused_ns, came_ns - _UNDER_WAY_NS) - 1
        since_ns = came_ns - refused_ns[np.maximum(last, 0)]
        early = rows[(last >= 0) & (since_ns < self.for_s * 1e9 - _EXACT_NS)]
        explanation = f"{len(rows)} attempts, {len(refused_ns)} refused"
        return none_of(evidence, self.name, early, "attempts", explanation)


@dataclass(frozen=True)
class NoRetryStorm:
    """PubNub sees few attempts of each event, and few in all, while it refuses them."""

    per_event: int
    per_second: float

    @property
    def name(self) -> str:
        return f"at most {self.per_event} attempts an event and {self.per_second:g} a second while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = _attempts(evidence, fault)
        if rows.empty:
            return unseen(self.name, float(self.per_event), "attempts", "no attempt came in while it lasted")
        unknown = int((rows["event"] < 0).sum())
        if unknown:
            return unseen(self.name, float(self.per_event), "attempts", f"{unknown} are of unknown events")
        counts = rows["event"].value_counts()
        rate = len(rows) / ((fault.end_ns - fault.start_ns) / 1e9)
        explanation = f"{len(rows)} attempts of {len(counts)} events, at most {counts.max()} of one"
        explanation += f", {rate:.1f} a second"
        stormy = rows[rows["event"].isin(counts[counts > self.per_event].index)]
        if rate > self.per_second and stormy.empty:
            return compare(self.name, rate, self.per_second, "a second", explanation, [])
        return compare(
            self.name,
            float(counts.max()),
            math.nextafter(self.per_event, math.inf),
            "attempts",
            explanation,
            examples_of(evidence, stormy),
        )


def _attempts(evidence: Evidence, fault: Window) -> pd.DataFrame:
    """Return what PubNub was asked to publish while ``fault`` was in effect."""
    rows = evidence.published(Publish.ATTEMPT)
    return rows[within(rows["start_ns"] - evidence.pubnub_clock.offset_ns, fault.start_ns, fault.end_ns)]
