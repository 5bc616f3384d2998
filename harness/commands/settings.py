"""`stormwatch settings`: what a run would be told, and by whom."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.commands._json import json_option, print_json


@click.command(name="settings")
@json_option
def command(*, as_json: bool) -> None:
    """Show each setting of `stormwatch run` and where it came from.

    The command line goes before the environment (STORMWATCH_REPORTS, STORMWATCH_SLA, STORMWATCH_SYSTEM), that
    before `stormwatch.toml` here or [tool.stormwatch] of pyproject.toml here, and that before the default:

    \b
      [tool.stormwatch]
      profile = "quick"
      failures = false
    """
    from harness.commands._settings import settings_of
    from harness.commands.run import command as run

    found = settings_of(run, Path())
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    from harness import output

    table = Table("setting", "value", "from", box=None, header_style="dim")
    for one in found:
        value = json.dumps(one.value) if isinstance(one.value, bool) else str(one.value or "-")
        table.add_row(one.name, value, one.source)
    output.console().print(table)
