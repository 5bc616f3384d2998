"""A validation put into words and a table, the same in every view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from harness.documents.shown import Healthy, TrialOutcome, Tried, ValidationShown
from harness.documents.validation import Validation
from harness.documents.verdict import Verdict
from harness.report.words import MARKS

Validated = Validation | ValidationShown

#: What stands where there is none.
NONE: Final = (
    "Not validated here yet: `stormwatch validate` puts defective versions of the system before the harness, "
    "and tells which of them it catches."
)

_ABOUT: Final = (
    "Each defect is one thing that is wrong with a system. It is caught where the run that shows it fails by "
    "the row that says what it is; of several rows one is enough, and `*` stands for anything."
)

#: What an outcome is worth.
WORTH: Final[Mapping[TrialOutcome, Verdict]] = {
    "as expected": "pass",
    "as something else": "fail",
    "missed": "fail",
    "can't tell": "inconclusive",
    "left out": "inconclusive",
    "can't be seen": "inconclusive",
}
#: Those that need no word: nothing is wrong, or nothing was tried.
_SILENT: Final = frozenset({"as expected", "left out", "can't be seen"})


def summary(found: Validated) -> str:
    """One sentence: when, and how many of the defects that were tried are caught."""
    moment = datetime.fromisoformat(found.finished_at)
    counts = Counter[str](one.outcome for one in found.tried)
    tried = sum(counts[name] for name in ("as expected", "as something else", "missed", "can't tell"))
    parts = [f"{counts['as expected']} of {tried} defects caught as what they are"]
    parts += [
        f"{counts[name]} {told}"
        for name, told in (
            ("as something else", "as something else"),
            ("missed", "missed"),
            ("can't tell", "not told for certain"),
            ("left out", "left out"),
        )
        if counts[name]
    ]
    alarms = sum(bool(one.alarms) for one in found.healthy)
    healthy = f"{alarms or 'no'} false alarm{'s' if alarms > 1 else ''} in {len(found.healthy)} healthy runs"
    return f"Validated {moment:%Y-%m-%d %H:%M} UTC: {MARKS[found.verdict]} {', '.join(parts)}; {healthy}."


def complaints(found: Validated) -> list[str]:
    """What is not as it should be, a line each."""
    lines = [f"{one.title}: {said(one)}." for one in found.tried if one.outcome not in _SILENT]
    return lines + [f"The healthy system, {one.run}: {alarm(one)}." for one in found.healthy if alarm(one)]


def said(one: Tried) -> str:
    """What the harness said of a defect, as far as it is not what was expected."""
    match one.outcome:
        case "as something else":
            return f"caught as {', '.join(one.caught)}, not as {' or '.join(one.expected)}"
        case "missed":
            told = f" ({one.told})" if one.told else ""
            return f"missed{told}; {' or '.join(one.expected)} was to fail"
        case "can't tell":
            return f"can't tell: {one.error}"
        case "can't be seen":
            return f"can't be seen from outside: {one.unseen}"
        case other:
            return other


def alarm(one: Healthy) -> str:
    """What was wrong with a run of the healthy system; empty: nothing."""
    return f"false alarm: {', '.join(one.alarms)}" if one.alarms else one.error


def render_summary(found: Validation) -> str:
    """Return a validation as Markdown: what was tried, by families, and what came of it."""
    lines = ["# What the harness catches", "", _ABOUT, "", summary(found), ""]
    for family in dict.fromkeys(one.family for one in found.tried):
        lines += [f"## {_begin(family)}", "", "| defect | shown by | caught as | |", "|---|---|---|---|"]
        lines += [
            f"| `{one.name}`: {one.title} | {one.run or '–'} | {_as(one)} | {_mark(one)} |"
            for one in found.tried
            if one.family == family
        ]
        lines.append("")
    lines += ["## The healthy system", "", "| run | s | false alarms |", "|---|--:|---|"]
    lines += [f"| {one.run} | {_seconds(one.seconds)} | {alarm(one) or 'none'} |" for one in found.healthy]
    seconds = [one.seconds or 0.0 for one in found.tried] + [one.seconds or 0.0 for one in found.healthy]
    took = f"{sum(map(bool, seconds))} runs, {sum(seconds) / 60:.0f} minutes."
    lines += ["", f"{took} `make validate` writes this page."]
    return "\n".join(lines) + "\n"


def _as(one: Tried) -> str:
    if one.unseen:
        return said(one)
    rows = one.expected if one.outcome in {"left out", "as expected"} else one.caught
    return "; ".join(f"`{row}`" for row in rows).replace("|", "\\|") or "–"


def _mark(one: Tried) -> str:
    untried = one.outcome in {"left out", "can't be seen"}
    return one.outcome if untried else f"{MARKS[WORTH[one.outcome]]} {one.outcome}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _begin(text: str) -> str:
    return text[:1].upper() + text[1:]
