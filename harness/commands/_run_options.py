"""How the options of `stormwatch run` are read, and what is said of one that it does not have."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from harness.commands._errors import said_as


class RunCommand(click.Command):
    """Names the nearest right option, and says where those of the load go: a report advises some."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from harness.commands._settings import defaults_of

        if not {"-h", "--help"} & set(args):  # help is given whatever the file says
            ctx.default_map = {**(ctx.default_map or {}), **defaults_of(self, Path())}
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(_what_was_meant(error.option_name, own_options(self)), ctx) from error


def collector(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    """Return the address of a collector to which a report can be sent; None: none was given."""
    from harness.report.otlp import OtlpError, see_that_it_can_be_sent

    if url is not None:
        with said_as(click.UsageError, OtlpError):
            see_that_it_can_be_sent(url)
    return url


def own_options(command: click.Command) -> set[str]:
    """Return the options of a command, as they are written."""
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def _what_was_meant(name: str, own: set[str]) -> str:
    """Return the error of an option ``name`` that is none of our ``own``."""
    from harness.experiment.load import load_option_names

    of_load = load_option_names()
    near = difflib.get_close_matches(name, sorted(own | of_load), n=1)
    told = f"No such option {name!r}."
    if name not in of_load and near:
        told += f" Did you mean {near[0]!r}?"
    if not near or near[0] not in own:
        where = near[0] if near else name
        told += f" The load's options go after `--`: stormwatch run -- {where} ..."
    return told
