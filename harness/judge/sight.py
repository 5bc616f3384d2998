"""What can be seen of a system under test: driven, heard, witnessed, and each optional member."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd

from harness.documents.shown import Seen
from harness.documents.words import Words
from harness.history.names import Delivery, Reading, Tick
from harness.judge.evidence import NS, Evidence
from harness.judge.findings import succeeded
from harness.judge.truth import coarsest_ns
from harness.sla.witnesses import Witness
from harness.system.members import MEMBERS

#: Readings that only a system's own metrics give.
_METRICS: Final = (Reading.POOL_IN_USE, Reading.POOL_SIZE, Reading.HTTP_CONNECTIONS, Reading.BREAKER)
#: Processes of the harness and of the stack, beside the system's own.
_OURS: Final = re.compile(r"(load|observer|cron|machine|postgres|toxiproxy|pubnub)\b.*")
#: Errors that are shown, the most frequent first.
_ERRORS: Final = 3


def sight(evidence: Evidence) -> list[Seen]:
    """Return what a run could see of its system, a row for each part; nothing if its record does not tell."""
    has = (evidence.run.system or {}).get("members")
    if not isinstance(has, list):
        return []
    rows = [_driven(evidence), _heard(evidence), _witnessed(evidence)]
    for member in MEMBERS:
        if member.name in has:
            rows.append(_seen(member.name, *_LOOKS[member.name](evidence)))
        else:
            rows.append(Seen(part=member.name, state="absent", what=f"not applicable: {member.without}"))
    return rows


def _seen(part: str, is_seen: bool, what: str) -> Seen:
    return Seen(part=part, state="seen" if is_seen else "not seen", what=what)


def _driven(evidence: Evidence) -> Seen:
    calls = evidence.rows("http")
    moves, ends = evidence.transitions, evidence.lifecycle.ends if evidence.lifecycle else ()
    ended = moves[moves["to"].isin(list(ends))]["game"].nunique()
    # Not those of calls: until the server has given an id, they bear the mark.
    touched = pd.concat([evidence.rows("delivery")["game"], moves["game"]])
    items = touched[touched >= 0].nunique()
    words = Words.of(evidence.run.system)
    played = f"{items} {words.item if items == 1 else words.items}, {ended} to the end"
    what = f"{played}; {_count(len(calls), 'call')}{_failed_calls(calls)}"
    return _seen("driven", bool(items and succeeded(calls).any()), what)


def _heard(evidence: Evidence) -> Seen:
    rows = evidence.rows("delivery")
    unreadable = rows[rows["name"] == Delivery.UNREADABLE]
    heard = evidence.messages
    heard = heard[heard["name"] != Delivery.UNREADABLE]
    kinds = ", ".join(f"{count} {name}" for name, count in heard["name"].value_counts().items() if count)
    players = rows.loc[rows["name"] == Delivery.SUBSCRIBE]
    what = f"{kinds or 'nothing'}, {_count(len(players), 'subscription')}{_failed(players)}"
    if len(unreadable):
        what += f"; {len(unreadable)} could not be read{_failed(unreadable, '')}"
    missing, due = unheard(evidence)
    if missing:
        moves = ", ".join(f"{count} {name}" for name, count in missing.most_common(_ERRORS))
        what += f"; {missing.total()} of the {due} that its moves should bring never came ({moves})"
    return _seen("heard", len(heard) > 0, what)


def unheard(evidence: Evidence) -> tuple[Counter[str], int]:
    """Return move -> how many of its messages never came; and how many should have: one a player."""
    events = evidence.events
    players = evidence.subscriptions.groupby("game")["actor"].nunique()
    due = events["game"].map(players).fillna(0)
    came = events["event"].map(evidence.receipts["event"].value_counts()).fillna(0)
    names = evidence.transitions.drop_duplicates("event").set_index("event")["name"].astype("string")
    of = events["event"].map(names).astype("string").fillna("others")
    missing = (due - came).clip(lower=0).groupby(of).sum()
    return Counter({str(name): int(count) for name, count in missing.items() if count}), int(due.sum())


def _witnessed(evidence: Evidence) -> Seen:
    moves = evidence.transitions
    doubts = [doubt.reason for doubt in evidence.doubts if doubt.witness is Witness.DATABASE]
    what = _count(len(moves), "move")
    if len(moves):
        error_s = evidence.database_clock.error_s + coarsest_ns(moves) / NS
        what += f", each within ± {error_s * 1000:.3g} ms"
    return _seen("witnessed", len(moves) > 0, "; ".join([what, *doubts]))


def _acts(evidence: Evidence) -> tuple[bool, str]:
    calls = evidence.rows("http")
    own = calls[calls["actor"].astype("string").str.startswith("player-") & calls["intended_ns"].isna()]
    what = f"{_count(len(own), 'call')} of players{_failed_calls(own)}"
    if len(pairs := evidence.act_pairs):
        what += f"; {int(pairs['received_ns'].notna().sum())} of {len(pairs)} messages of them came"
    return len(own) > 0, what


def _timer(evidence: Evidence) -> tuple[bool, str]:
    calls = evidence.rows("http")
    asked = calls[calls["intended_ns"].notna()]
    return len(asked) > 0, f"{_count(len(asked), 'call')}{_failed(asked)}"


def _ticks(evidence: Evidence) -> tuple[bool, str]:
    ticks = evidence.ticks[evidence.ticks["name"].isin([Tick.TICK, Tick.SKIP]).to_numpy()]
    absent = evidence.absent.get(Witness.CRON)
    return len(ticks) > 0, absent or f"{_count(len(ticks), 'tick')}{_failed(ticks)}"


def _health(evidence: Evidence) -> tuple[bool, str]:
    probes = evidence.rows("health")
    return bool(succeeded(probes).any()), f"{_count(len(probes), 'probe')}{_failed(probes)}"


def _metrics(evidence: Evidence) -> tuple[bool, str]:
    found = [name for name in _METRICS if len(evidence.readings(name))]
    return bool(found), ", ".join(found) or "none of its readings came"


def _processes(evidence: Evidence) -> tuple[bool, str]:
    actors = {str(actor) for actor in evidence.readings(Reading.RSS)["actor"].unique()}
    found = sorted(actor for actor in actors if not _OURS.fullmatch(actor))
    return bool(found), ", ".join(found) or "none of them runs on this machine"


def clean_up(evidence: Evidence) -> tuple[bool, str]:
    """Return whether what the run made is gone, and what became of it."""
    cleaned = evidence.run.cleaned
    if cleaned is None:
        return False, "nothing was removed: what the run made goes with its stack, or was to be kept"
    removed = ", ".join(f"{count} {kind}" for kind, count in cleaned.removed.items() if count) or "nothing"
    return cleaned.left is None, f"{removed} removed" + (f"; {cleaned.left}" if cleaned.left else "")


_LOOKS: Final[Mapping[str, Callable[[Evidence], tuple[bool, str]]]] = {
    "act": _acts,
    "ask_timer": _timer,
    "tick": _ticks,
    "health": _health,
    "metrics": _metrics,
    "processes": _processes,
    "levers": lambda _: (True, "its file tells them: `stormwatch fault --list` shows what can be broken"),
    "use_pool": lambda _: (True, "its whole pool is used after each fault"),
    "clean_up": clean_up,
}


def _failed(rows: pd.DataFrame, all_well: str = "") -> str:
    """Return how many failed, with the most frequent errors, to stand behind their number."""
    errors = rows.loc[~succeeded(rows), "error"].astype("string").dropna()
    if errors.empty:
        return all_well
    counts = errors.value_counts().head(_ERRORS)
    return f" ({', '.join(f'{count} {error}' for error, count in counts.items())})"


def _failed_calls(calls: pd.DataFrame) -> str:
    """Return how many failed, with the most frequent calls and their errors."""
    return _failed(
        calls.assign(error=calls["name"].astype("string") + ": " + calls["error"].astype("string"))
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
