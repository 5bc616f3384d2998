"""The history of a run as typed pandas frames, its windows, faults and clocks.

Columns of a frame are those of the history: ``kind``, ``name``, ``actor`` and ``error`` categorical (their
codes agree between frames of one :class:`Evidence`), times ``Int64`` nanoseconds. ``game`` and ``event``, of
which there may be millions, are numbers: :meth:`Evidence.label` tells their names, -1 is none.
Times of the database and of PubNub are brought to the harness's clock here, in columns of their own,
so that no check compares two clocks by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.documents.run import Run
from harness.documents.scenario import Scenario
from harness.history import History, HistoryFile, Kind
from harness.history.names import (
    ARROW,
    OBSERVER,
    Actor,
    Delivery,
    Publish,
    Reading,
    Tick,
    Transition,
)
from harness.history.witnesses import Doubt, Witness, doubts_about, read_doubts
from harness.judge.answers import answers_of
from harness.judge.clocks import NS, Clock, compared, on_masters_clock, workers_of
from harness.judge.declared import unused_clocks
from harness.judge.doubts import declared_doubts, shortages_of
from harness.judge.pairs import acts_of, events_of, last_signs_of_life, pairs_of, subscriptions_of, ways_of
from harness.judge.rewound import Loss, loss_of, lost_rows, without
from harness.judge.table import MANY, encoded, frame_of, pair_key, repeated
from harness.judge.truth import coarsest_ns
from harness.judge.windows import FaultWindow, Window, faults_of
from harness.sla.policy import Policy
from harness.system.lifecycle import Lifecycle

__all__ = ["NS", "Clock", "Evidence", "FaultWindow", "Window", "evidence_of"]

#: How long after the time of its commit a move may not be seen by others yet.
_SEEN_AFTER_NS: Final = NS
_NEVER_NS: Final = np.iinfo(np.int64).max
#: Names of ``delivery`` rows that are not messages.
_NO_MESSAGES: Final = (Delivery.SUBSCRIBE, Delivery.UNSUBSCRIBE)


@dataclass
class Evidence:
    """Everything a check may look at.

    Parameters
    ----------
    table : rows of the history as :func:`evidence_of` makes it.
    labels : column -> its different values, in the order of their numbers.
    run : what ``run.json`` says.
    scenarios : the ``scenario.json`` documents of the run.
    """

    table: pa.Table
    labels: Mapping[str, pa.Array]
    files: Sequence[HistoryFile]
    run: Run
    policy: Policy
    scenarios: Sequence[Scenario] = ()
    #: Rows that were dropped because the very same row was there before.
    duplicated: int = 0
    #: The clock of the process that wrote each file, by the file's number.
    file_clocks: Sequence[Clock] = ()
    #: A loss of the database, from which it came back by a backup.
    loss: Loss | None = None
    #: The same record of what was lost by it: nothing of that is in ``table``.
    lost: Evidence | None = field(default=None, repr=False)
    _frames: dict[Kind | Publish, pd.DataFrame] = field(default_factory=dict, repr=False)

    def rows(self, kind: Kind) -> pd.DataFrame:
        """Return the rows of one kind."""
        if kind not in self._frames:
            self._frames[kind] = frame_of(self.table, kind)
        return self._frames[kind]

    def published(self, name: Publish) -> pd.DataFrame:
        """Return the ``publish`` rows of one name: each name has a record of its own."""
        if name not in self._frames:
            rows = self.unseen().rows("publish")
            self._frames[name] = rows[(rows["name"] == name).to_numpy()]
        return self._frames[name]

    def unseen(self, **changes: Any) -> Evidence:
        """Return the same evidence with ``changes``, of which nothing was looked at yet."""
        return replace(self, **changes, _frames={})

    @property
    def looked_at(self) -> frozenset[Kind | Publish]:
        """The kinds of rows that were asked for, and the names of those of ``publish``."""
        return frozenset(self._frames)

    def label(self, column: str, number: int) -> str | None:
        """Return the name behind a number in column ``game`` or ``event``; None for -1."""
        return None if number < 0 else str(self.labels[column][int(number)].as_py())

    def identity(self, row: pd.Series) -> dict[str, str]:
        """Return the names of the game, event and actor of a row, where it has them."""
        found = {key: self.label(key, int(row[key])) for key in MANY if key in row.index}
        if "actor" in row.index and isinstance(row["actor"], str) and row["actor"] != Actor.DATABASE:
            found["actor"] = row["actor"]
        return {key: value for key, value in found.items() if value is not None}

    def number(self, column: str, label: str) -> int:
        """Return the number of a game or event; -1 if there is none of that name."""
        return int(pc.index(self.labels[column], label).as_py())

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Witnesses that are missing or in doubt, as whoever drove, broke and observed declared them."""
        return declared_doubts(self.run, self.files, self.readings(Reading.ROWS_DROPPED))

    @cached_property
    def shortages(self) -> pd.DataFrame:
        """What processes of the harness lacked: ``who``, ``what``, ``at_ns`` (when told), ``times``."""
        kinds: tuple[Kind, ...] = ("http", "health", "monitor", "resource")
        return shortages_of({kind: self.rows(kind) for kind in kinds}, self.files, self.faults, self.span[1])

    @cached_property
    def absent(self) -> dict[Witness, str]:
        """Witnesses that the run does without by choice, and why."""
        declared = {doubt.witness: doubt.reason for doubt in read_doubts(self.run.absent)}
        return declared | unused_clocks(ways_of(self.table))

    def doubts_since(self, start_ns: int) -> list[Doubt]:
        """Return the doubts about what happened from a time on: those of the run, and shortages since."""
        lacked = self.shortages
        lacked = lacked.loc[lacked["at_ns"] >= start_ns, ["who", "what"]].drop_duplicates()
        found = list(self.doubts)
        for who, what in lacked.itertuples(index=False):
            found += doubts_about(who, f"{who} was {what}")
        return found

    @cached_property
    def lifecycle(self) -> Lifecycle | None:
        """The lifecycle of the system's items; None: the run's record does not tell it."""
        entry = (self.run.system or {}).get("lifecycle")
        return Lifecycle.of_entry(entry) if isinstance(entry, dict) else None

    # --- windows -----------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> list[Window]:
        """The declared windows of the run."""
        return [
            Window(window.name, window.start_ns, window.end_ns)
            for window in self.run.windows or ()
            if window.end_ns is not None
        ]

    @cached_property
    def span(self) -> tuple[int, int]:
        """First and last time in the record; (0, 0) if there is none."""
        if self.table.num_rows == 0:
            return 0, 0
        starts, ends = self.table["start_ns"], self.table["end_ns"]
        low = [v for v in (pc.min(starts).as_py(), pc.min(ends).as_py()) if v is not None]
        high = [v for v in (pc.max(starts).as_py(), pc.max(ends).as_py()) if v is not None]
        return (min(low), max(high)) if low and high else (0, 0)

    @cached_property
    def faults(self) -> list[FaultWindow]:
        """The declared faults, by their begin."""
        return faults_of(self.rows("fault"), self.labels["event"])

    def steady(self, times: pd.Series) -> NDArray[np.bool_]:
        """Return which of ``times`` (ns, our clock) are steady state: in a steady window, away from faults.

        Where no steady window is declared nothing is steady.
        """
        inside = np.zeros(len(times), dtype=bool)
        numbers = times.to_numpy(dtype="int64", na_value=-1)
        for window in self.windows:
            if window.name == "steady":
                inside |= (numbers >= window.start_ns) & (numbers < window.end_ns)
        before = int(self.policy.tolerances.before_fault * NS)
        after = int(self.policy.tolerances.after_fault * NS)
        for fault in self.faults:
            disturbed = numbers >= fault.start_ns - before
            if fault.end_ns is not None:
                disturbed &= numbers < fault.end_ns + after
            inside &= ~disturbed
        return inside

    # --- clocks ------------------------------------------------------------------------------------

    @cached_property
    def database_clock(self) -> Clock:
        """The clock of Postgres, which stamps transitions."""
        return self.clock(Actor.DATABASE)

    @cached_property
    def pubnub_clock(self) -> Clock:
        """The clock of PubNub, which stamps messages (timetokens)."""
        return self.clock(Actor.PUBNUB)

    @cached_property
    def subscribers_bound_ns(self) -> int:
        """Error bound of the clocks of all processes with subscribers, against the master's."""
        bounds = [
            clock.bound_ns or 0
            for clock, file in zip(self.file_clocks, self.files, strict=False)
            if OBSERVER.fullmatch(file.writer)
        ]
        return max(bounds, default=0)

    @cached_property
    def workers(self) -> dict[str, Clock]:
        """The clocks of the workers of the record, which have processes of their own, by their names."""
        return {clock.name: clock for clock in self.file_clocks if clock.name}

    def clock(self, name: str) -> Clock:
        """Return what the record tells of a clock: of the database, of PubNub, or of a worker."""
        return compared(self.rows("resource"), name, self.file_clocks)

    # --- frames of one kind, with the columns that checks share ----------------------------------------

    @cached_property
    def ticks(self) -> pd.DataFrame:
        """Calls of ticks, by their start; ``origin_ns`` is when they were due."""
        rows = self.rows("monitor")
        ticks = rows[rows["name"].isin([Tick.TICK, Tick.SKIP])].copy()
        ticks["origin_ns"] = ticks["intended_ns"].fillna(ticks["start_ns"])
        return ticks.sort_values("start_ns", kind="stable", ignore_index=True)

    @cached_property
    def tick_s(self) -> float:
        """From tick to tick, in seconds: of cron, or of the system itself."""
        return float(self.run.option("tick_s") or 1.0)

    @cached_property
    def _tick_starts(self) -> NDArray[np.int64]:
        # Here ticks only group what others recorded: whoever asks for that does not look at them.
        ticks = self.unseen().ticks
        return ticks["start_ns"].dropna().to_numpy(dtype="int64")

    def tick_of(self, times: pd.Series) -> NDArray[np.int64]:
        """Return the cluster of each time: the tick under way then, or its second where none is known."""
        numbers = times.to_numpy(dtype="int64", na_value=0)
        starts = self._tick_starts
        if len(starts) == 0:
            return numbers // int(self.tick_s * NS)
        return np.searchsorted(starts, numbers, side="right").astype(np.int64)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """Status changes: ``from``, ``to``; ``moved_ns``, ``committed_ns`` (our clock) and their ``tick``."""
        rows = self.rows("transition")
        rows = rows[rows["name"] != Transition.OVERDUE].copy()
        offset = self.database_clock.offset_ns
        names = rows["name"].cat.remove_unused_categories()
        parts = {name: str(name).partition(ARROW) for name in names.cat.categories}
        rows["from"] = names.map({name: part[0] for name, part in parts.items()}).astype("string")
        rows["to"] = names.map({name: part[2] for name, part in parts.items()}).astype("string")
        rows["moved_ns"] = rows["start_ns"] - offset
        # Where the commit's time is unknown, the change itself is earlier: latencies come out too long.
        rows["committed_ns"] = rows["end_ns"].fillna(rows["start_ns"]) - offset
        rows["tick"] = self.tick_of(rows["committed_ns"])
        return rows.reset_index(drop=True)

    @cached_property
    def announced(self) -> pd.DataFrame:
        """The transitions that players must hear of."""
        names = (self.run.system or {}).get("announced")
        moved = self.transitions
        return moved[moved["name"].isin(names).to_numpy()] if isinstance(names, list) else moved

    @cached_property
    def overdue(self) -> pd.DataFrame:
        """Games found past due and not moved since: as a rule at the end of the run."""
        rows = self.rows("transition")
        found = rows[rows["name"] == Transition.OVERDUE].sort_values("end_ns", kind="stable")
        found = found[~found["game"].duplicated(keep="last")]
        # What counts is the commit: a move bears the time of its tick's begin. Both by the database's clock,
        # which is read a little before others see what is committed.
        moves = self.transitions
        # Where its time is not kept: it was seen in that state, and left it, as a rule once.
        left_ns = (moves["end_ns"] + _SEEN_AFTER_NS).fillna(_NEVER_NS)
        left_ns = left_ns.groupby([moves["game"], moves["from"]]).max()
        found = found.join(left_ns.rename("left_ns"), on=["game", "error"])
        moved_since = (found["left_ns"] > found["end_ns"]).fillna(value=False).astype(bool)
        return found[~moved_since].drop(columns="left_ns").reset_index(drop=True)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """What the timer call told, beside the truth; see :func:`answers_of`."""
        return answers_of(self)

    @cached_property
    def publishes(self) -> pd.DataFrame:
        """Outbox entries; ``created_ns``, ``attempted_ns``, ``published_ns`` on our clock."""
        rows = self.published(Publish.OUTBOX).copy()
        offset = self.database_clock.offset_ns
        rows["created_ns"] = rows["intended_ns"] - offset
        rows["attempted_ns"] = rows["start_ns"] - offset
        rows["published_ns"] = rows["end_ns"] - offset
        return rows.reset_index(drop=True)

    @cached_property
    def messages(self) -> pd.DataFrame:
        """Messages as they came, duplicates included; ``accepted_ns`` on our clock."""
        rows = self.rows("delivery")
        columns = ["name", "actor", "game", "event", "seq", "start_ns", "end_ns", "ok", "target"]
        rows = rows.loc[~rows["name"].isin(_NO_MESSAGES).to_numpy(), columns]
        rows["accepted_ns"] = rows["start_ns"] - self.pubnub_clock.offset_ns
        return rows.reset_index(drop=True)

    @cached_property
    def receipts(self) -> pd.DataFrame:
        """The first time each subscriber got each event of its game, in the order they came."""
        rows = self.messages
        ours = rows["ok"].fillna(value=True).to_numpy(dtype=bool)
        rows = rows[(rows["event"] >= 0) & rows["end_ns"].notna() & ours]
        rows = rows.take(np.argsort(rows["end_ns"].to_numpy(dtype="int64"), kind="stable"))
        key = pair_key(rows["event"], rows["actor"].cat.codes)
        return rows[~repeated(key)].reset_index(drop=True)

    @cached_property
    def subscriptions(self) -> pd.DataFrame:
        """Each time a subscriber was connected; see :func:`subscriptions_of`."""
        return subscriptions_of(self.rows("delivery"), last_signs_of_life(self.table))

    @cached_property
    def events(self) -> pd.DataFrame:
        """Every event that should be heard: ``event``, ``game``, ``seq``, ``committed_ns``, ``tick``."""
        queued = self.publishes
        queued = queued.assign(committed_ns=queued["created_ns"], tick=self.tick_of(queued["created_ns"]))
        return events_of(self.announced, queued)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every (event, subscriber) pair that was to be: the subscriber was connected when it was committed.

        ``received_ns`` is null where it never came; ``settled`` says whether the observer watched long
        enough after the commit for that to mean anything.
        """
        clock_ns = self.database_clock.bound_ns or 0
        return self._heard_by(self.events, clock_ns + coarsest_ns(self.transitions))

    @cached_property
    def act_pairs(self) -> pd.DataFrame:
        """As :attr:`pairs`, of the events that calls of players made: from when they were asked for."""
        return self._heard_by(acts_of(self.rows("http")), self.subscribers_bound_ns)

    def _heard_by(self, events: pd.DataFrame, blur_ns: int) -> pd.DataFrame:
        return pairs_of(
            events,
            self.subscriptions,
            self.receipts,
            blur_ns=self.subscribers_bound_ns + blur_ns,
            settle_ns=int(self.policy.tolerances.settle * NS),
        )

    def among(self, events: pd.Series, known: pd.Series) -> NDArray[np.bool_]:
        """Return which of ``events`` are in ``known``; both are numbers of events."""
        seen = np.zeros(len(self.labels["event"]) + 1, dtype=bool)
        seen[known.to_numpy()] = True
        seen[-1] = False
        found: NDArray[np.bool_] = seen[events.to_numpy()]
        return found

    def readings(self, name: str) -> pd.DataFrame:
        """Return the ``resource`` rows of one reading."""
        rows = self.rows("resource")
        return rows[rows["name"] == name]

    def steady_readings(self, name: str, actors: str) -> pd.DataFrame:
        """Return the numbers read of ``actors`` (a pattern) in steady state."""
        rows = self.readings(name)
        theirs = rows["actor"].astype(str).str.match(actors).to_numpy(dtype=bool)
        known = np.isfinite(rows["value"].to_numpy(dtype="float64"))
        found: pd.DataFrame = rows[theirs & known & self.steady(rows["start_ns"])]
        return found


def evidence_of(
    history: History,
    run: Run,
    policy: Policy,
    scenarios: Sequence[Scenario] = (),
) -> Evidence:
    """Return the evidence that ``history`` holds; rows that stand there twice are counted and dropped."""
    table, labels, duplicated = encoded(history)
    evidence = Evidence(table, labels, history.files, run, policy, scenarios, duplicated)
    observers = run.option("observers")
    workers = workers_of(history.files, 1 if observers is None else int(observers))
    if not any(workers):
        return _rewound(evidence)
    known = {name: evidence.clock(name) for name in set(workers) if name is not None}
    clocks = [Clock("", bound_ns=0) if name is None else known[name] for name in workers]
    return _rewound(replace(evidence, table=on_masters_clock(table, clocks), file_clocks=clocks).unseen())


def _rewound(evidence: Evidence) -> Evidence:
    """Return the evidence of what is left, where the database was lost and came back from a backup."""
    clock = evidence.database_clock
    loss = loss_of(evidence.rows("resource"), clock)
    if loss is None:
        return evidence
    left, lost = without(evidence.table, lost_rows(evidence.table, loss, clock))
    return evidence.unseen(table=left, loss=loss, lost=evidence.unseen(table=lost))
