"""What one played item tells of a deployment: broadcast, trigger, PubNub delivery, and the item itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd

from harness.documents.smoke import SmokeRow
from harness.documents.verdict import NOT_APPLICABLE
from harness.history.names import Actor, Delivery, Way
from harness.judge.evidence import Evidence
from harness.judge.findings import succeeded
from harness.judge.pairs import ways_of
from harness.judge.sight import clean_up, unheard
from harness.sla.witnesses import Witness
from harness.system import Broadcasts, CleansUp, HasCleaning, SqlWitness, System

#: Names of the rows.
BROADCAST: Final = "broadcast"
TRIGGER: Final = "trigger"
DELIVERY: Final = "PubNub delivery"
PLAYED: Final = "one item, played and heard"
REMOVED: Final = "items removed"
ROWS: Final = (BROADCAST, TRIGGER, DELIVERY, PLAYED, REMOVED)

#: Why what only the database tells is not known.
NO_DATABASE: Final = "no DATABASE_URL: the database was not looked at"

_NS_PER_MS: Final = 1e6
#: Who records what the players do and hear.
_HEARERS: Final = (Witness.RUN, Witness.PLAYERS, Witness.SUBSCRIBERS)


def judge_item(evidence: Evidence, system: System) -> list[SmokeRow]:
    """Return a row for each of :data:`ROWS`, from the record of one item of ``system``."""
    return [
        _doubted(evidence, _broadcast(evidence, system), _HEARERS),
        _doubted(evidence, _trigger(evidence, system), (Witness.RUN, Witness.DATABASE)),
        _doubted(evidence, _delivered(evidence), _HEARERS),
        _doubted(evidence, _played(evidence), _HEARERS),
        _removed(evidence, system),
    ]


def _broadcast(evidence: Evidence, system: System) -> SmokeRow:
    """Whether an event that was sent by a call of its own was heard by each player."""
    if not isinstance(system, Broadcasts):
        return _absent(BROADCAST, f"the file of {system.name} has no `broadcast`")
    calls = evidence.rows("http")
    calls = calls[(calls["actor"] == Actor.OPERATOR).to_numpy(dtype=bool)]
    if calls.empty:
        return _row(BROADCAST, "inconclusive", "no item began: nothing was sent")
    call = calls.iloc[0]
    if not succeeded(calls).any():
        return _row(
            BROADCAST, "fail", f"{call['name']}: {call['error']}", _ms(call["end_ns"] - call["start_ns"])
        )
    heard = evidence.messages
    heard = heard[(heard["name"] == system.broadcast_name).to_numpy(dtype=bool)]
    players, hearers = evidence.subscriptions["actor"].nunique(), heard["actor"].nunique()
    what = f"{call['name']} was served, {hearers} of {players} {evidence.run.words.players} heard it"
    took = _ms(heard["end_ns"].max() - call["start_ns"]) if hearers else None
    return _row(BROADCAST, "pass" if 0 < players == hearers else "fail", what, took)


def _trigger(evidence: Evidence, system: System) -> SmokeRow:
    """Whether each change of a state in the database led to an event there."""
    witness = system.witness
    if not (isinstance(witness, SqlWitness) and witness.tells_ids and witness.published is not None):
        return _absent(TRIGGER, f"the witness of {system.name} does not tell which events its moves made")
    if system.target.database_url is None:
        return _absent(TRIGGER, NO_DATABASE)
    moves = evidence.transitions
    if moves.empty:
        return _row(TRIGGER, "inconclusive", "the database knows of no move")
    made = moves["event"].isin(evidence.publishes["event"]) & (moves["event"] >= 0)
    took = evidence.rows("trigger")["value"].max()
    what = f"{int(made.sum())} of {len(moves)} changes of state made an event"
    return _row(TRIGGER, "pass" if made.all() else "fail", what, None if pd.isna(took) else float(took))


def _delivered(evidence: Evidence) -> SmokeRow:
    """Whether PubNub took what was sent, and each player got what it took."""
    if Way.PUBNUB not in ways_of(evidence.table):
        if evidence.rows("delivery").empty:
            return _row(DELIVERY, "inconclusive", "nobody listened")
        return _absent(DELIVERY, "its players do not listen on PubNub")
    pairs, sent = evidence.pairs, evidence.publishes
    pairs = pairs[(pairs["way"] == Way.PUBNUB).to_numpy(dtype=bool)]
    taken = set(sent.loc[sent["published_ns"].notna(), "event"])
    lost = pairs[(pairs["received_ns"].isna() & pairs["event"].isin(taken)).to_numpy(dtype=bool)]
    came = evidence.messages
    came = came[came["accepted_ns"].notna() & came["end_ns"].notna()]
    what = f"{len(came)} messages came"
    if len(lost):
        return _row(DELIVERY, "fail", f"{what}, {len(lost)} that PubNub took did not")
    if came.empty:
        verdict = "fail" if len(sent) else "inconclusive"
        return _row(DELIVERY, verdict, f"{what}; {len(taken)} of {len(sent)} events were taken by PubNub")
    return _row(DELIVERY, "pass", what, _ms((came["end_ns"] - came["accepted_ns"]).max()))


def _played(evidence: Evidence) -> SmokeRow:
    """Whether an item went from its start to its end, and each player heard of each move."""
    calls, messages = evidence.rows("http"), evidence.messages
    messages = messages[(messages["name"] != Delivery.UNREADABLE).to_numpy(dtype=bool)]
    states = {*evidence.transitions["to"].dropna(), *messages["target"].dropna().astype(str)}
    words, lifecycle = evidence.run.words, evidence.lifecycle
    broken = calls[~succeeded(calls) & (calls["value"] >= 500)]
    if not states:
        why = f"no {words.item} began"
        if len(broken):
            why += f": {broken.iloc[0]['name']}: {broken.iloc[0]['error']}"
        return _row(PLAYED, "fail" if len(broken) else "inconclusive", why)
    missing, due = unheard(evidence)
    wrong = []
    ends = set(lifecycle.ends) if lifecycle is not None else set()
    if not states & ends:
        wrong.append(f"it did not come to its end (it was {', '.join(sorted(states))})")
    if missing:
        wrong.append(f"{missing.total()} of {due} messages of its moves never came")
    players = evidence.subscriptions["actor"].nunique()
    hearers = messages.loc[messages["target"].isin(ends).to_numpy(dtype=bool), "actor"].nunique()
    if hearers < players or not players:
        wrong.append(f"{hearers} of {players} {words.players} heard of its end")
    took = _ms(messages["end_ns"].max() - calls["start_ns"].min()) if len(messages) else None
    what = "; ".join(wrong) or f"1 {words.item}, {len(messages)} messages heard"
    return _row(PLAYED, "fail" if wrong else "pass", what, took)


def _removed(evidence: Evidence, system: System) -> SmokeRow:
    """Whether what was made is gone."""
    if not isinstance(system, (HasCleaning, CleansUp)):
        return _absent(REMOVED, f"the file of {system.name} does not tell how: what was made is left")
    gone, what = clean_up(evidence)
    left = evidence.run.cleaned is not None
    return _row(REMOVED, "pass" if gone else "fail" if left else "inconclusive", what)


def _doubted(evidence: Evidence, row: SmokeRow, witnesses: Iterable[Witness]) -> SmokeRow:
    """Return a row that failed as inconclusive where whoever saw that is in doubt."""
    doubts = _doubts(evidence, witnesses)
    if row.verdict != "fail" or not doubts:
        return row
    return row.model_copy(update={"verdict": "inconclusive", "what": "; ".join([row.what, *doubts])})


def _doubts(evidence: Evidence, witnesses: Iterable[Witness]) -> list[str]:
    among = set(witnesses)
    return list(dict.fromkeys(doubt.reason for doubt in evidence.doubts if doubt.witness in among))


def _row(name: str, verdict: str, what: str, ms: float | None = None) -> SmokeRow:
    return SmokeRow.model_validate({"name": name, "verdict": verdict, "what": what, "ms": ms})


def _absent(name: str, why: str) -> SmokeRow:
    return _row(name, NOT_APPLICABLE, why)


def _ms(ns: int) -> float:
    return float(ns) / _NS_PER_MS
