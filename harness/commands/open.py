"""`stormwatch open`: the page of a report in a browser."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="open")
@click.argument("report", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.option("--print", "only_print", is_flag=True, help="Print where the page is, and open nothing.")
def command(report: Path, only_print: bool) -> None:
    """Show REPORT (a run's folder, or a file in it; default: reports/latest) in a browser.

    Prints where the page is, too: what can't be opened here may be elsewhere. Exits 4 if there is none.
    """
    import webbrowser

    from harness.commands._errors import NoReportError

    page = (report if report.is_dir() else report.parent) / "report.html"
    if not page.is_file():
        typed = page if report.exists() else report
        raise NoReportError(
            f"{typed}: no such page; `stormwatch run` makes one, `stormwatch report RUN` makes it anew"
        )
    click.echo(page.resolve())
    if not (only_print or webbrowser.open(page.resolve().as_uri())):
        click.echo("no browser could be started here", err=True)
