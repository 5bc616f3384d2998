"""`stormwatch compare`: two runs, objective by objective."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands._json import json_option, print_json

if TYPE_CHECKING:
    from harness.report.compare import Comparison


@click.command(name="compare")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("head", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.option("--tolerance", default="10%", show_default=True, help="How much worse is still the same.")
@click.option("--sla", type=click.Path(path_type=Path), help="Policy with the objectives to compare.")
@click.option("--anyway", is_flag=True, help="Compare runs of different profiles, targets or loads too.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a Markdown view here.")
@click.option("--html", type=click.Path(path_type=Path), help="Write an HTML page here.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    base: Path,
    head: Path,
    tolerance: str,
    sla: Path | None,
    anyway: bool,
    markdown: Path | None,
    html: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare the run HEAD (default: reports/latest) with the run BASE.

    Both are run folders: their histories are needed to say how sure a difference is.

    Exit codes: 0 nothing is worse beyond the tolerance, 1 something is, 2 wrong usage (also runs that
    differ in what was run, and a run with itself), 3 nobody can tell, 4 a run can't be read.
    """
    from harness.commands._changes import EXIT_CODES, write_view
    from harness.commands._errors import NoReportError, said_as
    from harness.commands._policy import policy_from
    from harness.files import DocumentError
    from harness.history import HistoryError, open_run
    from harness.report import compare
    from harness.report.html import render_comparison
    from harness.sla.units import parse_share

    try:
        allowed = parse_share(tolerance)
    except ValueError as error:
        raise click.UsageError(f"--tolerance: {error}") from error
    with (
        said_as(click.UsageError, compare.CompareError),
        said_as(NoReportError, DocumentError, HistoryError),
    ):
        folders = [open_run(path) for path in (base, head)]
        policy = policy_from(sla, (), profile=folders[1].read().profile)
        sides = [compare.load_side(folder, policy) for folder in folders]
        comparison = compare.compare(sides[0], sides[1], policy, allowed, anyway=anyway)
    if as_json:
        print_json({"change": comparison.change, **dataclasses.asdict(comparison)})
    else:
        _print(comparison)
    write_view(markdown, lambda: compare.comparison_markdown(comparison))
    write_view(html, lambda: render_comparison(comparison))
    context.exit(EXIT_CODES.get(comparison.change, 0))


def _print(comparison: Comparison) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness import output
    from harness.report import compare
    from harness.report.words import STYLES

    console = output.console()
    table = Table("objective", "base", "head", "change", "interval", "", box=None, header_style="dim")
    for row in comparison.rows.values():
        verdict = Text(row.change, STYLES[compare.LOOKS[row.change]])
        table.add_row(row.title, *row.sides_in_words(), *row.effect_in_words(), verdict)
    console.print(table)
    for row in comparison.rows.values():
        if row.reason:
            console.print(f"{row.title}: {row.reason}")
    console.print(Text(comparison.change.upper(), STYLES[compare.LOOKS[comparison.change]]))
