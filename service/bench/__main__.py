"""Runs the measurements and shows them in a table, beside what is promised."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from service.bench.measure import MEASUREMENTS
from service.bench.parts import start_parts

_MARKS: Final = {True: "[green]kept[/]", False: "[red]missed[/]", None: ""}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(MEASUREMENTS)))
def main(names: tuple[str, ...]) -> None:
    """Measure the service on the embedded Postgres and the PubNub emulator; NAMES: only these."""
    console = Console()
    table = Table("what", "measured", "promised", "", title="service", title_justify="left")
    kept = True
    with start_parts() as parts:
        for name in names or MEASUREMENTS:
            with console.status(name):
                for result in asyncio.run(MEASUREMENTS[name](parts)):
                    kept = kept and result.kept is not False
                    table.add_row(result.what, result.measured, result.promised, _MARKS[result.kept])
    console.print(table)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
