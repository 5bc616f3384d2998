"""The option `--notify`: how a command that judges tells others of its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as

if TYPE_CHECKING:
    from harness.documents.report import Report
    from harness.report.gate import Row
    from harness.report.notices import NoticeSettings


def _settings(_context: click.Context, _option: click.Parameter, channels: str) -> NoticeSettings:
    """Return where notices go: what is missing is said before anything starts."""
    from harness.report.notices import NoticeSettings, NoticeSettingsError

    with said_as(click.UsageError, NoticeSettingsError):
        return NoticeSettings.of(channels)


#: `--notify CHANNEL,...`: the command gets :class:`NoticeSettings` as ``notices``.
notify_option: Final = click.option(
    "--notify",
    "notices",
    metavar="CHANNEL,...",
    default="",
    callback=_settings,
    help="Tell of the verdict at the end: slack (SLACK_WEBHOOK_URL), email (SMTP_HOST, ALERT_EMAIL_TO ...), "
    "webhook (ALERT_WEBHOOK_URL).",
)


def tell(
    verdict: str, rows: Sequence[Row], path: Path | None, notices: NoticeSettings, *, about: str
) -> None:
    """Tell each channel; say in a line of each that could not be told."""
    from harness.report.notices import link_to, notify

    for line in notify(verdict, rows, link_to(path), notices, about=about):
        click.echo(line, err=True)


def tell_of(report: Report, folder: Path, notices: NoticeSettings, *, command: str) -> None:
    """Tell each channel of the report in ``folder`` that ``command`` made."""
    from harness.report.gate import faults_not_passed, rows_not_passed

    rows = rows_not_passed(report) + faults_not_passed(report)
    about = f"stormwatch {command} {report.run.id}"
    tell(report.verdict, rows, folder / "report.html", notices, about=about)
