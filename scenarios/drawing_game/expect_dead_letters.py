"""What may be expected where PubNub refuses events for good: dead letters, and a replay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.documents.rows import Finding
from harness.history.names import Publish
from harness.judge import Evidence, Window
from harness.judge.findings import compare, examples_of, none_of, seconds, unseen, within


@dataclass(frozen=True)
class DeadLetters:
    """Events that PubNub refuses become dead letters, with the reason, and every one of them is replayed."""

    reason: str

    @property
    def name(self) -> str:
        return f"what is refused becomes a dead letter ({self.reason}) and can be replayed"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        dead = evidence.published(Publish.DEAD_LETTER)
        failed_ns = dead["start_ns"] - evidence.database_clock.offset_ns
        dead = dead[within(failed_ns, fault.start_ns, math.inf)]
        if dead.empty:
            return compare(self.name, math.inf, 0.0, "dead letters", "there was none", [])
        replayed = evidence.published(Publish.REPLAYED)["event"]
        otherwise = (dead["error"] != self.reason).to_numpy(dtype=bool)
        left = ~evidence.among(dead["event"], replayed)
        explanation = f"{len(dead)} dead letters, {int(otherwise.sum())} for another reason"
        explanation += f", {int(left.sum())} not replayed"
        return none_of(evidence, self.name, dead[otherwise | left], "dead letters", explanation)


@dataclass(frozen=True)
class ReplayHeard:
    """Every player that listened when its game moved hears the replayed event, soon after the replay."""

    within_s: float

    @property
    def name(self) -> str:
        return f"what is replayed is heard by everyone within {self.within_s:g} s"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.published(Publish.REPLAYED)
        rows = rows[within(rows["start_ns"], fault.start_ns, math.inf)]
        pairs = evidence.pairs
        pairs = pairs[evidence.among(pairs["event"], rows["event"])]
        if pairs.empty:
            return unseen(self.name, self.within_s, "s", "nothing that somebody listened for was replayed")
        replayed_ns = int(rows["start_ns"].max())
        after = seconds(pairs["received_ns"], replayed_ns).fillna(math.inf)
        late = pairs[(after >= self.within_s).to_numpy()]
        explanation = f"{len(rows)} events, {len(pairs)} deliveries"
        measured = max(float(after.max()), 0.0)
        return compare(self.name, measured, self.within_s, "s", explanation, examples_of(evidence, late))
