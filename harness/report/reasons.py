"""Why an objective is no pass: the sentence that its row ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from harness.report.words import count
from harness.sla.units import format_quantity
from harness.sla.verdict import judge_objective, number

#: Runs longer than this are nothing to advise.
_LONGEST_MIN: Final = 7 * 24 * 60
#: From this share of the machine on, other programs are named as a cause.
_BUSY_PERCENT: Final = 25.0


def conclusion(row: Mapping[str, Any], minutes: int | None = None, *, counted: bool = True) -> str:
    """Return why an objective's row is no pass; nothing if it is one.

    Parameters
    ----------
    minutes : how long a run would have to be for its samples to decide; None: not known, or for ever.
    counted : whether ``samples_needed`` was worked out for the threshold that the row has.
    """
    if row.get("absent"):
        return f"Not applicable: {row['absent']}."
    if row["doubts"]:
        return f"Not judged: {'; '.join(row['doubts'])}"
    if row["verdict"] == "fail":
        return _why_failed(row)
    return "" if row["verdict"] == "pass" else _why_undecided(row, minutes, counted=counted)


def with_cause(row: Mapping[str, Any], checks: Iterable[Mapping[str, Any]]) -> str:
    """Return an objective's reason, and that other programs kept the machine busy where they did.

    Parameters
    ----------
    checks : the report's measurement checks.
    """
    reason = str(row["reason"])
    others = next((number(check["measured"]) for check in checks if check["name"] == "machine"), None)
    unjudged = not reason or row["doubts"] or row.get("absent") or row["metric"] == "scenarios_passed"
    if unjudged or others is None or others < _BUSY_PERCENT:
        return reason
    return f"{reason} Other programs used {others:.0f} % of this machine meanwhile, which may be why."


def _why_undecided(row: Mapping[str, Any], minutes: int | None, *, counted: bool) -> str:
    if row["samples_needed"]:
        more = count(row["samples_needed"] - row["samples"])
        return f"Too few samples to decide; about {more} more like these would{_advice(minutes)}."
    in_the_way = _in_the_way(row)
    if in_the_way:
        return in_the_way
    if not counted:
        return (
            "The interval contains the threshold; how many more samples would decide, the record tells: "
            "stormwatch report --set."
        )
    return "The interval contains the threshold, and no number of samples like these would decide."


def _advice(minutes: int | None) -> str:
    if minutes is None:
        return ""
    if minutes > _LONGEST_MIN:
        return ", which takes weeks"
    return f": a run of {minutes} min (--duration {minutes}min)"


def _in_the_way(row: Mapping[str, Any]) -> str | None:
    """What no number of samples would take away: a longest sample, lag of the harness, unsure clocks."""
    measured = number(row["measured"])
    if measured is None:
        return None
    threshold, lag, clock = float(row["threshold"]), row.get("lag_error", 0.0), row["clock_error"]
    lag_in_words, clock_in_words = (format_quantity(value, "s") for value in (lag, clock))
    if lag and judge_objective({**row, "lag_error": 0.0}) == "fail":
        return f"It is over, but not by more than the {lag_in_words} that lag of the harness may have added."
    if row["ceiling"] and judge_objective({**row, "ceiling": None}) == "pass":
        longest, limit = (
            format_quantity(number(row["ceiling"][key]), "s") for key in ("measured", "threshold")
        )
        return f"The longest took {longest}, over {limit} by no more than lag of the harness may have added."
    if lag and measured + clock >= threshold > measured - clock - lag:
        return (
            f"No number of samples would decide: lag of the harness may have added up to {lag_in_words} to "
            "what was measured. Run it on a machine that is less busy, or with fewer games."
        )
    if clock and measured + clock >= threshold > measured - clock:
        return (
            "The interval, widened by the clocks' error bound, contains the threshold; no number of samples "
            f"would decide, for the clocks are known to {clock_in_words} only."
        )
    return None


def _why_failed(row: Mapping[str, Any]) -> str:
    if row["ceiling"] and row["ceiling"]["violations"]:
        ceiling = format_quantity(row["ceiling"]["threshold"], "s")
        return f"{row['ceiling']['violations']} took over {ceiling}."
    if row["confidence"] is None:
        return ""
    bound, end = ("at least", 0) if row["comparison"] == "<" else ("at most", 1)
    value = format_quantity(number(row["interval"][end]), row["unit"])
    return f"It is {bound} {value} with {row['confidence']:.0%} confidence."
