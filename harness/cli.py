"""The `stormwatch` command: up, run, report, gate, compare and the rest, each in `harness/commands`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from harness import web_proxies
from harness.commands._errors import NoReportError
from harness.output import QUIET, Exit, guard_output

#: Name -> one line of help. A command's module (`harness/commands/<name>.py`, its click command in
#: `command`) is imported when it is called, so that `up` does not wait for pandas.
COMMANDS: Final = {
    "run": "The main job: load, failures, report, gate.",
    "rollout": "Bring in a new version step by step, or back to the old one.",
    "init": "Write what a team starts with: a system's file, a policy, scenarios, CI.",
    "smoke": "Look whether a deployment works at all: in seconds, safe on production.",
    "up": "Start the local stack and stay until Ctrl-C.",
    "down": "End a stack that runs.",
    "system": "Try out the file that describes a system under test.",
    "doctor": "Show what a run needs: version, where it came from, whether it works.",
    "clean": "Remove what killed runs have left on a target.",
    "drill": "Practise what a team hopes never to need: the database lost, a release rolled back.",
    "fault": "Break something of a running stack, then mend it.",
    "report": "Judge a run's history once more and write its reports.",
    "open": "Show the page of a report in a browser.",
    "gate": "Exit by the verdict of a report.",
    "compare": "Compare two runs, objective by objective.",
    "trend": "Objectives over many releases, and which release moved them.",
    "export": "Write a run's history as CSV, Parquet or JSON lines.",
    "badge": "Write the verdict of a report as an SVG badge.",
    "help": "Explain verdicts, policy, faults, exit-codes, or a command.",
    "settings": "Show what a run would be told, and by whom: environment, file, default.",
    "completion": "Complete commands and options in bash, zsh or fish.",
    "calibrate": "Inject known delays and losses, and compare what is reported of them.",
    "validate": "Put defective versions of the system before the harness: which does it catch?",
}

#: Commands that speak to no system.
_READERS: Final = frozenset(
    {
        "init",
        "report",
        "gate",
        "compare",
        "trend",
        "export",
        "help",
        "settings",
        "completion",
        "badge",
        "open",
    }
)

#: Options of every command.
_GENERAL: Final = frozenset({"-q", "--quiet", "--no-color"})


def _general_first(words: Sequence[str]) -> list[str]:
    """Return a command line with what every command takes in front, wherever it was said (before ``--``)."""
    words = list(words)
    own = words[: words.index("--")] if "--" in words else words
    found = [word for word in own if word in _GENERAL]
    return [*found, *(word for word in own if word not in _GENERAL), *words[len(own) :]]


class _LazyGroup(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        if "_STORMWATCH_COMPLETE" not in os.environ:  # a shell asks, and click answers it in bytes
            guard_output()
        web_proxies.leave_out()
        given = args[0] if args else kwargs.pop("args", None)
        return super().main(_general_first(sys.argv[1:] if given is None else given), *args[1:], **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(Exit.INTERRUPTED) from None
        except OSError as error:
            raise NoReportError(str(error)) from error
        except Exception as error:
            import traceback

            traceback.print_exc()
            raise NoReportError(
                f"stormwatch itself failed: {type(error).__name__}; please report it"
            ) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in _READERS and (notice := web_proxies.notice()):
            click.echo(notice, err=True)
        module = importlib.import_module(f"harness.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes of run and gate: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no readable report. "
    "Of every command: 4 where it failed itself, 130 after Ctrl-C.",
)
@click.version_option(package_name="stormwatch", prog_name="stormwatch")
@click.option("-q", "--quiet", is_flag=True, help="No progress: results and errors only.")
@click.option("--no-color", is_flag=True, help="No colours, as NO_COLOR=1.")
def main(*, quiet: bool, no_color: bool) -> None:
    """Prove that timers fire on time and that everyone hears about it, under load and while things break.

    Start with `stormwatch run`, or with `stormwatch doctor` if something does not work.
    """
    if quiet:
        os.environ[QUIET] = "1"
    if no_color:
        os.environ["NO_COLOR"] = "1"


if __name__ == "__main__":
    main()
