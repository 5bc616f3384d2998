"""What follows from what is known of the checkpoints: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.documents.rollout import Checkpoint
from harness.sla.promises import Step

#: What is said of a checkpoint that can't be told yet, at most.
_LONGEST = 200


@dataclass(frozen=True)
class Decision:
    """What to do next, and why."""

    what: Literal["wait", "go on", "roll back", "hold"]
    why: str = ""
    #: The checkpoints that the new version broke.
    blamed: tuple[Checkpoint, ...] = ()


def decide(
    step: Step, elapsed_s: float, most_s: float, new: Sequence[Checkpoint], old: Sequence[Checkpoint]
) -> Decision:
    """Decide on a step.

    Parameters
    ----------
    elapsed_s : since the step began.
    most_s : after which it is held.
    new, old : what is known of either version. What both break is not the new one's fault: it is held.
    """
    if not step.share:
        return _observed(step, elapsed_s, most_s, old)
    # A share is held against the old version's already; of the rest, one case is one too many.
    theirs = {point.name for point in old if point.kind != "share" and point.verdict == "fail"}
    broken = [point for point in new if point.verdict == "fail" or point.shared]
    blamed = tuple(point for point in broken if not point.shared and point.name not in theirs)
    if blamed:
        return Decision("roll back", "; ".join(map(told, blamed)), blamed)
    if broken:
        both = "; ".join(map(told, broken))
        return Decision("hold", f"both versions break it, so it is not the new one's fault: {both}")
    unknown = [point for point in new if point.verdict == "inconclusive"]
    if not unknown:
        return Decision("go on" if elapsed_s >= step.least_s else "wait", "every checkpoint is kept")
    if elapsed_s >= most_s:
        return Decision("hold", f"not told after {most_s:g} s: {'; '.join(map(told, unknown))}")
    return Decision("wait", f"not known yet: {', '.join(map(_so_far, unknown))}")


def _observed(step: Step, elapsed_s: float, most_s: float, old: Sequence[Checkpoint]) -> Decision:
    broken = [point for point in old if point.verdict == "fail"]
    if broken:
        return Decision("hold", f"the old version is not well by itself: {'; '.join(map(told, broken))}")
    if unseen := [point for point in old if point.verdict == "inconclusive" and not point.samples]:
        why = f"nothing was seen yet of {', '.join(point.name for point in unseen)}"
        return Decision("hold" if elapsed_s >= most_s else "wait", why)
    return Decision("go on" if elapsed_s >= step.least_s else "wait", "what is there is well")


def _so_far(point: Checkpoint) -> str:
    enough = "" if point.needed is None else f" of some {point.needed}"
    return f"{point.name} ({point.samples}{enough} samples, {point.bad} bad)"


def told(point: Checkpoint) -> str:
    """Return a checkpoint in words: its name, and why it is no pass."""
    if point.doubts:
        why = point.doubts[0]
    elif point.kind != "share":
        why = point.explanation
    elif not point.samples:
        why = "nothing was measured"
    else:
        why = f"{point.bad} of {point.samples} {point.explanation}"
    return f"{point.name}: {why if len(why) <= _LONGEST else f'{why[:_LONGEST]}…'}"
