"""`stormwatch export`: write a run's history for notebooks and other tools."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.history.export import FORMATS, Format, export


@click.command(
    name="export",
    epilog="Exit codes: 0 written, 2 wrong usage, 4 no readable run, or it could not be written. The file is "
    "there as a whole or not at all.",
)
@click.argument("run", type=click.Path(path_type=Path), default=Path("reports/latest"))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="csv",
    show_default=True,
    help="What is written.",
)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only rows of this kind, as `delivery`.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file. [default: the run's id, here]",
)
def command(run: Path, form: Format, kinds: tuple[str, ...], output: Path | None) -> None:
    """Write the history of RUN (default: reports/latest): a row for each thing that happened.

    The columns are those of the history (harness/README.md), and `intended`, `start` and `end`: the times in
    ISO 8601. Of a run that goes on, or was killed, it is what was written so far.

    \b
      stormwatch export
      stormwatch export reports/latest --format parquet --kind delivery --kind publish
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from harness.commands._errors import NoReportError, said_as
    from harness.commands._progress import Progress
    from harness.files import DocumentError
    from harness.history import HistoryError, open_run, read_history
    from harness.history.names import KINDS

    for kind in kinds:
        if kind not in KINDS:
            raise click.UsageError(
                f"--kind {kind}: no rows are called so; there are {', '.join(sorted(KINDS))}"
            )
    with said_as(NoReportError, DocumentError, HistoryError):
        folder = open_run(run)
        history = read_history(folder.history, of_run=folder.read().id)
    for file in history.files:
        if file.cut_off:
            click.echo(f"{file.path.name}: {file.cut_off}; its rows up to there", err=True)
    table = history.table
    if kinds:
        table = table.filter(pc.is_in(table["kind"].cast("string"), pa.array(kinds)))
    path = output or Path(f"{folder.id}.{form}")
    with Progress() as progress:
        export(table, path, form, say=lambda done, all_: progress("rows", done, all_))
    click.echo(f"{os.path.relpath(path)}: {len(table)} rows")
