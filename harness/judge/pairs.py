"""Which subscriber should have heard which event, and when it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.history.names import AMBIGUOUS, Delivery
from harness.judge.clocks import NS
from harness.judge.table import holds, is_kind, pair_key, repeated

#: What is told of an event.
_COLUMNS: Final = ["event", "game", "seq", "committed_ns", "tick"]


def last_signs_of_life(table: pa.Table) -> dict[int, int]:
    """Return the last time in the rows of each file's writer: what came later was not recorded."""
    # Moves are stamped by another clock.
    # Few columns first: all of them would be copied.
    own = table.select(["file", "start_ns", "end_ns"]).filter(pc.invert(is_kind(table, "transition")))
    last = own.group_by("file").aggregate([("start_ns", "max"), ("end_ns", "max")])
    return {row["file"]: max(row["start_ns_max"] or 0, row["end_ns_max"] or 0) for row in last.to_pylist()}


def subscriptions_of(rows: pd.DataFrame, last_seen_ns: Mapping[int, int]) -> pd.DataFrame:
    """Return when subscribers were connected: ``game, actor, way, from_ns, to_ns, seen_to_ns``.

    ``way`` is how they listen, ``seen_to_ns`` the last sign of life in the observer's file: what came later
    was not recorded.

    Parameters
    ----------
    rows : of kind ``delivery``.
    last_seen_ns : last sign of life of each file's writer: what came later was not recorded.
    """
    joined = rows[(rows["name"] == Delivery.SUBSCRIBE) & rows["ok"].fillna(value=False).astype(bool)]
    joined = joined[joined["end_ns"].notna() & (joined["game"] >= 0)]
    left = rows[(rows["name"] == Delivery.UNSUBSCRIBE) & rows["start_ns"].notna()]
    joins = pd.DataFrame(
        {
            "game": joined["game"],
            "actor": joined["actor"],
            "way": joined["place"],
            "from_ns": joined["end_ns"].astype("int64"),
            "file": joined["file"].astype("int64"),
        }
    )
    joins["key"] = pair_key(joins["game"], joins["actor"].cat.codes)
    leaves = pd.DataFrame({"left_ns": left["start_ns"].astype("int64")})
    leaves["key"] = pair_key(left["game"], left["actor"].cat.codes)
    joins = pd.merge_asof(
        joins.sort_values("from_ns", kind="stable"),
        leaves.sort_values("left_ns", kind="stable"),
        left_on="from_ns",
        right_on="left_ns",
        by="key",
        direction="forward",
    )
    seen = joins["file"].map(last_seen_ns).astype("int64")
    joins["seen_to_ns"] = seen
    joins["to_ns"] = joins["left_ns"].astype("Int64").fillna(seen).astype("int64")
    return joins[["game", "actor", "way", "from_ns", "to_ns", "seen_to_ns"]]


def ways_of(table: pa.Table) -> frozenset[str]:
    """Return the ways in which players listen, as far as they are told."""
    asked = table.filter(holds(table, "name", Delivery.SUBSCRIBE))
    ways = pc.unique(asked["place"].cast(pa.string())).to_pylist()
    return frozenset(way for way in ways if way is not None)


def ambiguous(moved: pd.DataFrame) -> list[str]:
    """Return the doubt that rests on transitions whose events can't be known, if there are any."""
    count = int(np.count_nonzero(moved["error"] == AMBIGUOUS))
    return [f"of {count} moves of {len(moved)}, {AMBIGUOUS}: events have no ids"] if count else []


def events_of(*rows: pd.DataFrame) -> pd.DataFrame:
    """Return each event of ``rows`` once: ``event, game, seq, committed_ns, tick``. The first count."""
    events = pd.concat([found[_COLUMNS] for found in rows], ignore_index=True)
    events = events[(events["event"] >= 0) & events["committed_ns"].notna()]
    return events[~events["event"].duplicated().to_numpy()].reset_index(drop=True)


def acts_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the events that players' calls made, as :func:`events_of`, from when they were first asked for.

    Parameters
    ----------
    rows : of kind ``http``.
    """
    rows = rows[(rows["event"] >= 0).to_numpy()]
    made = rows["event"].isin(rows.loc[rows["ok"].fillna(value=False).astype(bool), "event"])
    rows = rows[made.to_numpy()]
    rows = rows.assign(committed_ns=rows["intended_ns"].fillna(rows["start_ns"]))
    rows = rows.sort_values("committed_ns", kind="stable")
    return events_of(rows.assign(tick=rows["committed_ns"] // NS))


def pairs_of(
    events: pd.DataFrame, subscriptions: pd.DataFrame, receipts: pd.DataFrame, *, blur_ns: int, settle_ns: int
) -> pd.DataFrame:
    """Return every pair of an event and a subscriber that was connected when it was committed.

    Parameters
    ----------
    blur_ns : error bound of the clocks that commits and connections are compared by.
    settle_ns : how long after its commit an event may arrive.
    """
    pairs = _connected(events, subscriptions, blur_ns)
    event = events.iloc[pairs["row"].to_numpy()].reset_index(drop=True)
    subscriber = subscriptions.iloc[pairs["subscription"].to_numpy()].reset_index(drop=True)
    event["actor"], event["way"] = subscriber["actor"], subscriber["way"]
    key = pair_key(event["event"], event["actor"].cat.codes)
    got = pd.DataFrame(
        {
            "key": pair_key(receipts["event"], receipts["actor"].cat.codes),
            "received_ns": receipts["end_ns"],
            "accepted_ns": receipts["accepted_ns"],
        }
    )
    found = pd.DataFrame({"key": key}).merge(got, on="key", how="left")
    event["received_ns"] = found["received_ns"]
    event["accepted_ns"] = found["accepted_ns"]
    event["settled"] = (event["committed_ns"] + settle_ns <= subscriber["seen_to_ns"]).to_numpy(dtype=bool)
    # A subscriber that connected twice at once still hears an event once.
    return event[~repeated(key)].reset_index(drop=True)


def _connected(events: pd.DataFrame, subscriptions: pd.DataFrame, blur_ns: int) -> pd.DataFrame:
    """Return each event's ``row`` with each ``subscription`` that was connected when it was committed."""
    left = pd.DataFrame(
        {
            "row": np.arange(len(events)),
            "game": events["game"].to_numpy(),
            "committed_ns": events["committed_ns"].astype("int64"),
        }
    )
    right = pd.DataFrame(
        {
            "subscription": np.arange(len(subscriptions)),
            "game": subscriptions["game"].to_numpy(),
            "from_ns": subscriptions["from_ns"],
            "to_ns": subscriptions["to_ns"],
        }
    )
    pairs = left[left["game"] >= 0].merge(right, on="game")
    # Connected for certain: whatever the clocks' errors are, within their bounds.
    since_ns, until_ns = pairs["from_ns"] + blur_ns, pairs["to_ns"] - blur_ns
    return pairs[(since_ns <= pairs["committed_ns"]) & (pairs["committed_ns"] < until_ns)]
