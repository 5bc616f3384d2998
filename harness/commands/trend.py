"""`stormwatch trend`: objectives over many releases, and which release moved them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands._json import json_option, print_json

if TYPE_CHECKING:
    from harness.report.trend import Trend


@click.command(name="trend")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("reports"))
@click.option("--tolerance", default="10%", show_default=True, help="How much worse is still the same.")
@click.option(
    "--newest",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many of the newest releases decide the exit code.",
)
@click.option(
    "--only", multiple=True, metavar="TRAIT=VALUE", help="Take only such reports: profile=quick, kind=sla."
)
@click.option("--anyway", is_flag=True, help="Mix reports of different profiles, targets, machines too.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a Markdown view here.")
@click.option("--html", type=click.Path(path_type=Path), help="Write an HTML page here.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    tolerance: str,
    newest: int,
    only: tuple[str, ...],
    anyway: bool,
    markdown: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show each objective over the releases whose reports lie in FOLDER (default: reports).

    Reports are found in subfolders too, as CI keeps them; histories are not needed. They are ordered by time
    and named by the release that they record: STORMWATCH_RELEASE, else the commit that CI names. Those that
    differ from the newest in what was run, or where, are left out and named.

    Exit codes: 0 the newest release made nothing worse, 1 it did, 2 wrong usage (also no report, and one that
    can't be read), 3 nothing can be told.
    """
    from harness.commands._changes import EXIT_CODES, write_view
    from harness.commands._errors import said_as
    from harness.files import DocumentError
    from harness.report import trend as trends
    from harness.report.html import render_trend
    from harness.report.trend_reports import TrendError, releases_in
    from harness.sla.units import parse_share

    with said_as(click.UsageError, ValueError, TrendError, DocumentError):
        allowed = parse_share(tolerance)
        if not allowed:
            raise ValueError("--tolerance 0%: no two runs are the same; write 1% or more")
        releases, notes = releases_in(folder, _traits(only), anyway=anyway)
    found = trends.trend_of(releases, allowed, newest=newest, notes=notes)
    if as_json:
        print_json(trends.trend_document(found))
    else:
        _print(found)
    write_view(markdown, lambda: trends.trend_markdown(found))
    write_view(html, lambda: render_trend(found))
    context.exit(EXIT_CODES.get(found.change, 0))


def _traits(only: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in only:
        key, sign, value = one.partition("=")
        if not sign:
            raise ValueError(f"--only {one}: write TRAIT=VALUE, as in profile=quick")
        found[key] = value
    return found


def _print(trend: Trend) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness import output
    from harness.report.compare import LOOKS
    from harness.report.words import STYLES

    console = output.console()
    table = Table("objective", "newest", "change", "interval", "", box=None, header_style="dim")
    for *words, change in trend.cells:
        table.add_row(*words, Text(change, STYLES[LOOKS[change]]))
    if len(trend.releases) == 1:
        console.print("one report so far: a trend takes two or more, so run again")
    else:
        console.print(table)
        for line in trend.lines:
            console.print(line)
    console.print(Text(trend.change.upper(), STYLES[LOOKS[trend.change]]))
