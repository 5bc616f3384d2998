"""A last look through all that a run leaves behind, for secrets that should not be there."""

from __future__ import annotations

from collections.abc import Mapping

from harness.history import HistoryWriter, Row, RunFolder, now_ns
from harness.history.names import Reading
from harness.observe.secrets import count_secrets, search, secrets_of
from harness.report.build import build_report
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.sla.policy import load_policy
from harness.target import Target


def record_secrets(run: RunFolder, target: Target, history: HistoryWriter) -> None:
    """Record how often secrets of ``target`` stand in each file of ``run``: a ``resource`` row a file."""
    history.flush()
    _record(dict(search(run.path, secrets_of(target))), history)


def search_for_secrets(run: RunFolder, target: Target, history: HistoryWriter) -> None:
    """Record how often secrets of ``target`` stand in each file of ``run`` and in the reports made of it.

    One ``resource`` row a file, named after it.
    """
    secrets = secrets_of(target)
    report = build_report(run, load_policy())
    views = {
        "report.json": report.text(),
        "report.html": render_html(report),
        "report.md": render_markdown(report),
        "junit.xml": render_junit(report),
    }
    record_secrets(run, target, history)
    _record({name: count_secrets(view.encode(), secrets) for name, view in views.items()}, history)


def _record(found: Mapping[str, int], history: HistoryWriter) -> None:
    at_ns = now_ns()
    for name, count in found.items():
        history.append(Row("resource", Reading.SECRETS, name, start_ns=at_ns, value=count))
    history.flush()
