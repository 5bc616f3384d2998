"""Whether the record of a run is whole and fits together."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.documents.rows import CheckRow
from harness.history.names import AS_IN, Delivery
from harness.history.witnesses import Witness, witnesses_of
from harness.judge.check import RUN, checked
from harness.judge.evidence import NS, Evidence
from harness.judge.pairs import ambiguous
from harness.judge.table import unknown_kinds
from harness.judge.told import is_alone, unread_of_the_systems
from harness.judge.truth import implied

#: Kinds of rows whose start and end are of one clock.
_SPANS: Final = pa.array(["monitor", "http", "health", "trigger"])
#: How many different reasons are told of.
_REASONS: Final = 3


def complete_run(evidence: Evidence) -> CheckRow:
    """The run must have come to its end, and so must each of its scenarios."""
    interrupted = bool(evidence.run.interrupted)
    lost = [f"{one.id}: {one.message}" for one in evidence.scenarios if one.lost]
    said = ["The run was interrupted; what it saw until then is shown."] if interrupted else []
    said += (
        [f"Scenarios that were collected and have no result of their own: {'; '.join(lost)}."] if lost else []
    )
    return checked(
        "complete_run",
        "Run to its end",
        not said,
        None,
        "",
        None,
        " ".join(said) or "It was not interrupted.",
        frozenset({Witness.SCENARIOS}) if lost and not interrupted else RUN,
    )


def steady_state(evidence: Evidence) -> CheckRow:
    """There must be a declared steady state, and rows in it."""
    total = sum(w.end_ns - w.start_ns for w in evidence.windows if w.name == "steady") / NS
    return checked(
        "steady_state",
        "Steady state declared",
        total > 0,
        total,
        "s",
        None,
        "Only the declared steady windows are judged."
        if total > 0
        else "The run declares no steady window, so there is nothing to judge.",
        RUN,
    )


def witnesses(evidence: Evidence) -> CheckRow:
    """Everything that was to be watched must have been."""
    # One thing that is missing may be a doubt about several witnesses.
    reasons = list(dict.fromkeys(doubt.reason for doubt in evidence.doubts))
    return checked(
        "witnesses",
        "Every witness present",
        not reasons,
        float(len(reasons)),
        "missing",
        0,
        "; ".join(reasons) or "All were there.",
        implied(evidence.run, (doubt.witness for doubt in evidence.doubts)) or RUN,
    )


def whole_files(evidence: Evidence) -> CheckRow:
    """Every history file must have been closed by its writer."""
    cut = [file for file in evidence.files if file.cut_off]
    told = ", ".join(f"{file.path.name} ({file.cut_off})" for file in cut)
    return checked(
        "whole_files",
        "History files whole",
        not cut,
        float(len(cut)),
        "cut off",
        0,
        f"Cut off: {told}; what they hold up to there is used." if cut else "All were closed.",
        implied(evidence.run, (witness for file in cut for witness in witnesses_of(file.writer))) or RUN,
    )


def known_rows(evidence: Evidence) -> CheckRow:
    """Unknown and duplicated rows must be rare."""
    unknown, twice = unknown_kinds(evidence.table), evidence.duplicated
    total = evidence.table.num_rows + twice
    share = (unknown + twice) / total if total else 0.0
    limit = evidence.policy.measurement.unmatched
    return checked(
        "known_rows",
        "Rows known and single",
        share <= limit,
        share * 100,
        "%",
        limit * 100,
        f"{unknown} rows of an unknown kind, {twice} that stood there twice, of {total}.",
        RUN,
    )


def matched_rows(evidence: Evidence) -> CheckRow:
    """Messages that were received must be readable, and their events must have been made.

    Where nobody but the system publishes, what it never made or only now and then makes so that it can't be
    read is its own fault, and no doubt
    (:func:`~harness.judge.told.told_of_nothing`).
    """
    heard = evidence.messages
    alone = is_alone(evidence)
    unreadable = int(np.count_nonzero(heard["name"] == Delivery.UNREADABLE))
    unreadable -= len(unread_of_the_systems(evidence))
    astray = int(np.count_nonzero((heard["ok"] == False) & (heard["event"] >= 0)))  # noqa: E712 - null too
    astray = 0 if alone else astray
    moves = heard["target"].notna()
    nameless = int(np.count_nonzero(moves & (heard["event"] < 0))) if _has_ids(evidence) else 0
    received = evidence.receipts
    ours = received[received["target"].notna().to_numpy()]
    made = pd.concat([evidence.transitions["event"], evidence.publishes["event"]])
    limit = evidence.policy.measurement.unmatched
    lonely = nameless + unreadable + astray
    total = lonely + len(ours)
    if made.empty and _unwatched_database(evidence):
        explanation = "Nobody watched the database, so there is nothing to match them with."
    else:
        lonely += 0 if alone else int(np.count_nonzero(~evidence.among(ours["event"], made)))
        explanation = f"{lonely} of {total} received phase changes belong to no recorded transition."
    if nameless:
        explanation += f" {nameless} of them came without an event id."
    if astray:
        item = evidence.run.words.item
        explanation += f" {astray} messages told of another {item} than the one that they were heard for."
    if unreadable:
        explanation += f" {unreadable} messages could not be read: {_why_unreadable(evidence)}."
    share = lonely / total if total else 0.0
    return checked(
        "matched_rows",
        "Deliveries matched to events",
        share <= limit,
        share * 100,
        "%",
        limit * 100,
        explanation,
        frozenset({Witness.MESSAGES}),
    )


def _has_ids(evidence: Evidence) -> bool:
    """Whether no move of the record lacks its event because it can't be known."""
    return not ambiguous(evidence.transitions)


def _why_unreadable(evidence: Evidence) -> str:
    """The reasons, each with the message that its observer wrote down, if it did."""
    rows = evidence.rows("delivery")
    told = rows.loc[(rows["name"] == Delivery.UNREADABLE).to_numpy(), "error"].dropna().astype(str).unique()
    reasons: dict[str, str] = {}
    for text in sorted(told, key=len, reverse=True):
        reasons.setdefault(text.partition(AS_IN)[0], text)
    return "; ".join(list(reasons.values())[:_REASONS]) or "no reason is recorded"


def _unwatched_database(evidence: Evidence) -> bool:
    """Whether it is known that the database was not read; :func:`witnesses` says so then."""
    return any(doubt.witness is Witness.DATABASE for doubt in evidence.doubts)


def sane_times(evidence: Evidence) -> CheckRow:
    """No row may end before it starts."""
    table = evidence.table
    kinds = pc.is_in(table["kind"].cast("string"), value_set=_SPANS)
    backwards = table.filter(pc.and_(kinds, pc.less(table["end_ns"], table["start_ns"])))
    count = backwards.num_rows
    by_database = "trigger" in pc.unique(backwards["kind"]).to_pylist()
    return checked(
        "sane_times",
        "No row ends before it starts",
        count == 0,
        float(count),
        "rows",
        0,
        f"{count} rows end before they start: the clock of their writer moved." if count else "None does.",
        frozenset({Witness.DATABASE if by_database else Witness.OWN_CLOCK}),
    )
