"""How commands say what went wrong: one line, and the exit code that fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from harness.output import Exit


class NoReportError(click.ClickException):
    """No report could be read or made: the command must not end as if a promise was broken."""

    exit_code = Exit.NO_REPORT


@contextmanager
def said_as(kind: type[click.ClickException], *errors: type[Exception]) -> Iterator[None]:
    """Turn ``errors`` into the ``kind`` of error that a command ends with; the message stays."""
    try:
        yield
    except errors as error:
        raise kind(str(error)) from error
