"""What a check for something that must never happen found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from harness.documents.base import Example
from harness.judge.evidence import Evidence

#: How many examples of a violation a report names.
EXAMPLES: Final = 10


@dataclass(frozen=True)
class Violations:
    """What an integrity check found."""

    violations: int
    #: How many cases were looked at.
    looked_at: int
    definition: str
    examples: list[Example] = field(default_factory=list)
    #: Why finding nothing proves nothing.
    doubts: list[str] = field(default_factory=list)
    #: How many of the violations prove nothing while a witness that could tell otherwise is in doubt: as a
    #: rule those that something is *not* in the record.
    deniable: int = 0
    #: Why there is nothing to look at, by choice.
    absent: str = ""


def violations_of(
    evidence: Evidence,
    found: pd.DataFrame,
    looked_at: int,
    definition: str,
    tell: Callable[[pd.Series], str],
    *,
    deniable: bool = False,
    doubts: Sequence[str] = (),
    absent: str = "",
) -> Violations:
    """Return the rows that were ``found`` as violations, each told of by ``tell``."""
    examples = examples_of(evidence, found, tell)
    return Violations(
        len(found), looked_at, definition, examples, list(doubts), len(found) if deniable else 0, absent
    )


def examples_of(evidence: Evidence, rows: pd.DataFrame, tell: Callable[[pd.Series], str]) -> list[Example]:
    """Return the first few ``rows`` by the names of their item, event and actor, each with what it tells."""
    return [_example(evidence, row, tell(row)) for _, row in rows.head(EXAMPLES).iterrows()]


def _example(evidence: Evidence, row: pd.Series, detail: str) -> Example:
    found: Example = {"detail": detail, **evidence.identity(row)}
    if "seq" in row.index and not pd.isna(row["seq"]):
        found["seq"] = int(row["seq"])
    return found
