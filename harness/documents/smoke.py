"""What a smoke test found: a row for each thing that was looked at."""

from __future__ import annotations

from harness.documents.base import Model
from harness.documents.verdict import RowVerdict


class SmokeRow(Model):
    """One thing that was looked at."""

    name: str
    verdict: RowVerdict
    #: What was seen, or why nothing could be.
    what: str
    #: How long it took; None: nothing was timed.
    ms: float | None = None
