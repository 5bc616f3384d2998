"""Whether all is as before after a fault, and the record tells so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.experiment.watch import LOOK_S, Watch
from harness.history.names import Reading
from harness.judge import Evidence, Window
from harness.judge.evidence import NS
from harness.judge.findings import Expectation, judge_one
from harness.target.sessions import TROUBLE

#: What is seen is in the record so much later at the latest.
_WRITTEN_S: Final = 2.0


@dataclass(frozen=True)
class Look:
    """The record at one moment, and since when all is settled (Unix ns, None: it is not, or not known)."""

    evidence: Evidence
    settled_since_ns: int | None


class Settling:
    """Looks at a testbed again and again until all is settled.

    Parameters
    ----------
    watch : over the testbed whose record it is.
    span : the fault's, None if there was none.
    recovery : what must hold after it.
    """

    def __init__(self, watch: Watch, span: Window | None, recovery: Sequence[Expectation]) -> None:
        self._watch = watch
        self._testbed = watch.testbed
        self._span = span or Window("", 0, 0)
        #: The one that did not hold at the last look comes first: as long as it does not, no other is asked.
        self._recovery = list(recovery)
        #: Since when nothing was overdue and every recovery made.
        self._well_ns: int | None = None

    def wait(self, limit_s: float) -> Look:
        """Look until all is settled, or for so long; return the last look."""
        deadline = time.monotonic() + limit_s
        while True:
            last = time.monotonic() >= deadline
            look = self.look()
            if look.settled_since_ns is not None or last:
                return look
            self._watch.wait(LOOK_S)

    def look(self) -> Look:
        """Look again.

        All is settled once nothing that fell due meanwhile waits to be moved, every recovery is made, the
        record has all transitions up to then, and every player has heard of them.
        """
        try:
            asked_ns = self._testbed.look_for_overdue()
        except TROUBLE:
            asked_ns = None  # as little as the observer, we can't tell
        evidence = self._testbed.evidence()
        if asked_ns is None or not self._recovered(evidence):
            self._well_ns = None
            return Look(evidence, None)
        self._well_ns = self._well_ns or asked_ns
        return Look(evidence, self._well_ns if self._heard_up_to(evidence, self._well_ns) else None)

    def _recovered(self, evidence: Evidence) -> bool:
        """Tell whether every recovery is made, as far as the figures say: doubts are the last judgement's."""
        for number, expectation in enumerate(self._recovery):
            if judge_one(evidence, self._span, expectation).verdict != "pass":
                self._recovery.insert(0, self._recovery.pop(number))
                return False
        return True

    def _heard_up_to(self, evidence: Evidence, since_ns: int) -> bool:
        """Tell whether all transitions up to a time are in the record, and were heard by everyone."""
        witness = self._testbed.system.witness
        if witness.needs_database:
            # The observer counts sessions last of all: between two such readings it has read everything that
            # was committed before the first.
            readings = evidence.readings(Reading.SESSIONS)["start_ns"].nlargest(2)
            read_to_ns = int(readings.iloc[-1]) if len(readings) == 2 else 0
        else:
            read_to_ns = evidence.span[1] - int((witness.resolution_s + _WRITTEN_S) * NS)
        pairs = evidence.pairs
        unheard = pairs[(pairs["committed_ns"] < read_to_ns) & pairs["received_ns"].isna()]
        return read_to_ns >= since_ns and unheard.empty
