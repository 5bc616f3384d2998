"""What may be expected of a service that is rolled back, by a flag or as a whole, and moved by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harness.documents.rows import Finding
from harness.experiment.expect_ticks import moved_by_hand
from harness.history.names import Reading
from harness.judge import Evidence, FaultWindow, Window
from harness.judge.evidence import NS
from harness.judge.findings import compare, examples_of, none_of, succeeded, unseen, within
from scenarios.drawing_game.faults.rollback import EmergencyRollback
from scenarios.drawing_game.operator import DAWDLER, OPERATOR

#: Of clocks compared, and of the database's microseconds.
_INSTANT_S: Final = 0.002


@dataclass(frozen=True)
class TicksSkip:
    """Every tick is answered, with ``skipped: 1``: monitoring is off, and cron need not care."""

    @property
    def name(self) -> str:
        return "every tick answers that it skips while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        ticks = evidence.ticks
        ticks = ticks[within(ticks["start_ns"], fault.start_ns, fault.end_ns)]
        if ticks.empty:
            return unseen(self.name, 0.0, "ticks", "no tick was sent while it lasted")
        worked = ticks[(ticks["name"] != "skip").to_numpy() | ~succeeded(ticks)]
        return none_of(evidence, self.name, worked, "ticks", f"{len(ticks)} ticks")


@dataclass(frozen=True)
class MovedByHand:
    """Games whose phase is over are moved by an operator, whose every call is served."""

    @property
    def name(self) -> str:
        return "games are moved by hand while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        calls = evidence.rows("http")
        calls = calls[
            (calls["actor"] == OPERATOR).to_numpy()
            & within(calls["start_ns"], fault.start_ns, fault.end_ns).to_numpy()
        ]
        if calls.empty:
            return unseen(self.name, 0.0, "calls", "the operator made no call while it lasted")
        failed = calls[~succeeded(calls)]
        moved = moved_by_hand(evidence, fault)
        explanation = f"{len(moved)} games moved by hand, {len(failed)} of {len(calls)} calls failed"
        if moved.empty and failed.empty:
            return compare(self.name, 0, 0.0, "calls", f"{explanation}: nothing was moved", [])
        return none_of(evidence, self.name, failed, "calls", explanation)


@dataclass(frozen=True)
class NoGrace:
    """Drawing phases that run out while it lasts get no grace period; those before and after do.

    Needs games whose players hand nothing in (:meth:`Operator.dawdling_games`), with drawing phases as
    long as those of the games that are played.

    Parameters
    ----------
    margin_s : what runs out so long before the end is left out, as no tick may have come by in time; and
        so long after it, as the flag is not read at once.
    """

    margin_s: float = 1.5

    @property
    def name(self) -> str:
        return "no grace period is granted while it lasts, and all of them before and after"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        phases = self._drawing_phases(evidence)
        margin_ns = int(self.margin_s * NS)
        over_ns, graced = phases["over_ns"], phases["graced"]
        during = within(over_ns, fault.start_ns, fault.end_ns - margin_ns)
        before = within(over_ns, 0, fault.start_ns - margin_ns)
        after = within(over_ns, fault.end_ns + margin_ns, math.inf)
        counts = {"before": before.sum(), "while it lasted": during.sum(), "after": after.sum()}
        missing = [when for when, count in counts.items() if not count]
        if missing:
            where = " and ".join(missing)
            return unseen(self.name, 0.0, "phases", f"no player dawdled {where}")
        wrong = phases[(during & graced) | ((before | after) & ~graced)]
        explanation = ", ".join(f"{count} {when}" for when, count in counts.items())
        return none_of(evidence, self.name, wrong, "phases", f"dawdling: {explanation}")

    def _drawing_phases(self, evidence: Evidence) -> pd.DataFrame:
        """Return the moves out of drawing of dawdlers' games, with when the phase was over and ``graced``."""
        moves = evidence.transitions
        names = moves["game"].map(lambda game: evidence.label("game", int(game)) or "")
        moves = moves[names.str.contains(f"{DAWDLER}-", regex=False).to_numpy(dtype=bool)]
        begun = moves[(moves["to"] == "drawing").to_numpy(dtype=bool)].set_index("game")["start_ns"]
        ended = moves[(moves["from"] == "drawing").to_numpy(dtype=bool)]
        ended = ended[ended["game"].isin(begun.index) & ended["intended_ns"].notna()].copy()
        length_ns = int((evidence.run.length_s("drawing") or 0) * NS)
        due_ns = ended["game"].map(begun).astype("Int64") + length_ns
        ended["over_ns"] = due_ns - evidence.database_clock.offset_ns
        ended["graced"] = (ended["intended_ns"] - due_ns > int(_INSTANT_S * NS)).astype(bool)
        return ended


@dataclass(frozen=True)
class MakesNoEvents:
    """Games move and make no event: the trigger is gone, and the games don't need it."""

    @property
    def name(self) -> str:
        return "games move without events while it lasts"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        moved = evidence.transitions
        moved = moved[within(moved["moved_ns"], fault.start_ns, fault.end_ns)]
        if moved.empty:
            return unseen(self.name, 0.0, "events", "no game moved while it lasted")
        with_event = moved[(moved["event"] >= 0).to_numpy()]
        return none_of(evidence, self.name, with_event, "events", f"{len(moved)} games moved")


@dataclass(frozen=True)
class RolledBack:
    """Every step of the emergency rollback has its effect, all of them together in time."""

    within_s: float = 300.0

    @property
    def name(self) -> str:
        return f"the emergency rollback is done within {self.within_s:g} s"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        begun_ns = next((f.start_ns for f in reversed(evidence.faults) if _is_same(f, fault)), None)
        if begun_ns is None:
            return unseen(self.name, self.within_s, "s", f"the record has no {fault.name}")
        steps = evidence.readings(Reading.STEP)
        steps = steps[within(steps["start_ns"], begun_ns, fault.end_ns)].sort_values("start_ns")
        done = steps[succeeded(steps)]
        missing = [step for step in EmergencyRollback.STEPS if step not in set(done["actor"])]
        explanation = ", ".join(f"{step['actor']} {step['value']:.2f} s" for _, step in steps.iterrows())
        if missing:
            explanation = f"not done: {', '.join(missing)}; {explanation}"
            return compare(self.name, math.inf, self.within_s, "s", explanation, examples_of(evidence, steps))
        taken_s = (int(done["end_ns"].max()) - begun_ns) / NS
        return compare(self.name, taken_s, self.within_s, "s", explanation, examples_of(evidence, steps))


def _is_same(declared: FaultWindow, fault: Window) -> bool:
    return declared.name == fault.name and declared.start_ns <= fault.start_ns
