"""What is known of the harness's own failures: witnesses that are missing, and what processes ran out of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from harness.documents.run import Run
from harness.history import HistoryFile, Kind
from harness.history.names import Shortage
from harness.history.witnesses import Doubt, doubts_about, read_doubts
from harness.judge.clocks import NS
from harness.judge.windows import FaultWindow

#: How long after it happened a shortage is told of, at most.
_TOLD_WITHIN_NS: Final = 2 * NS
_UNRECORDED: Final = (
    "no history of {} is in the run's folder (where its worker keeps it, `stormwatch report RUN FOLDER` "
    "takes it in)"
)


def declared_doubts(run: Run, files: Sequence[HistoryFile], dropped: pd.DataFrame) -> list[Doubt]:
    """Return the witnesses that are missing or in doubt, as whoever drove, broke and observed declared them.

    Parameters
    ----------
    dropped : readings of rows that could not be recorded.
    """
    writers = {file.writer for file in files}
    whole = {file.writer for file in files if file.cut_off is None}
    declared = [doubt for doubt in read_doubts(run.missing) if doubt.writer not in whole]
    known = writers | {doubt.writer for doubt in declared}
    unrecorded = [name for name in run.recorders or () if name not in known]
    dropped = dropped.astype({"actor": "string", "error": "string"})
    return (
        declared
        + [doubt for name in unrecorded for doubt in doubts_about(name, _UNRECORDED.format(name))]
        + [
            doubt
            for name, rows in dropped.groupby("actor")
            for doubt in doubts_about(
                str(name),
                f"{rows['value'].sum():g} rows of {name} can't be recorded: {rows['error'].iloc[0]}",
            )
        ]
    )


def shortages_of(
    rows_of: Mapping[Kind, pd.DataFrame],
    files: Sequence[HistoryFile],
    faults: Sequence[FaultWindow],
    end_ns: int,
) -> pd.DataFrame:
    """Return what processes of the harness lacked: ``who``, ``what``, ``at_ns`` (when told), ``times``.

    As they say of themselves and of others of ours, and as calls failed for it. Where a fault struck a
    process of ours on purpose, that it accepted nothing meanwhile is none.

    Parameters
    ----------
    end_ns : when the record ends.
    """
    found = []
    for kind, every in rows_of.items():
        rows = every[every["error"].isin(list(Shortage))]
        told = kind == "resource"
        who = rows["actor"] if told else rows["file"].map(lambda number: files[number].writer)
        times = rows["value"].astype("float64") if told else 1.0
        at_ns = rows["end_ns"].fillna(rows["start_ns"])
        columns = {"who": who.astype("string"), "what": rows["error"].astype("string"), "at_ns": at_ns}
        found.append(pd.DataFrame(columns).assign(times=times))
    lacked = pd.concat(found, ignore_index=True)
    queues = (lacked["what"] == Shortage.QUEUE).to_numpy(dtype=bool)
    struck = np.zeros(len(lacked), dtype=bool)
    for window in faults if queues.any() else ():
        if window.fault.place != "process":
            continue
        until_ns = _TOLD_WITHIN_NS + (end_ns if window.end_ns is None else window.end_ns)
        during = lacked["at_ns"].between(window.start_ns, until_ns)
        struck |= (during & (lacked["who"] == window.fault.target)).to_numpy(dtype=bool)
    return lacked[~(queues & struck)].reset_index(drop=True)
