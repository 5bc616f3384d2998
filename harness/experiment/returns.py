"""What a service must have given back once a fault is over: connections, memory, descriptors.

Levels are compared with the highest ones before the fault, not with those of a service that has just
started: pools fill and caches warm whatever happens. What a limit leaves room for is said beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from harness.checks import Evidence, Window
from harness.experiment.expectations import (
    BEFORE,
    Expectation,
    Finding,
    ReadingReturns,
    compare,
    unseen,
    within,
)

#: Sessions that one replica of the reference service may have: its pool's and its relay's.
SESSIONS_OF_REPLICA: Final = 21

#: Connections that are lent out at the moment of a reading, by the requests of that moment.
_LENT: Final = 3
#: Memory: what an allocator keeps after a peak.
_MEMORY_SHARE: Final = 0.3
_MEMORY_BYTES: Final = 30e6
#: Descriptors: connections that pools keep open once they were needed (20 to Postgres, 64 to PubNub), and
#: what clients that hung at the same time keep alive: with a dozen games, 190 more than before, and no more
#: however often it happens. One that leaks with each failed call is over this after a few hundred.
_FILES_SHARE: Final = 0.5
_FILES: Final = 250

#: Readings at the end of the record of which the lowest counts: a single one may catch a busy moment.
_LAST: Final = 3


@dataclass(frozen=True)
class SessionsBounded:
    """The service has no more sessions at Postgres than its pools may hold: none was forgotten there."""

    limit: int = SESSIONS_OF_REPLICA

    @property
    def name(self) -> str:
        return f"the service has at most {self.limit} sessions at the database afterwards"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.readings("service_sessions")
        after = rows[within(rows["start_ns"], fault.end_ns, math.inf)]["value"].tail(_LAST)
        if after.empty:
            return unseen(self.name, self.limit, "sessions", "they were not counted afterwards")
        before = rows[within(rows["start_ns"], 0, fault.start_ns)]["value"].tail(BEFORE)
        explanation = "" if before.empty else f"at most {before.max():g} before"
        threshold = math.nextafter(self.limit, math.inf)
        return compare(self.name, float(after.min()), threshold, "sessions", explanation, [])


def back_to_level(replicas: int = 1) -> tuple[Expectation, ...]:
    """Return what holds after every fault of a local stack with so many replicas of the service.

    Judged by the window of the fault, its undoing included, from a record that goes on for a reading or
    more (two seconds) after it.
    """
    expectations: list[Expectation] = [
        SessionsBounded(replicas * SESSIONS_OF_REPLICA),
        # Only the first replica's metrics are read.
        ReadingReturns("pool_in_use", "service-1", slack=_LENT),
    ]
    for number in range(1, replicas + 1):
        replica = f"service-{number}"
        expectations += [
            ReadingReturns("rss_bytes", replica, tolerance=_MEMORY_SHARE, slack=_MEMORY_BYTES),
            ReadingReturns("open_files", replica, tolerance=_FILES_SHARE, slack=_FILES),
        ]
    return tuple(expectations)
