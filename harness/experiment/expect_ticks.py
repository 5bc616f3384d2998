"""What may be expected of concurrent ticks, of games due together, and of work that a process dies over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import pandas as pd

from harness.documents.rows import Finding
from harness.judge import Evidence, Window
from harness.judge.evidence import NS
from harness.judge.findings import (
    EXAMPLES,
    compare,
    examples_of,
    none_of,
    seconds,
    succeeded,
    unseen,
    within,
)
from harness.sla.witnesses import Witness

#: How long games that fall due together may take to be made.
_MADE_NS: Final = 10 * NS
#: Of a tick that was under way as timers were stopped.
_LAST_TICK_S: Final = 1.0


@dataclass(frozen=True)
class OthersSkip:
    """Ticks that find another one at work say that they leave it the work, quickly, and none fails."""

    needs: ClassVar = Witness.CRON

    within_s: float = 1.0

    @property
    def name(self) -> str:
        return f"ticks that find another at work skip within {self.within_s:g} s, and none fails"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        ticks = evidence.ticks
        ticks = ticks[within(ticks["start_ns"], fault.start_ns, fault.end_ns)]
        skipped = ticks["name"] == "skip"
        if not skipped.any():
            return unseen(self.name, self.within_s, "s", f"none of {len(ticks)} ticks found another at work")
        took = seconds(ticks["end_ns"] - ticks["start_ns"], 0).fillna(math.inf)
        explanation = f"{int(skipped.sum())} of {len(ticks)} ticks skipped"
        failed = ticks[~succeeded(ticks)]
        if len(failed):
            counts = failed["error"].astype("string").value_counts()
            explanation += "; " + ", ".join(f"{count} × {error}" for error, count in counts.items())
            return none_of(evidence, self.name, failed, "ticks", explanation)
        slow = ticks[skipped & (took >= self.within_s)]
        measured = float(took[skipped].max())
        return compare(self.name, measured, self.within_s, "s", explanation, examples_of(evidence, slow))


@dataclass(frozen=True)
class TimersStand:
    """No timer moves an item, although some fall due."""

    @property
    def name(self) -> str:
        return "no timer moves anything while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        moved, words = evidence.transitions, evidence.run.words
        moved = moved[moved["intended_ns"].notna()]
        offset_ns = evidence.database_clock.offset_ns
        due_ns = pd.concat([moved["intended_ns"], evidence.overdue["intended_ns"]]) - offset_ns
        due = int(within(due_ns, fault.start_ns, fault.end_ns).sum())
        by_hand = moved_by_hand(evidence, fault)
        if due + len(by_hand) == 0:
            return unseen(self.name, 0.0, words.items, f"no {words.item} fell due while it lasted")
        start_ns = fault.start_ns + int(_LAST_TICK_S * NS)
        wrong = moved[within(moved["moved_ns"], start_ns, fault.end_ns)]
        explanation = f"{due + len(by_hand)} {words.items} fell due"
        return none_of(evidence, self.name, wrong, words.items, explanation)


@dataclass(frozen=True)
class MovesAgain:
    """Somebody moves games whose time has come, soon after a fault that stopped whoever did."""

    within_s: float

    @property
    def name(self) -> str:
        return f"timers move items again within {self.within_s:g} s of its begin"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        moves = evidence.transitions
        moves = moves[moves["intended_ns"].notna()]
        moves = moves[within(moves["committed_ns"], fault.start_ns, fault.end_ns)]
        stuck = evidence.overdue
        stuck = stuck[within(stuck["intended_ns"], fault.start_ns, fault.end_ns)]
        waited = evidence.transitions
        waited = waited[within(waited["intended_ns"], fault.start_ns, fault.end_ns)]
        if moves.empty and stuck.empty and waited.empty:
            return unseen(
                self.name, self.within_s, "s", f"no {evidence.run.words.item} fell due while it lasted"
            )
        measured = float(seconds(moves["committed_ns"], fault.start_ns).min()) if len(moves) else math.inf
        late = pd.concat([waited, stuck])
        examples = examples_of(evidence, late)
        return compare(self.name, measured, self.within_s, "s", f"{len(moves)} moves", examples)


@dataclass(frozen=True)
class DueTogetherServed:
    """Games that fall due in the same instant move once each, and PubNub accepts all their events in time."""

    games: int = 5000
    within_s: float = 15.0

    @property
    def name(self) -> str:
        return (
            f"{self.games} items due at once move once each, their events accepted within {self.within_s:g} s"
        )

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        due = pd.concat([evidence.transitions, evidence.overdue], ignore_index=True)
        # Their instant is set as they are made, which may take longer than until then.
        due = due[within(due["intended_ns"], fault.start_ns - _MADE_NS, fault.end_ns)]
        instants = due.groupby("intended_ns")["game"].nunique()
        items = evidence.run.words.items
        if instants.empty or instants.max() < self.games:
            found = 0 if instants.empty else int(instants.max())
            return unseen(self.name, self.within_s, "s", f"at most {found} {items} fell due at once")
        due_ns = int(str(instants.idxmax()))
        games = due[due["intended_ns"] == due_ns]
        wrong = games[games["game"].duplicated(keep=False) | (games["name"] == "overdue")]
        if len(wrong):
            return none_of(evidence, self.name, wrong, items, "moved more than once, or never")
        entries = evidence.publishes
        published = entries[entries["event"].isin(games["event"]) & succeeded(entries)]
        # Where no event at all has an entry, there is no outbox that could tell of these.
        unpublished = games[~games["event"].isin(published["event"]) & (len(entries) > 0)]
        took = seconds(published["end_ns"], due_ns)
        late = published[took >= self.within_s]
        moved_s = float(seconds(games["start_ns"], due_ns).max())
        explanation = f"{len(games)} {items}, the last moved after {moved_s:.2f} s"
        if len(unpublished):
            explanation += f"; {len(unpublished)} events were never accepted"
        measured = math.inf if len(unpublished) else max([moved_s, *took])
        examples = [*examples_of(evidence, unpublished), *examples_of(evidence, late)][:EXAMPLES]
        return compare(self.name, measured, self.within_s, "s", explanation, examples)


@dataclass(frozen=True)
class SentAgainUnderSameId:
    """What was sent twice bears the same event id both times, so that players can tell: at least once."""

    @property
    def name(self) -> str:
        return "what is sent again bears the event id that it had"

    def absent(self, evidence: Evidence, fault: Window) -> bool:
        """Whether messages have no numbers: which one is sent again, nobody could tell."""
        return bool(evidence.messages["seq"].isna().all())

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        heard = evidence.messages
        heard = heard[(heard["game"] >= 0) & heard["seq"].notna()]
        sent_ns = heard["accepted_ns"].fillna(heard["end_ns"])
        number = [heard["game"], heard["seq"].astype("Int64")]
        # Of a message that merely came twice, both copies were accepted at the same moment.
        accepted = sent_ns.groupby(number).transform("nunique")
        again = heard[accepted > 1]
        touched = within(sent_ns, fault.start_ns, math.inf)
        again = again[touched.groupby(number).transform("any")[accepted > 1]]
        if again.empty:
            return unseen(self.name, 0.0, "events", "nothing was sent again")
        ids = again.groupby(["game", "seq"])["event"].transform("nunique")
        strange = again[(ids > 1) | (again["event"] < 0)].drop_duplicates(["game", "seq", "event"])
        explanation = f"{again.drop_duplicates(['game', 'seq']).shape[0]} events were sent again"
        return none_of(evidence, self.name, strange, "events", explanation)


@dataclass(frozen=True)
class InFlightAnswered:
    """Requests that were under way as a fault of a schedule began are answered, and well: nobody is cut off.

    Parameters
    ----------
    when : the fault, as the history names it (``process:terminate service-1``).
    """

    when: str

    @property
    def name(self) -> str:
        return f"requests under way as {self.when} begins are answered"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        begins = [found.start_ns for found in evidence.faults if found.name == self.when]
        begin_ns = min((at for at in begins if fault.start_ns <= at < fault.end_ns), default=None)
        if begin_ns is None:
            return unseen(self.name, 0.0, "requests", f"there was no {self.when}")
        calls = pd.concat([evidence.rows("http"), evidence.ticks], ignore_index=True)
        under_way = calls[within(calls["start_ns"], 0, begin_ns) & ~within(calls["end_ns"], 0, begin_ns)]
        if under_way.empty:
            return unseen(self.name, 0.0, "requests", "no request was under way")
        failed = under_way[~succeeded(under_way)]
        return none_of(evidence, self.name, failed, "requests", f"{len(under_way)} were under way")


def moved_by_hand(evidence: Evidence, fault: Window) -> pd.DataFrame:
    """Return what was moved out of a state with a timer, but not by that, while ``fault`` lasted."""
    moved = evidence.transitions
    timed = moved["from"].isin([] if evidence.lifecycle is None else list(evidence.lifecycle.timed))
    moved = moved[timed.to_numpy(bool) & moved["intended_ns"].isna().to_numpy()]
    return moved[within(moved["moved_ns"], fault.start_ns, fault.end_ns)]
