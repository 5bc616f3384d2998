"""Answers of the timer call beside the truth: the state, what is left of it, and when it ends.

An answer was made at some moment between its call and its arrival, so that what it tells is held against the
truth at all of these: the error is the least that it may have been. A timer that is extended ends, for
whoever asks, anywhere between its first end and its last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.history.names import Timer
from harness.judge.clocks import NS
from harness.judge.table import pair_key
from harness.judge.truth import known_to_ns

if TYPE_CHECKING:
    from harness.judge.evidence import Evidence

Seconds = NDArray[np.float64]


def answers_of(evidence: Evidence) -> pd.DataFrame:
    """Return the answers, each with the phase that it told of and by how much it was ``off_s``.

    ``judged`` says whether the truth is known: of a phase that is under way, or that no timer ended, nobody
    knows when it was to end. Times in seconds by our clock: ``asked_s``, ``told_s``, ``entered_s``,
    ``left_s``, ``set_s`` (its end as it was set) and ``due_s`` (its end as it was when it was left);
    ``ends_s`` and ``value`` are what was told.
    """
    rows = evidence.rows("timer")
    told = rows[(rows["name"] == Timer.TOLD).to_numpy() & (rows["game"] >= 0).to_numpy()]
    told = told[(told["end_ns"] <= known_to_ns(evidence)).fillna(value=False).to_numpy(dtype=bool)]
    columns = ["actor", "game", "intended_ns", "start_ns", "end_ns", "value", "target"]
    told = told[columns].reset_index(drop=True)
    base_ns = evidence.span[0]
    told["asked_s"], told["told_s"] = (_since(told[name], base_ns) for name in ("start_ns", "end_ns"))
    told["ends_s"] = _since(told["intended_ns"], base_ns + evidence.database_clock.offset_ns)
    phases = _phases(evidence, base_ns)
    states = told["target"].cat.categories.get_indexer(pd.Index(phases["state"]))
    phases["state"] = pair_key(phases["game"], pd.Series(states))
    told["state"] = pair_key(told["game"], told["target"].cat.codes)
    found = told.reset_index(names="answer").merge(phases.drop(columns="game"), how="left", on="state")
    found["off_s"] = _off(found)
    if found["answer"].duplicated().any():
        # Of a state that an item was in more than once, the time that it may have been about.
        found = found.sort_values(["answer", "off_s"], kind="stable").drop_duplicates(
            "answer", ignore_index=True
        )
    tells_end = found["value"].notna() | found["ends_s"].notna()
    in_record = found["game"].isin(phases["game"])
    ends = found["set_s"].notna() & found["due_s"].notna()
    found["judged"] = in_record & (ends | ~tells_end | np.isinf(found["off_s"]))
    return found


def _phases(evidence: Evidence, base_ns: int) -> pd.DataFrame:
    """Return each phase of each item; see :func:`answers_of`."""
    moved = evidence.transitions
    moved = moved[(moved["game"] >= 0).to_numpy()].sort_values(["game", "committed_ns", "seq"], kind="stable")
    offset_ns = base_ns + evidence.database_clock.offset_ns
    at_s, due_s = _since(moved["committed_ns"], base_ns), _since(moved["intended_ns"], offset_ns)
    game = moved["game"].to_numpy()
    follows = np.append(game[1:] == game[:-1], np.zeros(min(len(game), 1), dtype=bool))
    first = np.insert(~follows[:-1], 0, np.ones(min(len(game), 1), dtype=bool))
    entered = pd.DataFrame(
        {
            "game": game,
            "state": moved["to"].to_numpy(),
            "moved_ns": moved["start_ns"].to_numpy(dtype="int64", na_value=-1),
            "entered_s": at_s,
            "left_s": np.where(follows, np.roll(at_s, -1), np.inf),
            "due_s": np.where(follows, np.roll(due_s, -1), np.nan),
        }
    )
    begun = pd.DataFrame(
        {
            "game": game[first],
            "state": moved["from"].to_numpy()[first],
            "entered_s": -np.inf,
            "left_s": at_s[first],
            "due_s": due_s[first],
        }
    )
    rows = evidence.rows("timer")
    rows = rows[(rows["name"] == Timer.SET).to_numpy()]
    ends = pd.DataFrame(
        {
            "game": rows["game"].to_numpy(),
            "moved_ns": rows["start_ns"].to_numpy(dtype="int64", na_value=-1),
            "state": rows["target"].astype(str).to_numpy(),
            "set_s": _since(rows["intended_ns"], offset_ns),
        }
    ).drop_duplicates(["game", "moved_ns", "state"])
    entered["state"] = entered["state"].astype(str)
    entered = entered.merge(ends, how="left", on=["game", "moved_ns", "state"])
    return pd.concat([entered, begun], ignore_index=True).drop(columns="moved_ns")


def _off(found: pd.DataFrame) -> Seconds:
    """Return by how much each answer is off, in seconds; inf where its item was never in that state."""
    asked, told = found["asked_s"].to_numpy(), found["told_s"].to_numpy()
    ends = found[["set_s", "due_s"]].to_numpy(dtype="float64")
    first, last = ends.min(axis=1), ends.max(axis=1)
    least, most = np.maximum(first - told, 0), np.maximum(last - asked, 0)
    states = _outside(found["entered_s"] - told, 0, found["left_s"] - asked)
    left = _outside(least, found["value"], most)
    end = _outside(first, found["ends_s"], last)
    off = np.fmax(states, np.fmax(left, end))
    return np.where(found["entered_s"].isna(), np.inf, off)


def _outside(low: Any, value: Any, high: Any) -> Seconds:
    """Return how far values are from what lies between ``low`` and ``high``; NaN where one is not known."""
    low, value, high = (np.asarray(one, dtype="float64") for one in (low, value, high))
    far: Seconds = np.maximum(np.maximum(low - value, value - high), 0.0)
    return far


def _since(times: pd.Series, base_ns: int) -> Seconds:
    """Return times (ns) in seconds after a moment; NaN where there is none."""
    return (times - base_ns).to_numpy(dtype="float64", na_value=np.nan) / NS
