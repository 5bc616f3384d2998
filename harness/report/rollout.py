"""A rollout put into words, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.documents.rollout import Checkpoint, Outcome, Rollback, RolloutDocument
from harness.documents.verdict import Verdict
from harness.report.markdown import table, text
from harness.report.words import MARKS, STYLES, count
from harness.sla.units import format_quantity

#: What an outcome is worth, and how a command ends with it.
WORTH: Final[dict[Outcome, Verdict]] = {
    "completed": "pass", "rolled back": "fail", "held": "inconclusive", "rollback failed": "fail",
}  # fmt: skip

_HEADINGS: Final = ("checkpoint", "may be bad", "new: bad", "at most", "old: bad")


def headline(found: RolloutDocument) -> str:
    """One line: what came of it, and why."""
    return f"{found.outcome.upper()}  {found.why}"


def _figures(new: Checkpoint | None, old: Checkpoint | None) -> list[str]:
    """A row of the table, without its mark."""
    one = new or old
    assert one is not None
    limit = f"{one.limit * 100:g} %" if one.kind == "share" else "none"
    upper = "–" if new is None or new.upper is None else format_quantity(new.upper * 100, "%")
    return [one.title, limit, _bad(new), upper, _bad(old)]


def _bad(point: Checkpoint | None) -> str:
    if point is None or not point.samples:
        return "–"
    return f"{count(point.bad)} of {count(point.samples)}"


def _rows(new: tuple[Checkpoint, ...], old: tuple[Checkpoint, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield the mark of a checkpoint and its figures: the new version's, where it had traffic."""
    ours, theirs = ({point.name: point for point in points} for points in (new, old))
    for name in dict.fromkeys([*ours, *theirs]):
        yield (ours.get(name) or theirs[name]).verdict, _figures(ours.get(name), theirs.get(name))


def rollback_lines(found: Rollback) -> list[str]:
    """What the way back came to, a line each."""
    lines = [
        f"bad since {found.bad_since}, decided {found.decided_at}, traffic switched {found.switched_at}",
        f"last player served by the new version {found.last_served_at or 'unknown'}: "
        f"{_s(found.from_decision_s)} after the decision, {_s(found.from_bad_s)} after the bad event (limit "
        f"{found.limit_s:g} s)",
        f"traffic: {found.traffic}",
    ]
    lines += [f"{hook.command}: {hook.error or 'done'} ({hook.seconds:g} s)" for hook in found.hooks]
    if found.cut_off:
        lines.append(f"{found.cut_off} items of the new version did not come to their end")
    proof = "proved: all is well again" if found.proved else "not proved that all is well again"
    return [*lines, proof, *(f"not well: {one.name}: {one.explanation}" for one in found.proof)]


def _s(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def print_rollout(found: RolloutDocument, console: Console) -> None:
    """Print what was known at the end of each step, and what came of it."""
    for step in found.steps:
        console.print(Text(f"{step.share * 100:g} % new: {step.decision}", style="bold"))
        shown = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("", *_HEADINGS):
            shown.add_column(heading, overflow="fold")
        for verdict, figures in _rows(step.new, step.old):
            shown.add_row(Text(MARKS[verdict], style=STYLES[verdict]), *figures)
        console.print(shown)
        console.print()
    for line in rollback_lines(found.rollback) if found.rollback else ():
        console.print(Text(f"  {line}"), soft_wrap=True)
    if found.old_violations:
        console.print(Text(f"  integrity of the old version: {found.old_violations} violations", style="red"))
    console.print(Text(headline(found), style=STYLES[WORTH[found.outcome]]), soft_wrap=True)


def render_rollout(found: RolloutDocument) -> str:
    """Return a rollout as Markdown."""
    lines = [f"## Rollout: {found.outcome}", "", text(found.why), ""]
    lines += [f"Old: {text(found.old)}. New: {text(found.new)}.", ""]
    if found.rollback is not None:
        lines += ["### Rollback", "", *(f"- {text(line)}" for line in rollback_lines(found.rollback)), ""]
    for step in found.steps:
        lines += [f"### {step.share * 100:g} % of new items: {step.decision}", "", text(step.why), ""]
        rows = [[MARKS[verdict], *figures] for verdict, figures in _rows(step.new, step.old)]
        lines += [*table("|".join(("", *_HEADINGS)), rows), ""]
    broke = f"The old version's items broke integrity {found.old_violations} times."
    return "\n".join([*lines, broke, "", text(found.method)]) + "\n"
