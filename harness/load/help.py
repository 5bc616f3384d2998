"""Has `locust -f <scenario> --help` tell the load's options too.

Locust (2.47) prints its help before it imports the scenario, so what the scenario adds to the parser
would be missing. It has no hook that early; gevent has one, an entry point that is called when Locust
has it take over the standard library.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from pathlib import Path
from typing import Final

_HELP: Final = frozenset({"-h", "--help"})
#: How a scenario that builds on the load is recognised without running it.
_BUILDS_ON: Final = "harness.load"


def when_gevent_took_over(_event: object) -> None:
    """Print the load's options after Locust's own, if help was asked for on one of its scenarios."""
    if _HELP & set(sys.argv) and any(_builds_on_the_load(name) for name in _named_files()):
        atexit.register(_print_options)


def _named_files() -> list[str]:
    given = [argument.partition("=")[2] or argument.removeprefix("-f") for argument in sys.argv[1:]]
    return [name for part in (*given, os.environ.get("LOCUST_LOCUSTFILE", "")) for name in part.split(",")]


def _builds_on_the_load(name: str) -> bool:
    path = Path(name.strip())
    try:
        return path.suffix == ".py" and _BUILDS_ON in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _print_options() -> None:
    from locust.argument_parser import LocustArgumentParser

    from harness.load.options import add_options

    parser = LocustArgumentParser(usage=argparse.SUPPRESS, add_help=False, add_env_var_help=False)
    add_options(parser)
    print("\nThe scenario's own options:\n")
    parser.print_help()
