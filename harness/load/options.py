"""The options of the load as Locust's arguments and fields of its web form: added, read, checked."""

from __future__ import annotations

import argparse
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from harness.history.run import DEFAULT_REPORTS
from harness.limits import cores, open_files
from harness.load.lengths import options_of, out_of_bounds, system_named, system_of
from harness.load.origins import COMMAND_LINE
from harness.load_options import SYNCS_PER_GAME, Kind, LoadOptions, Option, observers_for
from harness.sla.units import parse_duration
from harness.system import Words
from harness.system.find import SETTING

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

#: Where Locust's web UI listens unless told otherwise.
LOOPBACK: Final = "127.0.0.1"


class OptionError(ValueError):
    """An option can't be what it was set to; the message names it, its value and the way out."""


def load_options(given: argparse.Namespace) -> LoadOptions:
    """Return the options that ``given`` holds, checked.

    Raises
    ------
    OptionError
        An option, or a combination of them, makes no sense.
    """
    system = system_of(given)
    lifecycle = system.lifecycle
    values = {option.field: _value(option, given) for option in options_of(given).values()}
    lengths = {state: values.pop(state) for state in lifecycle.timed}
    if (wrong := out_of_bounds(lifecycle, lengths)) is not None:
        raise OptionError(wrong)
    if values["sync_s"] is None:
        values["sync_s"] = sum(lengths.values()) / SYNCS_PER_GAME
    if values["seed"] is None:
        values["seed"] = secrets.randbelow(2**31)
    if values["observers"] is None:
        share = math.ceil(values["games"] / locust_processes(given))
        values["observers"] = observers_for(share * values["players"], cores=cores(), files=open_files())
    options = LoadOptions(**values, lengths=lengths, run_time_s=getattr(given, "run_limit_s", None))
    if options.run_time_s is not None and options.run_time_s <= options.warm_up_s:
        limited_by = getattr(given, "run_limit_from", None) or "--run-time"
        raise OptionError(
            f"{limited_by} {options.run_time_s:g}s is over before the warm-up "
            f"({options.warm_up_s:g} s: spawning and the first {system.words.item}); give more, or leave it "
            "to --duration"
        )
    return options


def locust_processes(given: argparse.Namespace) -> int:
    """Return how many Locust processes share the items, as far as ``given`` tells."""
    if given.processes:
        # Locust takes -1 for one process a core.
        return cores() if given.processes == -1 else int(given.processes)
    return int(given.expect_workers) if given.master else 1


def add_options(parser: LocustArgumentParser, defaults: Mapping[str, Any]) -> None:
    """Add the load's options to Locust's parser; each is also a field of the web form.

    Parameters
    ----------
    parser : Locust's.
    defaults : key of an option -> value in the place of its default.

    Raises
    ------
    OptionError
        A default is of an option that there is not.
    SystemFileError
        There is no system whose timers could have lengths.
    """
    given = system_named()
    options, system = options_of(given), system_of(given)
    words = system.words
    # Locust's web UI listens to this machine alone, unless it is told otherwise.
    parser.set_defaults(web_host=LOOPBACK)
    group = parser.add_argument_group(
        f"Concurrent {words.items}", 'Durations are numbers with a unit: "500ms", "2s", "1.5min".'
    )
    if unknown := [name for name in defaults if name not in options]:
        raise OptionError(
            f"the policy's profile sets {unknown[0]!r}, the load of the {system.name} has no such option; "
            f"it has: {', '.join(options)}. Its own policy lies beside its file, or --sla names it"
        )
    for option in options.values():
        unit = ", with unit" if option.kind in {"duration", "auto"} else ""
        action: Any = group.add_argument(
            *_names(option, options, words),
            type=partial(_checked, option),
            # argparse checks a default that is a string as if it had been given.
            default=str(defaults.get(option.key, option.usual)),
            help=f"{option.help}{unit} (default: {option.usual})",
        )
        # Locust's parser sets these for its own arguments, but not for those of a group.
        action.include_in_web_ui = True
        action.is_secret = action.is_required = action.is_multiple = False
    group.add_argument(
        "--reports",
        default=os.environ.get("STORMWATCH_REPORTS", str(DEFAULT_REPORTS)),
        metavar="DIR",
        help="folder for the run's folder (default: STORMWATCH_REPORTS, else ./reports)",
    )
    group.add_argument(
        "--system",
        metavar="FILE",
        help=f"the system under test: its file, or the name of an installed one (default: {SETTING}, else "
        "system in [tool.stormwatch] of pyproject.toml, else the one that is installed)",
    )
    group.add_argument(
        "--prometheus",
        metavar="[HOST:]PORT",
        help="serve the objectives so far, verdicts and faults to Prometheus there (host: 127.0.0.1)",
    )
    for flag, help_ in _FLAGS.items():
        group.add_argument(flag, action="store_true", help=help_.format(items=words.items))


def _names(option: Option, options: Mapping[str, Option], words: Words) -> list[str]:
    """Return how an option is given: also by what the system calls its items, and those who take part."""
    spoken = {"games": words.items, "players": words.players}.get(option.key, option.key)
    taken = spoken in options or not re.fullmatch("[a-z][a-z-]*", spoken)
    return [f"--{option.name}"] if taken else [f"--{option.name}", f"--{spoken}"]


_FLAGS: Final = {
    "--local": "play on a local stack, whatever the environment says (SUPABASE_URL ...)",
    "--anyway": "play even if this machine is too small for it",
    "--keep-games": "leave the run's {items} where they are at the end; `stormwatch clean` removes them",
    "--no-report": "only record, judge nothing (exit code 0 unless the run could not begin)",
}


def _value(option: Option, given: argparse.Namespace) -> Any:
    # The web form sets fields without asking the parser's types: they are read once more.
    try:
        return _READERS[option.kind](str(getattr(given, option.key)))
    except ValueError as error:
        origin = getattr(given, "origins", {}).get(option.key, COMMAND_LINE)
        whence = "" if origin == COMMAND_LINE else f" (from {origin})"
        raise OptionError(f"--{option.name}: {error}{whence}") from None


def _checked(option: Option, text: str) -> int | str:
    """Return what a namespace holds of an option: a number of things as such, all else as text."""
    try:
        value: int | None = _READERS[option.kind](text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value if option.kind == "count" and value is not None else text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _count_or_auto(text: str) -> int | None:
    return None if text == "auto" else _count(text)


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} must be longer than nothing")
    return seconds


def _seconds_or_auto(text: str) -> float | None:
    return None if text == "auto" else _seconds(text)


def _number_or_random(text: str) -> int | None:
    if text == "random":
        return None
    if not text.isdecimal():
        raise ValueError(f"{text!r} is neither a whole number nor 'random'")
    return int(text)


#: How the text of an option is read; each raises ValueError. None: worked out, or drawn.
_READERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    "count": _count,
    "auto-count": _count_or_auto,
    "duration": _seconds,
    "auto": _seconds_or_auto,
    "random": _number_or_random,
}
