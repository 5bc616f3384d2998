"""``live.json`` in a terminal: the objectives so far while a run goes on; and on one line, for logs."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.documents.live import Figures, Live, LiveDoubt, LiveObjective
from harness.documents.verdict import RowVerdict
from harness.report.words import MARKS, STYLES


def render(document: Live, now_s: float) -> RenderableType:
    """Return the objectives so far, what is broken now, integrity and doubts.

    Parameters
    ----------
    document : ``live.json``.
    now_s : the time, Unix seconds: the view says how old it is.
    """
    parts: list[RenderableType] = [Text()]
    figures = document.figures
    if figures is not None:
        parts.append(_objectives(figures))
        parts.append(Text())
    parts.append(_faults(document))
    if figures is not None:
        parts.append(_integrity(figures))
        parts += [_doubt(doubt) for doubt in figures.doubts if document.begun]
    parts.append(_footer(document, now_s))
    return Group(*parts)


def one_line(document: Live) -> str:
    """Return where the run stands, for a log.

    ``5 pass, 1 fail, 3 open (broadcast_latency fail p95 2.10 s); integrity 0; broken: network:down``.
    """
    parts = []
    figures = document.figures
    if figures is not None and figures.objectives:
        counts = Counter(row.verdict for row in figures.objectives)
        named: dict[RowVerdict, str] = {"pass": "pass", "fail": "fail", "inconclusive": "open"}
        text = ", ".join(f"{counts[verdict]} {word}" for verdict, word in named.items() if counts[verdict])
        failing = [row for row in figures.objectives if row.verdict == "fail"]
        told = ", ".join(f"{row.name} {row.shown.measured} ({row.shown.interval})" for row in failing)
        parts.append(f"objectives so far: {text}{f' [{told}]' if told else ''}")
        parts.append(f"integrity violations: {sum(row.violations for row in figures.integrity)}")
    if document.faults:
        parts.append(f"broken now: {', '.join(fault.name for fault in document.faults)}")
    if document.problem:
        parts.append(document.problem)
    return "; ".join(parts) or "nothing judged yet"


def _objectives(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "objective so far", "promised", "measured", "interval"):
        table.add_column(heading, overflow="fold")
    table.add_column("samples", justify="right")
    for row in figures.objectives:
        style, shown = STYLES[row.verdict], row.shown
        table.add_row(
            Text(MARKS[row.verdict], style=style),
            Text(row.title),
            shown.target,
            Text(shown.measured, style=style if row.measured is not None else "dim"),
            shown.interval,
            _samples(row),
        )
    return table


def _samples(row: LiveObjective) -> str:
    shown = row.shown
    return f"{shown.samples} of {shown.needed}" if shown.needed else shown.samples


def _faults(document: Live) -> Text:
    line = Text("broken now ")
    if not document.faults:
        return line.append(" nothing", style="dim")
    for fault in document.faults:
        where = f" ({fault.scenario})" if fault.scenario else ""
        line.append(f" ⚡ {fault.name}", style="bold magenta").append(f" for {fault.for_s:.0f} s{where}")
    return line


def _integrity(figures: Figures) -> Text:
    line = Text("integrity   ")
    for row in figures.integrity:
        line.append(f"{MARKS[row.verdict]} ", style=STYLES[row.verdict])
        line.append(f"{row.title.lower()} {row.violations}   ")
    return line


def _doubt(doubt: LiveDoubt) -> Text:
    return Text(f"in doubt    {doubt.title}: {doubt.explanation}", style="yellow", overflow="ellipsis")


def _footer(document: Live, now_s: float) -> Text:
    if document.problem:
        return Text(f"not judged: {document.problem}", style="red")
    if document.figures is None:
        return Text("not judged yet", style="dim")
    age_s = max(0.0, now_s - datetime.fromisoformat(document.figures.judged_at).timestamp())
    return Text(f"as of {age_s:.0f} s ago, judged each {document.every_s:g} s", style="dim")
