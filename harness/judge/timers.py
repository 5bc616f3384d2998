"""What the timer call told: how far off it was, and whether it took back what a player knew before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.history.names import WORKER, Timer
from harness.judge.evidence import NS, Evidence
from harness.judge.samples import Samples, durations, largest
from harness.judge.table import pair_key
from harness.judge.violations import Violations, violations_of
from harness.system.members import MEMBERS

#: The database keeps microseconds.
_SAME_S: Final = 1e-3
_ASKS: Final = next(one for one in MEMBERS if one.name == "ask_timer")


def timer_error(evidence: Evidence) -> Samples:
    """Return how far off each answer of the steady state was, in s; a state that never was: for ever."""
    answers = evidence.answers
    answers = answers[evidence.steady(answers["start_ns"])]
    chosen = answers[answers["judged"].to_numpy(dtype=bool)]
    off_s = chosen["off_s"].to_numpy(dtype="float64")
    detail = pd.Series(None, index=chosen.index, dtype="object")
    for at in largest(off_s):
        detail.iloc[at] = _told_and_true(chosen.iloc[at])
    samples = durations(
        evidence,
        off_s,
        (chosen["start_ns"] // NS).to_numpy(dtype="int64"),
        "seconds",
        "How far what the timer call told (state, time left, end) was from the truth of the witness, at "
        "whichever moment between the call and its answer it was closest.",
        chosen.assign(error=detail),
        at="start_ns",
        clock=evidence.database_clock.bound_ns,
        own_clock_ns=_players_bound_ns(evidence),
        clock_name="the database",
    )
    if left_out := len(answers) - len(chosen):
        samples.notes.append(
            f"{left_out} answers are of timers of which the end is not known, and not counted"
        )
    worst = [one for one in samples.worst if one["value"] != 0]
    return replace(samples, worst=worst, absent=_absent(evidence))


def went_back(evidence: Evidence) -> Violations:
    """Answers that took back what the same player knew: an earlier state, or more time left in the same."""
    answers = evidence.answers
    answers = answers.assign(player=pair_key(answers["game"], answers["actor"].cat.codes))
    answers = answers.sort_values(["player", "start_ns"], kind="stable", ignore_index=True)
    order = evidence.lifecycle.order if evidence.lifecycle is not None else {}
    known = _known_before(evidence, answers, order)
    earlier = answers["target"].map(order).to_numpy(dtype="float64") < known
    states = {place: state for state, place in order.items()}
    found = answers.assign(known=np.where(earlier, known, np.nan))[earlier | _more_left(evidence, answers)]
    return violations_of(
        evidence,
        found,
        len(answers),
        f"Answers of the timer call that took back what the same player knew: an earlier state than one that "
        f"it was told of before, by the timer call or, longer ago than the promised latency "
        f"({_promised_ns(evidence) / NS:g} s), by an event; or more time left in the same state.",
        lambda row: (
            _told_and_true(row)
            if pd.isna(row["known"])
            else f"told {row['target']} after {states[row['known']]}"
        ),
        absent=_absent(evidence),
    )


def _known_before(evidence: Evidence, answers: pd.DataFrame, order: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the place of the latest state that each answer's player knew of when it asked; NaN: of none."""
    heard = evidence.messages
    ours = heard["target"].notna() & heard["ok"].fillna(value=True) & (heard["game"] >= 0)
    heard = heard[ours.to_numpy(dtype=bool)]
    count, nothing = len(answers), min(order.values(), default=0) - 1
    player = np.concatenate(
        [answers["player"], pair_key(heard["game"], heard["actor"].cat.codes), answers["player"]]
    )
    # What arrives at the moment of a call was not known when the answer was made: calls come first.
    at_ns = [answers["start_ns"], heard["end_ns"] + _promised_ns(evidence), answers["end_ns"]]
    places = [one["target"].map(order).astype("float64").fillna(nothing) for one in (heard, answers)]
    place = np.concatenate([np.full(count, nothing), *places]) - nothing
    by = np.lexsort((np.concatenate([one.to_numpy(dtype="int64") for one in at_ns]), player))
    # Each player's places above those of the one before, so that none of them is carried over.
    above = np.append(0, np.cumsum(np.diff(player[by]) != 0))[: len(by)] * (1 - nothing)
    latest = np.empty(len(by))
    latest[by] = np.maximum.accumulate(place[by] + above) - above
    return np.where(latest[:count] > 0, latest[:count] + nothing, np.nan)


def _more_left(evidence: Evidence, answers: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which answers tell of more time than the one before, of a timer that was not extended."""
    state = answers["target"].cat.codes
    same = (answers["player"] == answers["player"].shift()) & (state == state.shift())
    one_by_one = answers["told_s"].shift() <= answers["asked_s"]
    grew = answers["value"] - answers["value"].shift() > evidence.policy.measurement.clock_error
    as_set = (answers["due_s"] - answers["set_s"]).abs() <= _SAME_S
    return (same & one_by_one & grew & as_set).to_numpy(dtype=bool)


def _promised_ns(evidence: Evidence) -> int:
    """Return how long events may take to be heard, by the promises, in ns."""
    promised = [
        one.threshold for one in evidence.policy.objectives.values() if one.metric == "broadcast_latency"
    ]
    latency_s = max(promised, default=evidence.policy.tolerances.settle)
    return int(latency_s * NS) + evidence.subscribers_bound_ns + _players_bound_ns(evidence)


def _players_bound_ns(evidence: Evidence) -> int:
    """Return the error bound of the clocks by which calls are stamped, against the master's."""
    clocks = zip(evidence.file_clocks, evidence.files, strict=False)
    return max((clock.bound_ns or 0 for clock, file in clocks if WORKER.fullmatch(file.writer)), default=0)


def _absent(evidence: Evidence) -> str:
    """Return why there is nothing to compare, by choice or in an earlier record; empty: there should be."""
    members = (evidence.run.system or {}).get("members")
    if isinstance(members, list) and _ASKS.name not in members:
        return _ASKS.without
    names = evidence.rows("timer")["name"].unique()
    if Timer.TOLD not in names:
        calls = evidence.rows("http")
        asked = calls["intended_ns"].notna() & calls["ok"].fillna(value=False)
        return "its record does not have what the timer call answered" if asked.any() else ""
    if Timer.SET not in names and len(evidence.transitions):
        return "the witness does not say when timers end (`ends_at`)"
    return ""


def _told_and_true(row: pd.Series) -> str:
    """Return what an answer told beside what is true."""
    told = f"told {row['target']}"
    if not pd.isna(row["value"]):
        told += f", {row['value']:.1f} s left"
    if np.isinf(row["off_s"]):
        return f"{told}; it never was"
    gone_s, early_s = row["asked_s"] - row["left_s"], row["entered_s"] - row["told_s"]
    if gone_s > 0:
        return f"{told}; it was over since {gone_s:.1f} s"
    if early_s > 0:
        return f"{told}; it began {early_s:.1f} s later"
    true = f"{told}; {max(row['due_s'] - row['told_s'], 0.0):.1f} s were left"
    off_s = row["ends_s"] - row["due_s"]
    return (
        true if pd.isna(off_s) or abs(off_s) <= _SAME_S else f"{true}, and its end is {abs(off_s):.1f} s off"
    )
