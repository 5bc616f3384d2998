"""The history of a run as typed pandas frames, its windows, faults and clocks.

Columns of a frame are those of the history: ``kind``, ``name``, ``actor`` and ``error`` categorical (their
codes agree between frames of one :class:`Evidence`), times ``Int64`` nanoseconds. ``game`` and ``event``, of
which there may be millions, are numbers: :meth:`Evidence.label` tells their names, -1 is none.
Times of the database and of PubNub are brought to the harness's clock here, in columns of their own,
so that no check compares two clocks by accident.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.history import KINDS, History, HistoryFile, Kind
from harness.history.names import (
    ARROW,
    OBSERVER,
    WORKER,
    Actor,
    Delivery,
    FaultName,
    Publish,
    Reading,
    Shortage,
    Tick,
    Transition,
    load_writer,
)
from harness.history.witnesses import Doubt, Witness, doubts_about, read_doubts
from harness.sla.policy import Policy

NS: Final = 1_000_000_000
#: How long after it happened a shortage is told of, at most.
_TOLD_WITHIN_NS: Final = 2 * NS
#: How long after the time of its commit a move may not be seen by others yet.
_SEEN_AFTER_NS: Final = NS

_UNRECORDED: Final = (
    "no history of {} is in the run's folder (a worker that can't write there keeps its own: copy its "
    "history/*.arrow here and run `stormwatch report`)"
)

#: Names of ``delivery`` rows that are not messages.
_NO_MESSAGES: Final = (Delivery.SUBSCRIBE, Delivery.UNSUBSCRIBE)

_TYPES: Final = {
    pa.int64(): pd.Int64Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
#: Columns with few different values, and those with many.
_FEW: Final = ("kind", "name", "actor", "error", "place", "target")
_MANY: Final = ("game", "event")


@dataclass(frozen=True)
class Window:
    """A span of time, half open, in ns on the harness's clock."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class FaultWindow:
    """A declared fault: when it began and ended (None: still on when the record ends)."""

    id: str
    fault: FaultName
    start_ns: int
    end_ns: int | None
    #: Why it could not be applied or undone, if so.
    error: str | None = None

    @property
    def name(self) -> str:
        """Place, name and target in one, as a report shows them."""
        return str(self.fault)


@dataclass(frozen=True)
class Clock:
    """Another clock against the harness's: ``offset_ns`` is that clock minus ours, known to ``bound_ns``."""

    name: str
    offset_ns: int = 0
    #: None: it was never compared.
    bound_ns: int | None = None

    @property
    def error_s(self) -> float:
        """Error bound of a comparison with it, in seconds; 0 where it is not known."""
        return 0.0 if self.bound_ns is None else self.bound_ns / NS


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
    run: Mapping[str, Any]
    policy: Policy
    scenarios: Sequence[Mapping[str, Any]] = ()
    #: Rows that were dropped because the very same row was there before.
    duplicated: int = 0
    #: The clock of the process that wrote each file, by the file's number.
    file_clocks: Sequence[Clock] = ()
    _frames: dict[Kind | Publish, pd.DataFrame] = field(default_factory=dict, repr=False)

    def rows(self, kind: Kind) -> pd.DataFrame:
        """Return the rows of one kind."""
        if kind not in self._frames:
            self._frames[kind] = _to_frame(self.table.filter(_equals(self.table["kind"], kind)))
        return self._frames[kind]

    def published(self, name: Publish) -> pd.DataFrame:
        """Return the ``publish`` rows of one name: each name has a record of its own."""
        if name not in self._frames:
            rows = replace(self, _frames={}).rows("publish")
            self._frames[name] = rows[(rows["name"] == name).to_numpy()]
        return self._frames[name]

    @property
    def looked_at(self) -> frozenset[Kind | Publish]:
        """The kinds of rows that were asked for, and the names of those of ``publish``."""
        return frozenset(self._frames)

    def label(self, column: str, number: int) -> str | None:
        """Return the name behind a number in column ``game`` or ``event``; None for -1."""
        return None if number < 0 else str(self.labels[column][int(number)].as_py())

    def identity(self, row: pd.Series) -> dict[str, str]:
        """Return the names of the game, event and actor of a row, where it has them."""
        found = {key: self.label(key, int(row[key])) for key in _MANY if key in row.index}
        if "actor" in row.index and isinstance(row["actor"], str) and row["actor"] != Actor.DATABASE:
            found["actor"] = row["actor"]
        return {key: value for key, value in found.items() if value is not None}

    def number(self, column: str, label: str) -> int:
        """Return the number of a game or event; -1 if there is none of that name."""
        return int(pc.index(self.labels[column], label).as_py())

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Witnesses that are missing or in doubt, as whoever drove, broke and observed declared them."""
        writers = {file.writer for file in self.files}
        declared = [doubt for doubt in read_doubts(self.run.get("missing")) if doubt.writer not in writers]
        known = writers | {doubt.writer for doubt in declared}
        unrecorded = [name for name in self.run.get("recorders") or () if name not in known]
        dropped = self.readings(Reading.ROWS_DROPPED).astype({"actor": "string", "error": "string"})
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

    # --- windows -----------------------------------------------------------------------------------

    @cached_property
    def absent(self) -> dict[Witness, str]:
        """Witnesses that the run does without by choice, and why."""
        return {doubt.witness: doubt.reason for doubt in read_doubts(self.run.get("absent"))}

    def doubts_since(self, start_ns: int) -> list[Doubt]:
        """Return the doubts about what happened from a time on: those of the run, and shortages since."""
        lacked = self.shortages
        lacked = lacked.loc[lacked["at_ns"] >= start_ns, ["who", "what"]].drop_duplicates()
        found = list(self.doubts)
        for who, what in lacked.itertuples(index=False):
            found += doubts_about(who, f"{who} was {what}")
        return found

    @cached_property
    def shortages(self) -> pd.DataFrame:
        """What processes of the harness lacked: ``who``, ``what``, ``at_ns`` (when it was told), ``times``.

        As they say of themselves and of others of ours, and as calls failed for it. Where a fault struck a
        process of ours on purpose, that it accepted nothing meanwhile is none.
        """
        kinds: tuple[Kind, ...] = ("http", "health", "monitor", "resource")
        found = []
        for kind in kinds:
            rows = self.rows(kind)
            rows = rows[rows["error"].isin(list(Shortage))]
            told = kind == "resource"
            who = rows["actor"] if told else rows["file"].map(lambda number: self.files[number].writer)
            times = rows["value"].astype("float64") if told else 1.0
            at_ns = rows["end_ns"].fillna(rows["start_ns"])
            columns = {"who": who.astype("string"), "what": rows["error"].astype("string"), "at_ns": at_ns}
            found.append(pd.DataFrame(columns).assign(times=times))
        lacked = pd.concat(found, ignore_index=True)
        queues = (lacked["what"] == Shortage.QUEUE).to_numpy(dtype=bool)
        struck = np.zeros(len(lacked), dtype=bool)
        for fault in self.faults if queues.any() else ():
            until_ns = _TOLD_WITHIN_NS + (self.span[1] if fault.end_ns is None else fault.end_ns)
            during = lacked["at_ns"].between(fault.start_ns, until_ns).to_numpy(dtype=bool)
            of_process = [
                fault.name.startswith("process:") and fault.name.endswith(f" {who}") for who in lacked["who"]
            ]
            struck |= during & np.array(of_process, dtype=bool)
        return lacked[~(queues & struck)].reset_index(drop=True)

    @cached_property
    def windows(self) -> list[Window]:
        """The declared windows of the run."""
        return [
            Window(str(w["name"]), int(w["start_ns"]), int(w["end_ns"]))
            for w in self.run.get("windows") or []
            if w.get("start_ns") is not None and w.get("end_ns") is not None
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
        found = []
        rows = self.rows("fault").sort_values("start_ns", kind="stable")
        for _, group in rows[rows["event"] >= 0].groupby("event", sort=False):
            first, last = group.iloc[0], group.iloc[-1]
            if pd.isna(first["start_ns"]):
                continue
            errors = group["error"].dropna()
            ends = group["end_ns"].dropna()
            found.append(
                FaultWindow(
                    id=str(self.label("event", int(group["event"].iloc[0]))),
                    fault=FaultName(*(str(last[part]) for part in FaultName._fields)),
                    start_ns=int(first["start_ns"]),
                    end_ns=int(ends.iloc[-1]) if len(ends) else None,
                    error=str(errors.iloc[0]) if len(errors) else None,
                )
            )
        return found

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
        return self._clock(Actor.DATABASE)

    @cached_property
    def pubnub_clock(self) -> Clock:
        """The clock of PubNub, which stamps messages (timetokens)."""
        return self._clock(Actor.PUBNUB)

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

    def _clock(self, name: str) -> Clock:
        rows = self.rows("resource")
        rows = rows[rows["actor"] == name]
        offsets = rows[rows["name"] == Reading.CLOCK_OFFSET]
        bounds = rows[rows["name"] == Reading.CLOCK_BOUND]
        # An offset and its bound are written one after the other by the same process.
        both = pd.merge_asof(
            _readings_by_file(offsets),
            _readings_by_file(bounds),
            on="at",
            by="file",
            suffixes=("_offset", "_bound"),
            direction="forward",
            tolerance=NS,
        )
        both = both[np.isfinite(both["value_offset"]) & np.isfinite(both["value_bound"])]
        if both.empty:
            return Clock(name)
        if self.file_clocks:
            # Compared with the writer's clock, which was compared with the master's.
            writers = [self.file_clocks[number] for number in both["file"]]
            both["value_offset"] += [clock.offset_ns / 1e6 for clock in writers]
            both["value_bound"] += [(clock.bound_ns or 0) / 1e6 for clock in writers]
        # Each round trip proves an interval that holds the offset; together they prove its intersection.
        # Where they contradict each other a clock was moved: the error is then as large as the gap.
        low = float((both["value_offset"] - both["value_bound"]).max())
        high = float((both["value_offset"] + both["value_bound"]).min())
        bound = abs(high - low) / 2
        if low > high:
            bound += float(both["value_bound"].min())
        return Clock(name, round((low + high) / 2 * 1e6), math.ceil(bound * 1e6))

    # --- frames of one kind, with the columns that checks share ----------------------------------------

    @cached_property
    def ticks(self) -> pd.DataFrame:
        """Calls of monitor-game-timers, by their start; ``origin_ns`` is when they were due."""
        rows = self.rows("monitor")
        ticks = rows[rows["name"].isin([Tick.TICK, Tick.SKIP])].copy()
        ticks["origin_ns"] = ticks["intended_ns"].fillna(ticks["start_ns"])
        return ticks.sort_values("start_ns", kind="stable", ignore_index=True)

    @cached_property
    def tick_s(self) -> float:
        """Cron's interval in seconds."""
        return float((self.run.get("options") or {}).get("tick_s") or 1.0)

    @cached_property
    def _tick_starts(self) -> NDArray[np.int64]:
        # Here ticks only group what others recorded: whoever asks for that does not look at them.
        ticks = replace(self, _frames={}).ticks
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
    def overdue(self) -> pd.DataFrame:
        """Games found past due and not moved since: as a rule at the end of the run."""
        rows = self.rows("transition")
        found = rows[rows["name"] == Transition.OVERDUE].sort_values("end_ns", kind="stable")
        found = found[~found["game"].duplicated(keep="last")]
        # What counts is the commit: a move bears the time of its tick's begin. Both by the database's clock,
        # which is read a little before others see what is committed.
        moves = self.transitions
        left_ns = (moves["end_ns"] + _SEEN_AFTER_NS).groupby([moves["game"], moves["from"]]).max()
        found = found.join(left_ns.rename("left_ns"), on=["game", "error"])
        moved_since = (found["left_ns"] > found["end_ns"]).fillna(value=False).astype(bool)
        return found[~moved_since].drop(columns="left_ns").reset_index(drop=True)

    @cached_property
    def triggers(self) -> pd.DataFrame:
        """Runs of the broadcasting trigger."""
        return self.rows("trigger")

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
        columns = ["name", "actor", "game", "event", "seq", "start_ns", "end_ns"]
        rows = rows.loc[~rows["name"].isin(_NO_MESSAGES).to_numpy(), columns]
        rows["accepted_ns"] = rows["start_ns"] - self.pubnub_clock.offset_ns
        return rows.reset_index(drop=True)

    @cached_property
    def receipts(self) -> pd.DataFrame:
        """The first time each subscriber got each event, in the order they came."""
        rows = self.messages
        rows = rows[(rows["event"] >= 0) & rows["end_ns"].notna()]
        rows = rows.take(np.argsort(rows["end_ns"].to_numpy(dtype="int64"), kind="stable"))
        key = _pair_key(rows["event"], rows["actor"].cat.codes)
        return rows[~_repeated(key)].reset_index(drop=True)

    @cached_property
    def subscriptions(self) -> pd.DataFrame:
        """Each time a subscriber was connected: ``game``, ``actor``, ``from_ns``, ``to_ns``, ``seen_to_ns``.

        ``seen_to_ns`` is the last sign of life in the observer's file: what came later was not recorded.
        """
        rows = self.rows("delivery")
        joined = rows[(rows["name"] == Delivery.SUBSCRIBE) & rows["ok"].fillna(value=False).astype(bool)]
        joined = joined[joined["end_ns"].notna() & (joined["game"] >= 0)]
        left = rows[(rows["name"] == Delivery.UNSUBSCRIBE) & rows["start_ns"].notna()]
        joins = pd.DataFrame(
            {
                "game": joined["game"],
                "actor": joined["actor"],
                "from_ns": joined["end_ns"].astype("int64"),
                "file": joined["file"].astype("int64"),
            }
        )
        joins["key"] = _pair_key(joins["game"], joins["actor"].cat.codes)
        leaves = pd.DataFrame({"left_ns": left["start_ns"].astype("int64")})
        leaves["key"] = _pair_key(left["game"], left["actor"].cat.codes)
        joins = pd.merge_asof(
            joins.sort_values("from_ns", kind="stable"),
            leaves.sort_values("left_ns", kind="stable"),
            left_on="from_ns",
            right_on="left_ns",
            by="key",
            direction="forward",
        )
        seen = joins["file"].map(self._last_sign_of_life).astype("int64")
        joins["seen_to_ns"] = seen
        joins["to_ns"] = joins["left_ns"].astype("Int64").fillna(seen).astype("int64")
        return joins[["game", "actor", "from_ns", "to_ns", "seen_to_ns"]]

    @cached_property
    def _last_sign_of_life(self) -> dict[int, int]:
        table = self.table.select(["file", "start_ns", "end_ns"])
        last = table.group_by("file").aggregate([("start_ns", "max"), ("end_ns", "max")])
        return {
            row["file"]: max(row["start_ns_max"] or 0, row["end_ns_max"] or 0) for row in last.to_pylist()
        }

    @cached_property
    def events(self) -> pd.DataFrame:
        """Every event that should be heard: ``event``, ``game``, ``seq``, ``committed_ns``, ``tick``."""
        columns = ["event", "game", "seq", "committed_ns", "tick"]
        moved = self.transitions
        moved = moved.loc[(moved["event"] >= 0) & moved["committed_ns"].notna(), columns]
        queued = self.publishes
        queued = queued[(queued["event"] >= 0) & queued["created_ns"].notna()]
        queued = queued[~self.among(queued["event"], moved["event"])]
        queued = queued.assign(committed_ns=queued["created_ns"], tick=self.tick_of(queued["created_ns"]))
        events = pd.concat([moved, queued[columns]], ignore_index=True)
        return events[~events["event"].duplicated().to_numpy()].reset_index(drop=True)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every (event, subscriber) pair that was to be: the subscriber was connected when it was committed.

        ``received_ns`` is null where it never came; ``settled`` says whether the observer watched long
        enough after the commit for that to mean anything.
        """
        subscriptions, events = self.subscriptions, self.events
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
        blur_ns = self.subscribers_bound_ns + (self.database_clock.bound_ns or 0)
        since_ns, until_ns = pairs["from_ns"] + blur_ns, pairs["to_ns"] - blur_ns
        pairs = pairs[(since_ns <= pairs["committed_ns"]) & (pairs["committed_ns"] < until_ns)]
        event = events.iloc[pairs["row"].to_numpy()].reset_index(drop=True)
        subscriber = subscriptions.iloc[pairs["subscription"].to_numpy()].reset_index(drop=True)
        event["actor"] = subscriber["actor"]
        key = _pair_key(event["event"], event["actor"].cat.codes)
        receipts = self.receipts
        got = pd.DataFrame(
            {
                "key": _pair_key(receipts["event"], receipts["actor"].cat.codes),
                "received_ns": receipts["end_ns"],
                "accepted_ns": receipts["accepted_ns"],
            }
        )
        found = pd.DataFrame({"key": key}).merge(got, on="key", how="left")
        event["received_ns"] = found["received_ns"]
        event["accepted_ns"] = found["accepted_ns"]
        settle = int(self.policy.tolerances.settle * NS)
        event["settled"] = (event["committed_ns"] + settle <= subscriber["seen_to_ns"]).to_numpy(dtype=bool)
        # A subscriber that connected twice at once still hears an event once.
        return event[~_repeated(key)].reset_index(drop=True)

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


def evidence_of(
    history: History,
    run: Mapping[str, Any],
    policy: Policy,
    scenarios: Sequence[Mapping[str, Any]] = (),
) -> Evidence:
    """Return the evidence that ``history`` holds; rows that stand there twice are counted and dropped."""
    columns: dict[str, pa.Array] = {}
    labels: dict[str, pa.Array] = {}
    for name in history.table.column_names:
        column = history.table[name]
        if name in _MANY:
            # All chunks of one call share one dictionary; unifying them again would take ten times as long.
            chunks = column.dictionary_encode().chunks
            labels[name] = chunks[0].dictionary if chunks else pa.array([], pa.string())
            numbers = [pc.fill_null(chunk.indices, -1) for chunk in chunks]
            columns[name] = pa.concat_arrays(numbers) if numbers else pa.array([], pa.int32())
        elif name in _FEW:
            column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            columns[name] = _one_array(pa.table({name: column}).unify_dictionaries()[name])
        else:
            columns[name] = _one_array(column)
    files = np.repeat(np.arange(len(history.files), dtype=np.int16), [file.rows for file in history.files])
    table = pa.table(columns | {"file": files})
    twice = _repeated(_fingerprints(table))
    duplicated = int(np.count_nonzero(twice))
    if duplicated:
        table = table.filter(pa.array(~twice)).combine_chunks()
    return _on_one_clock(Evidence(table, labels, history.files, run, policy, scenarios, duplicated))


def _on_one_clock(evidence: Evidence) -> Evidence:
    """Return the evidence with all times of the harness's processes on the master's clock."""
    workers = {file.writer for file in evidence.files if WORKER.fullmatch(file.writer)}
    if not workers:
        return evidence
    given = (evidence.run.get("options") or {}).get("observers")
    names = [_worker(file.writer, given if isinstance(given, int) else 1) for file in evidence.files]
    names = [name if name in workers else None for name in names]
    known = {name: evidence._clock(name) for name in set(names) if name is not None}
    clocks = [Clock("", bound_ns=0) if name is None else known[name] for name in names]
    table = evidence.table
    if any(clock.offset_ns for clock in clocks):
        offsets = np.array([clock.offset_ns for clock in clocks], dtype=np.int64)
        shift = pa.array(offsets[table["file"].to_numpy()])
        # The start of a delivery is PubNub's, unless it is that of a subscription.
        named = pc.is_in(table["name"].cast(pa.string()), value_set=pa.array(_NO_MESSAGES))
        theirs = pc.and_(_equals(table["kind"], "delivery"), pc.invert(named))
        for column, by in (
            ("intended_ns", shift),
            ("start_ns", pc.if_else(theirs, 0, shift)),
            ("end_ns", shift),
        ):
            place = table.column_names.index(column)
            table = table.set_column(place, column, pc.subtract(table[column], by))
        table = table.combine_chunks()
    return replace(evidence, table=table, file_clocks=clocks, _frames={})


def _worker(writer: str, observers: int) -> str | None:
    """Return the worker on whose clock a history was written; None: the master's."""
    if (observer := OBSERVER.fullmatch(writer)) is not None:
        return load_writer((int(observer[1]) - 1) // observers + 1)
    return writer if WORKER.fullmatch(writer) else None


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows: pyarrow keeps an empty chunked array
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    return array


def unknown_kinds(table: pa.Table) -> int:
    """Return how many rows are of a kind that no check knows."""
    counts = pc.value_counts(table["kind"]).to_pylist()
    return sum(entry["counts"] for entry in counts if entry["values"] not in KINDS)


def _fingerprints(table: pa.Table) -> NDArray[np.uint64]:
    """One number a row: rows agree in it when they agree in what tells rows apart.

    64 bits: two of ten million different rows meet with a probability of 3 in a million.
    """

    def numbers(name: str) -> NDArray[np.uint64]:
        column = _one_array(table[name])
        column = column.indices if pa.types.is_dictionary(column.type) else column
        plain: NDArray[np.int64] = pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return plain.view(np.uint64)

    low = np.uint64(0xFFFF)
    found = numbers("kind") << np.uint64(48) | (numbers("name") & low) << np.uint64(32) | numbers("actor")
    for pair in (("game", "event"), ("start_ns",), ("end_ns",)):
        for shift, name in enumerate(pair):
            found ^= numbers(name) << np.uint64(32 * shift)
        _mix(found)
    return found


def _repeated(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Which keys were there before."""
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():  # as a rule, and five times faster to see than by hashing
        return np.zeros(len(keys), dtype=bool)
    return pd.Series(keys).duplicated().to_numpy()


def _mix(x: NDArray[np.uint64]) -> None:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in place."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)


def _readings_by_file(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["start_ns"].notna()]
    at = rows["start_ns"].astype("int64")
    found = pd.DataFrame({"at": at, "file": rows["file"], "value": rows["value"]})
    return found.sort_values("at", kind="stable")


def _pair_key(first: pd.Series, second: pd.Series) -> NDArray[np.int64]:
    """One number for a pair of numbers."""
    return (first.to_numpy().astype(np.int64) << 32) | second.to_numpy().astype(np.int64)


def _equals(column: pa.ChunkedArray, value: Kind) -> pa.Array:
    array = _one_array(column)
    index = pc.index(array.dictionary, value).as_py()
    return pc.equal(array.indices, index)


def _to_frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=_TYPES.get)
    return frame
