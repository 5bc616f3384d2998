"""The record beside what a database lost that came back from a backup.

What was committed after the last change that the backup has is gone, though players may have heard of it. The
service is not to blame for that: what was lost is taken out of the record, and told apart. What remains is
what the database says that happened, and is judged by the same rules as ever.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.history.names import Reading, Timer, Transition
from harness.judge.clocks import NS, Clock
from harness.judge.table import frame_of, is_kind

#: What is stamped by the database with the time of its move.
_WITH_MOVE: Final = ("transition", "trigger")
_COLUMNS: Final = ["kind", "name", "game", "event", "intended_ns", "start_ns", "end_ns"]


class Loss(NamedTuple):
    """When a database was lost and back, and until when the backup has everything. Unix ns, our clock."""

    lost_ns: int
    back_ns: int
    #: The commit of the newest move or event that it still has; None: it has none.
    newest_ns: int | None

    @property
    def data_s(self) -> float | None:
        """Age of the newest commit that survived when the database was lost; None: nothing survived."""
        return None if self.newest_ns is None else max(self.lost_ns - self.newest_ns, 0) / NS


def loss_of(readings: pd.DataFrame, clock: Clock) -> Loss | None:
    """Return the loss that a record tells of, the last one; None: of none.

    Parameters
    ----------
    readings : rows of kind ``resource``.
    clock : of the database.
    """
    told = readings[(readings["name"] == Reading.DATABASE_LOST).to_numpy() & readings["end_ns"].notna()]
    if told.empty:
        return None
    lost_ns, back_ns = (int(told[name].max()) for name in ("start_ns", "end_ns"))
    survived = readings[(readings["name"] == Reading.SURVIVED).to_numpy()]
    committed_ns = survived["end_ns"].fillna(survived["start_ns"]) - clock.offset_ns
    newest_ns = committed_ns[(committed_ns <= lost_ns).fillna(value=False)].max()
    return Loss(lost_ns, back_ns, None if pd.isna(newest_ns) else int(newest_ns))


def lost_rows(table: pa.Table, loss: Loss, clock: Clock) -> NDArray[np.bool_]:
    """Return which rows are of what was lost: moves, their events, and what players were told of them."""
    rows = table.select(_COLUMNS).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    kind, name = (rows[column].astype("string") for column in ("kind", "name"))
    survived = frame_of(table, "resource")
    survived = survived[(survived["name"] == Reading.SURVIVED).to_numpy()]
    moved_ns = rows["start_ns"] - clock.offset_ns
    before = (moved_ns < loss.lost_ns).fillna(value=False).to_numpy(dtype=bool)
    kept = _pairs(rows).isin(_pairs(survived))
    moves = kind.isin(_WITH_MOVE) & (name != Transition.OVERDUE) | ((kind == "timer") & (name == Timer.SET))
    lost = moves.to_numpy(dtype=bool) & before & ~kept
    # An event of the outbox is lost with it.
    queued = (kind == "publish").to_numpy(dtype=bool) & (rows["event"] >= 0).to_numpy()
    made_ns = rows["intended_ns"].fillna(rows["start_ns"]) - clock.offset_ns
    made = (made_ns < loss.lost_ns).fillna(value=False).to_numpy(dtype=bool)
    known = rows["event"].isin(survived["event"]).to_numpy()
    lost |= queued & made & ~known
    # Commits that nobody but players came to know of, in the time that the backup lacks.
    in_gap = _in_gap(rows["end_ns"], loss)
    committed = rows.loc[(moves.to_numpy(dtype=bool) | queued) & ~lost, "event"]
    heard = (kind == "delivery").to_numpy(dtype=bool) & (rows["event"] >= 0).to_numpy()
    lost |= heard & in_gap & ~known & ~rows["event"].isin(committed).to_numpy()
    events = rows.loc[lost & (rows["event"] >= 0).to_numpy(), "event"].unique()
    games = rows.loc[lost & (rows["game"] >= 0).to_numpy(), "game"].unique()
    # Heard before or after: it is of a move that is not there any more.
    lost |= heard & rows["event"].isin(events).to_numpy() & ~known
    told = ((kind == "timer") & (name == Timer.TOLD)).to_numpy(dtype=bool)
    return np.asarray(lost | (told & in_gap & rows["game"].isin(games).to_numpy()), dtype=bool)


def _in_gap(times: pd.Series, loss: Loss) -> NDArray[np.bool_]:
    since_ns = -1 if loss.newest_ns is None else loss.newest_ns
    return times.between(since_ns, loss.back_ns).fillna(value=False).to_numpy(dtype=bool)


def _pairs(rows: pd.DataFrame) -> pd.MultiIndex:
    """Return item and time of each row: no item moves twice at a time."""
    times = rows["start_ns"].to_numpy(dtype="int64", na_value=-1)
    return pd.MultiIndex.from_arrays([rows["game"].to_numpy(dtype="int64"), times])


def without(table: pa.Table, lost: NDArray[np.bool_]) -> tuple[pa.Table, pa.Table]:
    """Return the table without what was lost, and what was lost with all readings (clocks among them)."""
    mask = pa.array(lost)
    kept = table.filter(pc.invert(mask)).combine_chunks()
    return kept, table.filter(pc.or_(mask, is_kind(table, "resource"))).combine_chunks()
