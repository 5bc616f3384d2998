"""What a service must have given back once a fault is over: connections, memory, descriptors.

Levels are compared with the highest ones before the fault, not with those of a service that has just
started: pools fill and caches warm whatever happens. What a limit leaves room for is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness.documents.rows import Finding
from harness.experiment.expectations import ReadingReturns, before_and_after
from harness.judge import Evidence, Window
from harness.judge.findings import Expectation, compare, unseen

#: Connections that are lent out at the moment of a reading, by the requests of that moment.
_LENT: Final = 3
#: Memory: what an allocator keeps after a peak.
_MEMORY_SHARE: Final = 0.3
_MEMORY_BYTES: Final = 30e6
#: Descriptors besides clients' connections: what pools keep open once it was needed (20 to Postgres, 64 to
#: PubNub), and some that are in passing.
_FILES: Final = 120

#: Readings of files and of connections at about the same time: both are taken each second.
_APART_NS: Final = 1_500_000_000


@dataclass(frozen=True)
class SessionsBounded:
    """The service has no more sessions at Postgres than its pools may hold: none was forgotten there."""

    limit: int

    @property
    def name(self) -> str:
        return f"the service has at most {self.limit} sessions at the database afterwards"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        rows = evidence.readings("service_sessions")
        before, after = before_and_after(rows, fault)
        if after.empty:
            return unseen(self.name, self.limit, "sessions", "they were not counted afterwards")
        explanation = "" if before.empty else f"at most {before.max():g} before"
        threshold = math.nextafter(self.limit, math.inf)
        return compare(self.name, float(after.min()), threshold, "sessions", explanation, [])


@dataclass(frozen=True)
class FilesReturn:
    """Open files of a replica are back at their level before, the connections of its clients aside.

    Clients that hung together keep their connections open for as long as the service lets them (75 s):
    that says nothing of what it keeps by itself. Where a replica's metrics are not read, all files count.
    """

    actor: str

    @property
    def name(self) -> str:
        return f"open_files of {self.actor}, its clients' connections aside, are back at their level before"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        before, after = before_and_after(self._own(evidence), fault)
        if before.empty or after.empty:
            return unseen(self.name, None, "files", "they were not counted before and after")
        threshold = math.nextafter(float(before.max()) + _FILES, math.inf)
        return compare(
            self.name, float(after.min()), threshold, "files", f"at most {before.max():g} before", []
        )

    def _own(self, evidence: Evidence) -> pd.DataFrame:
        """Return the readings of files, each less the connections that were read at about its time."""
        files, clients = (
            rows[rows["actor"] == self.actor][["start_ns", "value"]]
            .astype({"start_ns": "int64"})
            .sort_values("start_ns")
            for rows in (evidence.readings("open_files"), evidence.readings("http_connections"))
        )
        if clients.empty:
            return files
        both = pd.merge_asof(
            files, clients, on="start_ns", direction="nearest", tolerance=_APART_NS, suffixes=("", "_clients")
        ).dropna()
        return both.assign(value=both["value"] - both["value_clients"])


def back_to_level(processes: Sequence[str], sessions: int | None) -> list[Expectation]:
    """Return what holds after every fault of a local stack.

    Judged by the window of the fault, its undoing included, from a record that goes on for a reading or
    more (two seconds) after it.

    Parameters
    ----------
    processes : the system's; of a deployment none is within reach, and nothing is expected.
    sessions : that each of them may have at the database, if that is known.
    """
    expectations: list[Expectation] = []
    if sessions is not None and processes:
        expectations.append(SessionsBounded(len(processes) * sessions))
    # Only the first one's metrics are read.
    expectations += [ReadingReturns("pool_in_use", first, slack=_LENT) for first in processes[:1]]
    for process in processes:
        expectations += [
            ReadingReturns("rss_bytes", process, tolerance=_MEMORY_SHARE, slack=_MEMORY_BYTES),
            FilesReturn(process),
        ]
    return expectations
