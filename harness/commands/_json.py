"""The option `--json` of every command that prints a table."""

from __future__ import annotations

import json
from typing import Any, Final

import click

#: Passes ``as_json``.
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_json(content: Any) -> None:
    """Print plain values, dataclasses, models, paths and times. Infinity, which JSON lacks, is null."""
    from pydantic_core import to_jsonable_python

    click.echo(json.dumps(to_jsonable_python(content, inf_nan_mode="null"), indent=2))
