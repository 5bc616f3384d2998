"""Errors of commands that tell nothing of a promise."""

from __future__ import annotations

import click


class NoReportError(click.ClickException):
    """No report could be read or made: the command must not end as if a promise was broken."""

    exit_code = 4
