"""The reports of a folder that make up a trend: found, ordered by time, and never of different kinds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from harness.documents.base import parse_document
from harness.documents.report import Report, upgraded
from harness.documents.rollout import NAME as ROLLOUT
from harness.files import read_json
from harness.report.compare import LOAD, target_name
from harness.report.trend import Release

#: What must agree for reports to be of one trend.
TRAITS: Final = ("kind", "profile", "system", "target", *LOAD, "machine", "schema")
Traits = dict[str, str]
#: A folder with one of these is one whole: reports below it are of its parts.
_WHOLES: Final = ("report.json", ROLLOUT)


class TrendError(Exception):
    """There is no trend to be had; the message says why and the way out."""


def releases_in(
    folder: Path, only: Mapping[str, str], *, anyway: bool = False
) -> tuple[list[Release], list[str]]:
    """Return the reports below a folder that are like the newest, oldest first, and what is left out.

    Parameters
    ----------
    only : trait -> the value that a report must have.
    anyway : take those that differ from the newest in some trait, too.

    Raises
    ------
    TrendError
        There are none, or none with these traits.
    DocumentError
        One can't be read.
    """
    if unknown := sorted(set(only) - set(TRAITS)):
        raise TrendError(f"--only {unknown[0]}: nothing is called so; write one of {', '.join(TRAITS)}")
    read = [_read(path) for path in _paths(folder)]
    # Runs of rollouts are all called `old` and `new`.
    found = list({(one.run.id, one.run.started_at): (one, traits) for one, traits in read}.values())
    if not found:
        raise TrendError(
            f"{folder}: no report in it; name a folder of runs, or of report.json files of several"
        )
    chosen = [(one, traits) for one, traits in found if only.items() <= traits.items()]
    if not chosen:
        had = "; ".join(f"{key} {', '.join(sorted({traits[key] for _, traits in found}))}" for key in only)
        raise TrendError(f"no report has all that --only asks for; there are {had}")
    chosen.sort(key=lambda one: _time(one[0]))
    newest = chosen[-1][1]
    notes = _left_out([traits for _, traits in chosen if traits != newest], newest, anyway=anyway)
    kept = [report for report, traits in chosen if anyway or traits == newest]
    return _labelled(kept), notes


def _paths(folder: Path) -> list[Path]:
    """Reports below a folder, but for those that belong to another run or a rollout: what is part of it."""
    if not folder.is_dir():
        raise TrendError(f"{folder}: no such folder")
    paths = sorted(folder.rglob("*report*.json"))
    runs = {path.parent for path in (*paths, *folder.rglob(ROLLOUT)) if path.name in _WHOLES} - {folder}
    return [path for path in paths if not runs & set(path.parent.parents)]


def _read(path: Path) -> tuple[Report, Traits]:
    content = read_json(path)
    report = parse_document(upgraded(content), Report, path, "remove it from the folder, or make it again")
    run = report.run
    options, machine = run.options or {}, run.machine or {}
    memory = machine.get("memory_bytes")
    size = f"{memory / 2**30:.0f} GB" if isinstance(memory, (int, float)) else "unknown memory"
    traits = {
        "kind": run.kind,
        "profile": run.profile,
        "system": (run.system or {}).get("name"),
        "target": target_name(run.target) if run.target else None,
        **{name: options.get(name) for name in LOAD},
        "machine": f"{machine.get('cores')} cores, {size}, {machine.get('architecture')}"
        if machine
        else None,
        "schema": content["schema"],
    }
    return report, {key: _words(value) for key, value in traits.items()}


def _words(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _time(report: Report) -> datetime:
    return datetime.fromisoformat(report.run.started_at or report.generated_at).astimezone(UTC)


def _left_out(others: Sequence[Traits], newest: Traits, *, anyway: bool) -> list[str]:
    """Return a line for each way in which reports differ from the newest."""
    ways = Counter(
        tuple((key, value) for key, value in traits.items() if value != newest[key]) for traits in others
    )
    lines = []
    for way, times in ways.items():
        key, value = way[0]
        differ = "; ".join(f"{name} {theirs}, not {newest[name]}" for name, theirs in way)
        lines.append(
            f"{times} mixed in of {differ}: a change need not come from the service"
            if anyway
            else f"{times} left out of {differ}: see --only '{key}={value}', or mix them with --anyway"
        )
    return lines


def _labelled(reports: Sequence[Report]) -> list[Release]:
    """Reports with a name each: the release that they record, else when they were made."""
    times: Counter[str] = Counter()
    found = []
    for report in reports:
        at = f"{_time(report):%Y-%m-%d %H:%M:%S}"
        name = str((report.run.versions or {}).get("release") or at)
        name = name[:10] if re.fullmatch("[0-9a-f]{40}", name) else name
        times[name] += 1
        found.append(Release(f"{name} #{times[name]}" if times[name] > 1 else name, at, report))
    return found
