"""Writes the reports of a run into its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from harness.documents.report import Report
from harness.files import write_atomically, write_together
from harness.history import RunFolder
from harness.report.build import build_report
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.sla.policy import Policy

#: What is rendered from report.json and nothing else.
VIEWS: Final[Mapping[str, Callable[[Report], str]]] = {
    "report.md": render_markdown,
    "junit.xml": render_junit,
    "report.html": render_html,
}


def write_reports(run: RunFolder, policy: Policy) -> Report:
    """Judge a run, write ``report.json``, ``report.html``, ``report.md`` and ``junit.xml`` beside it.

    All of them are written before the first is replaced: they are of one judgement, also where the disk is
    full. No fault of a view costs the verdict: report.json is replaced then, and there are no views. Returns
    the report.

    Raises
    ------
    DocumentError, HistoryError
        The folder or its history can't be read.
    OSError
        A file can't be written; all stay as they were.
    """
    text = build_report(run, policy).text()
    # Render from what the file says, not from what is in memory.
    report = Report.model_validate_json(text)
    try:
        views = {run.path / name: render(report) for name, render in VIEWS.items()}
    except Exception:
        write_atomically(run.report_json, text)
        for name in VIEWS:
            (run.path / name).unlink(missing_ok=True)
        raise
    write_together({run.report_json: text} | views)
    return report
