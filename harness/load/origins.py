"""Where the values of the load's options came from.

The command line beats the environment and files, those beat the profile, the profile beats the default.
Locust's --users, --spawn-rate and --run-time mean options of ours. Given on the command line they count. From
the environment or a file they count where the option they mean is left to its default, and nowhere else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.load.lengths import options_of

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

#: Variable by which `stormwatch run` hands over what its profile sets: ``{"name": ..., "options": {...}}``.
PROFILE_VARIABLE: Final = "STORMWATCH_PROFILE_OPTIONS"
COMMAND_LINE: Final = "the command line"
WEB_FORM: Final = "the web form"

#: Locust's option -> its name, and the options of ours that it means.
_MEANS: Final = {
    "num_users": ("--users", ("games",)),
    "spawn_rate": ("--spawn-rate", ("wave_size", "wave_every")),
    "run_time": ("--run-time", ("duration",)),
}
#: As ConfigArgParse names files and defaults among its sources.
_FILE, _DEFAULTS = "config_file|", "defaults"


def profile_options() -> tuple[str, dict[str, Any]]:
    """Return the name of the profile that was handed over, and its options by name; empty without one."""
    given = os.environ.get(PROFILE_VARIABLE)
    if not given:
        return "", {}
    document = json.loads(given)
    return document["name"], {name.replace("-", "_"): value for name, value in document["options"].items()}


def hand_over(name: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variable that hands over a profile's options to a Locust process."""
    return {PROFILE_VARIABLE: json.dumps({"name": name, "options": dict(options)})}


def parsed(parser: LocustArgumentParser, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what ``words`` (default: the process's) say; options that are not known yet are passed over.

    Ends the process on wrong usage as ``parser`` does. What is wrong in the environment or in a file is
    said to be wrong there.
    """
    try:
        return _quietly(parser, words)
    except ValueError as error:
        text = str(error)
    try:
        _quietly(parser, [])
    except ValueError:
        variables = [name for name in os.environ if name.startswith("LOCUST_")]
        text += f" (not given as an option: see {', '.join([*variables, 'configuration files'])})"
    print(text, file=sys.stderr)
    sys.exit(2)


def _quietly(parser: LocustArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given: argparse.Namespace = parser.parse_known_args(words)[0]
    except SystemExit as refused:
        if refused.code != 2:
            raise
        raise ValueError(said.getvalue().strip()) from None
    return given


def origins(parser: LocustArgumentParser, given: argparse.Namespace) -> dict[str, str]:
    """Return option -> where its value came from, for each one of ``given`` that is not left to its default.

    Parameters
    ----------
    parser : what parsed ``given``.
    given : every option's value.
    """
    found: dict[str, str] = {}
    defaults: set[str] = set()
    for source, settings in parser.get_source_to_settings_dict().items():
        for key, (action, _) in settings.items():
            if action is None:
                continue  # the command line as a whole
            if source == _DEFAULTS:
                defaults.add(action.dest)
            elif source.startswith(_FILE):
                found[action.dest] = Path(source.removeprefix(_FILE)).name
            else:
                found[action.dest] = key
    name, profile = profile_options()
    for option, value in vars(given).items():
        if option in found or value is None or value is False:
            continue
        if option not in defaults:
            found[option] = COMMAND_LINE
        elif option in profile:
            found[option] = f"profile {name}"
    return found


def take_over(given: argparse.Namespace, found: dict[str, str]) -> list[str]:
    """Let Locust's own --users, --spawn-rate and --run-time mean games, waves and the limit of a run.

    They are unset then: Locust would set those it misses, and would cut the drain off by its own timer.
    Changes ``given`` and ``found`` (of :func:`origins`). Returns what does not count, a line each.
    """
    ignored = []
    given.run_limit_s = given.run_limit_from = None
    for alias, (option, means) in _MEANS.items():
        value, origin = getattr(given, alias), found.pop(alias, "")
        setattr(given, alias, None)
        if value is None:
            continue
        rivals = [name for name in means if name in found]
        if rivals and origin != COMMAND_LINE:
            ours = f"--{rivals[0].replace('_', '-')}"
            ignored.append(f"{_named(option, origin)} does not count: {ours} is from {found[rivals[0]]}")
            continue
        found |= dict.fromkeys(means, origin)
        match alias:
            case "num_users":
                given.games = value
            case "spawn_rate":
                given.wave_size, given.wave_every = math.ceil(value), "1s"
            case _:
                given.run_limit_s, given.run_limit_from = value, _named(option, origin)
    given.origins = found
    return ignored


def _named(option: str, origin: str) -> str:
    """Return how to call Locust's ``option`` in a message: as it was given."""
    if origin in {COMMAND_LINE, ""}:
        return option
    return origin if origin.isupper() else f"{option.removeprefix('--')} in {origin}"


def in_words(given: argparse.Namespace) -> str:
    """Return which options of the load are not left to their defaults, and where they came from."""
    by_origin: dict[str, list[str]] = {}
    options = options_of(given)
    for key, origin in origins_of_ours(given).items():
        limited = key == "duration" and given.run_limit_s is not None
        value = f"{given.run_limit_s}s in all" if limited else getattr(given, key)
        by_origin.setdefault(origin, []).append(f"{options[key].name} {value}")
    return "; ".join(f"from {origin}: {', '.join(values)}" for origin, values in by_origin.items())


def origins_of_ours(given: argparse.Namespace) -> dict[str, str]:
    """Return key -> origin of the load's options that are not left to their defaults."""
    found: dict[str, str] = getattr(given, "origins", {})
    return {key: found[key] for key in options_of(given) if key in found}
