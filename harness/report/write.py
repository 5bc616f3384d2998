"""Writes the reports of a run into its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.history import RunFolder
from harness.history.run import write_atomically
from harness.report.build import build_report
from harness.report.gate import validate
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.sla.policy import Policy


def write_reports(run: RunFolder, policy: Policy) -> dict[str, Any]:
    """Judge a run, write ``report.json``, ``report.html``, ``report.md`` and ``junit.xml`` beside it.

    report.json comes first, so that no fault of a view costs the verdict. Returns the report.

    Raises
    ------
    RunFolderError, HistoryError
        The folder or its history can't be read.
    OSError
        A file can't be written; the others stay as they were.
    """
    report: dict[str, Any] = build_report(run, policy)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Render from what the file says, not from what is in memory.
    report = json.loads(text)
    validate(report)
    write_atomically(run.report_json, text)
    render(report, run.path)
    return report


def render(report: dict[str, Any], folder: Path) -> None:
    """Write the views of a report beside it."""
    write_atomically(folder / "report.md", render_markdown(report))
    write_atomically(folder / "junit.xml", render_junit(report))
    write_atomically(folder / "report.html", render_html(report))
