"""The report of a run: report.json, and what is rendered from it and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.gate import read_report

if TYPE_CHECKING:
    from harness.documents.report import Report
    from harness.history import RunFolder
    from harness.sla.policy import Policy

__all__ = ["read_report", "write_reports"]


def write_reports(run: RunFolder, policy: Policy) -> Report:
    """Judge a run and write its reports; see :func:`harness.report.write.write_reports`."""
    # The gate must not wait for pandas.
    from harness.report import write

    return write.write_reports(run, policy)
