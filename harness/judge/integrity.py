"""What must never happen: lost, early, double, illegal, out of order, told wrongly. One case is too many.

These hold everywhere in the record, also in warm-up and in fault windows: a fault may delay an item,
it may not move it twice. Each check returns what it found; nothing is sampled, so nothing is uncertain
except what was not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.documents.words import begin
from harness.history.names import AMBIGUOUS, Publish, move
from harness.history.witnesses import Witness
from harness.judge.evidence import NS, Evidence
from harness.judge.pairs import ambiguous
from harness.judge.table import pair_key, repeated
from harness.judge.timers import went_back
from harness.judge.told import told_of_nothing, told_wrongly
from harness.judge.truth import blur_ns, looks_now_and_then, never_due
from harness.judge.violations import EXAMPLES, Violations, examples_of, violations_of
from harness.sla.witnesses import rests_on
from harness.system.lifecycle import Lifecycle

#: Why moves can't be held against the rules of a run that does not tell them.
UNTOLD: Final = "run.json does not tell the lifecycle: it was recorded by an older version"

#: Faults under which items moved without events in runs that do not tell which those are.
_SILENCING: Final = ("database:trigger-dropped", "service:emergency-rollback")


def lost_transitions(evidence: Evidence) -> Violations:
    """Items whose phase was long past due when the record ended and that never moved.

    One that was due a moment ago may be late only, as an event may be that has not arrived yet.
    """
    rows = evidence.overdue
    allowed_s = evidence.tick_s + evidence.policy.tolerances.settle
    allowed = int(allowed_s * NS)
    late = rows["end_ns"] - rows["intended_ns"]
    return violations_of(
        evidence,
        rows[(late > allowed).fillna(value=False).to_numpy(dtype=bool)],
        len(evidence.transitions) + len(rows),
        f"{_items(evidence)} past due by more than {allowed_s:g} s when the run ended, never moved.",
        lambda row: (
            f"still {row['error']} {(row['end_ns'] - row['intended_ns']) / NS:.1f} s after its expiry"
        ),
        deniable=True,
        doubts=never_due(evidence),
    )


def lost_events(evidence: Evidence) -> Violations:
    """Events that none of the subscribers connected at their commit ever got, or that were given up."""
    pairs = evidence.pairs
    # What was heard is not lost, however short a time ago it was.
    pairs = pairs[pairs["settled"] | pairs["received_ns"].notna()]
    told = _told(pairs)
    unheard = told[~told["heard"].to_numpy()]
    published = evidence.publishes
    dead = published[(published["ok"] == False).fillna(value=False).to_numpy(dtype=bool)]  # noqa: E712 - null too
    received = evidence.receipts["event"]
    dead = dead[~evidence.among(dead["event"], received) & ~evidence.among(dead["event"], unheard["event"])]
    silent = evidence.announced
    unknown = ambiguous(silent)
    silent = silent[(silent["event"] < 0) & bool((silent["event"] >= 0).any())]
    silent = silent[(silent["error"] != AMBIGUOUS).to_numpy()]
    silent = silent[~_made_no_event_on_purpose(evidence, silent["moved_ns"])]
    examples = (
        examples_of(evidence, unheard, lambda row: f"none of its subscribers{_over(row)} got it")
        + examples_of(evidence, dead, lambda row: f"given up: {row['error']}")
        + examples_of(evidence, silent, lambda row: f"{row['name']} made no event")
    )
    return Violations(
        violations=len(unheard) + len(dead) + len(silent),
        deniable=len(unheard) + len(dead),
        looked_at=len(told),
        definition="Events that no connected subscriber ever received, dead letters that reached nobody, and "
        "changes of status that made no event at all while its trigger was not dropped on purpose.",
        examples=examples[:EXAMPLES],
        doubts=unknown,
    )


def _told(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return each event once for each way in which it was to be heard, and whether it was ``heard``."""
    key = pair_key(pairs["event"], pairs["way"].cat.codes + 1)
    first = ~repeated(key)
    heard = np.isin(key[first], key[pairs["received_ns"].notna().to_numpy()])
    return pairs[first].assign(heard=heard, several=pairs["way"].nunique() > 1)


def _over(told: pd.Series) -> str:
    return f" over {told['way']}" if told["several"] else ""


def _made_no_event_on_purpose(evidence: Evidence, moved_ns: pd.Series) -> NDArray[np.bool_]:
    """Return which of ``moved_ns`` (our clock) lie in a declared window in which no events are made."""
    told = (evidence.run.system or {}).get("silenced_by")
    silencing = told if isinstance(told, list) else _SILENCING
    times = moved_ns.to_numpy(dtype="int64", na_value=-1)
    # The window is by our clock, and the database's is known to so much.
    blur_ns = evidence.database_clock.bound_ns or 0
    found = np.zeros(len(times), dtype=bool)
    for fault in evidence.faults:
        if f"{fault.fault.place}:{fault.fault.name}" in silencing:
            end_ns = np.iinfo(np.int64).max if fault.end_ns is None else fault.end_ns + blur_ns
            found |= (times >= fault.start_ns - blur_ns) & (times <= end_ns)
    return found


def early(evidence: Evidence) -> Violations:
    """Items moved before their expiry, both times by the database's clock."""
    rows = evidence.transitions
    rows = rows[rows["intended_ns"].notna() & rows["start_ns"].notna()]
    ahead, off = (rows["intended_ns"] - rows["start_ns"]).to_numpy(dtype="int64"), blur_ns(rows)
    # The database keeps microseconds.
    surely = ahead - off > 1000
    perhaps = int(np.count_nonzero(ahead + off > 1000)) - int(np.count_nonzero(surely))
    unsure = [f"{perhaps} may have moved early: the witness knows it to {off.max(initial=0) / NS:.3g} s only"]
    return violations_of(
        evidence,
        rows[surely],
        len(rows),
        f"{_items(evidence)} whose timer moved them before the phase's expiry.",
        lambda row: f"{row['name']} {(row['intended_ns'] - row['start_ns']) / 1e6:.3f} ms early",
        doubts=[*(unsure if perhaps else ()), *never_due(evidence)],
    )


def double(evidence: Evidence) -> Violations:
    """Items that entered the same phase more than once, or two events under one number."""
    rows = evidence.transitions
    rows = rows[rows["game"] >= 0]
    games = rows["game"].to_numpy()
    again = pd.DataFrame({"game": games, "to": rows["to"].astype(str).to_numpy()}).duplicated().to_numpy()
    if evidence.lifecycle is not None:
        again = again & rows["to"].isin(evidence.lifecycle.once).to_numpy()
    numbers = pd.DataFrame({"game": games, "seq": rows["seq"].to_numpy(dtype="float64", na_value=np.nan)})
    same_number = (numbers.duplicated() & numbers["seq"].notna()).to_numpy()
    return violations_of(
        evidence,
        rows[again | same_number],
        len(rows),
        f"{_items(evidence)} that entered the same phase twice, or gave the same number to two changes.",
        lambda row: f"{row['name']} once more",
    )


def illegal(evidence: Evidence) -> Violations:
    """Moves that the lifecycle does not know, or that do not start where the last one ended."""
    rows = evidence.transitions
    rows = rows[rows["game"] >= 0]
    names = rows["name"].cat.remove_unused_categories()
    lifecycle = evidence.lifecycle
    doubts = [] if lifecycle else [UNTOLD]
    allowed = names.cat.categories if lifecycle is None else [move(*pair) for pair in lifecycle.pairs]
    unknown = ~names.isin(allowed).to_numpy()
    if lifecycle is not None and looks_now_and_then(evidence.run):
        skipped = unknown & _passed_over(rows, lifecycle)
        if skipped.any():
            doubts.append(f"{np.count_nonzero(skipped)} times, moves fell between two looks of the witness")
        unknown &= ~skipped
    torn, gaps = _torn(rows)
    return violations_of(
        evidence,
        rows[unknown | torn],
        len(rows),
        f"Moves other than {_in_words(lifecycle)}, or that do not start in the phase where the "
        f"{evidence.run.words.item} was.",
        lambda row: str(row["name"]),
        doubts=doubts + ([f"{gaps} changes are missing in the record"] if gaps else []),
    )


def _passed_over(rows: pd.DataFrame, lifecycle: Lifecycle) -> NDArray[np.bool_]:
    """Return which moves may be several, of which a witness that looks now and then saw the last."""
    ways = zip(rows["from"], rows["to"], strict=True)
    return np.array([after in lifecycle.later.get(before, ()) for before, after in ways], dtype=bool)


def _items(evidence: Evidence) -> str:
    """What the items are called, at the begin of a sentence."""
    return begin(evidence.run.words.items)


def _in_words(lifecycle: Lifecycle | None) -> str:
    if lifecycle is None:
        return "those of the system's lifecycle"
    return ", ".join(f"{before} → {after}" for before, after in lifecycle.pairs)


def _torn(rows: pd.DataFrame) -> tuple[NDArray[np.bool_], int]:
    """Return which moves do not start where the item's last one ended, and how many follow a gap."""
    order = pd.DataFrame(
        {
            "row": np.arange(len(rows)),
            "game": rows["game"].to_numpy(),
            "seq": rows["seq"].to_numpy(dtype="float64", na_value=np.nan),
            "at": rows["start_ns"].to_numpy(dtype="int64", na_value=0),
            "from": rows["from"].astype(str).to_numpy(),
            "to": rows["to"].astype(str).to_numpy(),
        }
    ).sort_values(["game", "seq", "at"], kind="stable")
    follows = (order["game"] == order["game"].shift()).to_numpy()
    broken = follows & (order["from"] != order["to"].shift()).to_numpy()
    # A gap in the numbers: the change in between was not recorded. That proves nothing of the item.
    gap = broken & (order["seq"] - order["seq"].shift() > 1).to_numpy()
    torn = np.zeros(len(rows), dtype=bool)
    torn[order["row"].to_numpy()[broken & ~gap]] = True
    return torn, int(np.count_nonzero(gap))


def out_of_order(evidence: Evidence) -> Violations:
    """Events that reached a subscriber after a later one of the same item.

    Repeats do not count, nor do dead letters that were replayed: the item's later events did not wait. What
    has no number is in its state's place in the lifecycle.
    """
    rows = evidence.receipts
    order = evidence.lifecycle.order if evidence.lifecycle is not None else {}
    numbered = rows["seq"].notna()
    place = rows["target"].map(order).astype("Int64")
    rows = rows.assign(place=rows["seq"].fillna(place), numbered=numbered)
    rows = rows[rows["place"].notna() & (rows["game"] >= 0)]
    rows = rows[~_replayed_before(evidence, rows)]
    seq = rows["place"].to_numpy(dtype="int64")
    ordered = pd.DataFrame(
        {
            "game": rows["game"].to_numpy(),
            "actor": rows["actor"].cat.codes.to_numpy(),
            "numbered": rows["numbered"].to_numpy(dtype=bool),
            "seq": seq,
        }
    )
    highest = ordered.groupby(["game", "actor", "numbered"], sort=False)["seq"].cummax().to_numpy()
    return violations_of(
        evidence,
        rows[seq < highest],
        len(rows),
        "Events that a subscriber received for the first time after one of the same "
        f"{evidence.run.words.item} with a higher number, other than replayed dead letters.",
        lambda row: (
            f"number {row['seq']} came after a higher one"
            if row["numbered"]
            else f"{row['target']} came after a later state"
        ),
        deniable=True,
    )


def _replayed_before(evidence: Evidence, receipts: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which of ``receipts`` are of dead letters, and came after those were replayed."""
    replayed = evidence.published(Publish.REPLAYED)
    replayed = replayed[(replayed["event"] >= 0).to_numpy()]
    replayed_ns = receipts["event"].map(replayed.groupby("event")["start_ns"].min())
    return (receipts["end_ns"] >= replayed_ns).fillna(value=False).to_numpy(dtype=bool)


@dataclass(frozen=True)
class Integrity:
    """A check for what must never happen, and the witnesses that it rests on."""

    title: str
    find: Callable[[Evidence], Violations]
    #: What is looked at, in the plural.
    cases: str
    rests_on: frozenset[Witness]
    #: With these in doubt, what is missing may have happened all the same, or at another time.
    silenced_by: frozenset[Witness]

    def look(self, evidence: Evidence, doubted: Collection[Witness] = ()) -> Violations:
        """Return what it finds; what one of ``doubted`` could have told otherwise proves nothing."""
        found = self.find(evidence)
        if not found.deniable or not self.silenced_by & set(doubted):
            return found
        why = f"{found.deniable} cases were seen, which prove nothing while the record of it is in doubt"
        return replace(found, violations=found.violations - found.deniable, doubts=[*found.doubts, why])


def _integrity(
    title: str,
    find: Callable[[Evidence], Violations],
    cases: str,
    *witnesses: Witness,
    silenced_by: Collection[Witness] = (),
) -> Integrity:
    return Integrity(title, find, cases, rests_on(*witnesses), frozenset({Witness.PATHS, *silenced_by}))


_HEARD: Final = (Witness.SUBSCRIBERS, Witness.MESSAGES)
_LATE: Final = (Witness.DATABASE, Witness.SCHEDULE)

#: Name -> what must never happen.
INTEGRITY: Final[Mapping[str, Integrity]] = {
    "lost_transitions": _integrity(
        "Lost transitions", lost_transitions, "transitions", Witness.DATABASE, silenced_by=_LATE
    ),
    "lost_events": _integrity(
        "Lost events", lost_events, "deliveries", Witness.DATABASE, *_HEARD, silenced_by=_HEARD
    ),
    "early": _integrity("Moved early", early, "transitions", Witness.DATABASE),
    "double": _integrity("Moved twice", double, "transitions", Witness.DATABASE),
    "illegal": _integrity("Illegal moves", illegal, "transitions", Witness.DATABASE),
    "out_of_order": _integrity(
        "Out of order",
        out_of_order,
        "deliveries",
        *_HEARD,
        Witness.OWN_CLOCK,
        silenced_by={Witness.OWN_CLOCK},
    ),
    "told_wrongly": _integrity("Told wrongly", told_wrongly, "messages of moves", Witness.DATABASE, *_HEARD),
    "told_of_nothing": _integrity(
        "Told of what never happened",
        told_of_nothing,
        "messages of moves",
        Witness.DATABASE,
        *_HEARD,
        silenced_by={Witness.DATABASE},
    ),
    "timer_back": _integrity(
        "Timers that went back",
        went_back,
        "answers of the timer call",
        Witness.PLAYERS,
        *_HEARD,
        Witness.OWN_CLOCK,
    ),
}
