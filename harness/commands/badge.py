"""`stormwatch badge`: the verdict of a report as a small picture for a README."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

_COLOURS: Final = {"pass": "#2e7d32", "fail": "#c62828", "inconclusive": "#8a6d00"}
#: Pixels of a character at the badge's font size, widely reckoned, and of the space beside a text.
_CHARACTER: Final = 7
_SPACE: Final = 12
_LABEL: Final = "stormwatch"


@click.command(name="badge")
@click.argument("report", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("badge.svg"),
    show_default=True,
    help="The file.",
)
def command(report: Path, output: Path) -> None:
    """Write the verdict of REPORT (report.json or its folder; default: reports/latest) as an SVG badge."""
    from harness.commands._errors import NoReportError, said_as
    from harness.files import DocumentError, write_atomically
    from harness.report.gate import faults_not_passed, gate_verdict, read_report, rows_not_passed

    with said_as(NoReportError, DocumentError):
        read = read_report(report)
    verdict = gate_verdict(rows_not_passed(read) + faults_not_passed(read))
    write_atomically(output, _svg(verdict))
    click.echo(f"{output}: {verdict}")


def _svg(verdict: str) -> str:
    left, right = (len(text) * _CHARACTER + _SPACE for text in (_LABEL, verdict))
    style = 'fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{_LABEL}: {verdict}"><title>{_LABEL}: {verdict}</title>'
        f'<rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{_COLOURS[verdict]}"/>'
        f'<g {style}><text x="{left / 2}" y="14">{_LABEL}</text>'
        f'<text x="{left + right / 2}" y="14">{verdict}</text></g></svg>\n'
    )
