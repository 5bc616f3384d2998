"""The option that says where the folders of runs are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def reports_option(told: str) -> Callable[[Any], Any]:
    """Return the option ``--reports`` of a command; ``told`` is its help."""
    return click.option(
        "--reports",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="STORMWATCH_REPORTS",
        default=Path("reports"),
        show_default=True,
        help=told,
    )
