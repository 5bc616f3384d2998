"""What one may ask of the load, on the command line and in Locust's web form."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness.history.run import DEFAULT_REPORTS
from harness.load.origins import COMMAND_LINE
from harness.load_options import LoadOptions
from harness.sla.units import parse_duration

#: Players ask for the timer every 10 s of a game of two minutes. Scaled down to a game of seconds that
#: would be a load of timer reads and little else; three reads a game keep the mix of calls sensible.
SYNCS_PER_GAME: Final = 3

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

_T = TypeVar("_T")

#: Where Locust's web UI listens unless told otherwise.
LOOPBACK: Final = "127.0.0.1"

_AUTO: Final = "auto"
_RANDOM: Final = "random"


class OptionError(ValueError):
    """An option can't be what it was set to; the message names it, its value and the way out."""


def load_options(given: argparse.Namespace) -> LoadOptions:
    """Check what was given.

    Raises
    ------
    OptionError
        An option, or a combination of them, makes no sense.
    """
    phases = {
        name: parse_duration(_checked(given, name, duration)) for name in ("briefing", "drawing", "voting")
    }
    sync = _checked(given, "sync", duration_or_auto)
    seed = _checked(given, "seed", seed_or_random)
    options = LoadOptions(
        games=_checked(given, "games", count),
        players=_checked(given, "players", count),
        briefing_s=phases["briefing"],
        drawing_s=phases["drawing"],
        voting_s=phases["voting"],
        tick_s=parse_duration(_checked(given, "tick", duration)),
        sync_s=sum(phases.values()) / SYNCS_PER_GAME if sync == _AUTO else parse_duration(sync),
        wave_size=_checked(given, "wave_size", count),
        wave_every_s=parse_duration(_checked(given, "wave_every", duration)),
        duration_s=parse_duration(_checked(given, "duration", duration)),
        drain_s=parse_duration(_checked(given, "drain", duration)),
        probe_s=parse_duration(_checked(given, "probe", duration)),
        observers=_checked(given, "observers", count),
        seed=secrets.randbelow(2**31) if seed == _RANDOM else int(seed),
        run_time_s=getattr(given, "run_limit_s", None),
    )
    _check_together(options, getattr(given, "run_limit_from", None) or "--run-time")
    return options


def _check_together(options: LoadOptions, limited_by: str) -> None:
    if options.run_time_s is not None and options.run_time_s <= options.warm_up_s:
        raise OptionError(
            f"{limited_by} {options.run_time_s:g}s is over before the warm-up "
            f"({options.warm_up_s:g} s: spawning and the first game); give more, or leave it to --duration"
        )


def add_options(parser: LocustArgumentParser, defaults: Mapping[str, Any] | None = None) -> None:
    """Add the load's options to Locust's parser; each is also a field of the web form.

    Parameters
    ----------
    parser : Locust's.
    defaults : option -> value in the place of its default.
    """
    # Whoever did not ask for other machines is not asked by them.
    parser.set_defaults(web_host=LOOPBACK)
    group = parser.add_argument_group(
        "Concurrent games", 'Durations are numbers with a unit: "500ms", "2s", "1.5min".'
    )
    for name, type_, usual, help_ in _OPTIONS:
        # argparse checks a default that is a string as if it had been given.
        value = (defaults or {}).get(name.replace("-", "_"))
        default = usual if value is None else str(value)
        _offer(group, name, in_web_form=True, type=type_, default=default, help=f"{help_} (default: {usual})")
    _offer(
        group,
        "reports",
        in_web_form=False,
        default=os.environ.get("STORMWATCH_REPORTS", str(DEFAULT_REPORTS)),
        metavar="DIR",
        help="folder for the run's folder (default: STORMWATCH_REPORTS, else ./reports)",
    )
    _offer(
        group,
        "local",
        in_web_form=False,
        action="store_true",
        help="play on a local stack, whatever the environment says (SUPABASE_URL ...)",
    )
    _offer(
        group,
        "anyway",
        in_web_form=False,
        action="store_true",
        help="play even if this machine allows too few open files for it",
    )
    _offer(
        group,
        "keep-games",
        in_web_form=False,
        action="store_true",
        help="leave the run's games where they are at the end; `stormwatch clean` removes them",
    )
    _offer(
        group,
        "no-report",
        in_web_form=False,
        action="store_true",
        help="only record; somebody else judges (exit code 0 unless the run could not begin)",
    )


def _offer(group: argparse._ArgumentGroup, name: str, *, in_web_form: bool, **how: Any) -> None:
    # What Locust's parser does for its own arguments, but not for those of a group.
    action: Any = group.add_argument(f"--{name}", **how)
    action.include_in_web_ui = in_web_form
    action.is_secret = action.is_required = action.is_multiple = False


def reports_folder(given: argparse.Namespace) -> Path:
    """Return the folder that holds run folders."""
    return Path(given.reports)


def count(text: str) -> int:
    """Return a whole number of at least 1.

    Raises
    ------
    argparse.ArgumentTypeError
        It is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def duration(text: str) -> str:
    """Return ``text``, checked to be a duration longer than nothing.

    Raises
    ------
    argparse.ArgumentTypeError
        It is none.
    """
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be longer than nothing")
    return text


def duration_or_auto(text: str) -> str:
    """Return ``text``, checked to be a duration or ``auto``."""
    return text if text == _AUTO else duration(text)


def seed_or_random(text: str) -> str:
    """Return ``text``, checked to be an integer of at least 0 or ``random``.

    Raises
    ------
    argparse.ArgumentTypeError
        It is neither.
    """
    if text != _RANDOM and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor {_RANDOM!r}")
    return text


#: Option, its type, default and help.
_OPTIONS: Final[tuple[tuple[str, Callable[[str], object], object, str], ...]] = (
    ("games", count, 200, "games at the same time"),
    ("players", count, 4, "players a game, each with a PubNub client of its own"),
    ("briefing", duration, "3s", "length of the briefing phase, with unit"),
    ("drawing", duration, "4s", "length of the drawing phase, with unit"),
    ("voting", duration, "3s", "length of the voting phase, with unit"),
    ("tick", duration, "1s", "interval at which cron calls monitor-game-timers, with unit"),
    (
        "sync", duration_or_auto, _AUTO,
        f"interval of a player's get-game-timer, with unit; auto: {SYNCS_PER_GAME} times a game",
    ),
    ("wave-size", count, 25, "games that begin at once while the load builds up"),
    ("wave-every", duration, "1s", "time from wave to wave, with unit"),
    (
        "duration", duration, "2min",
        "length of the steady window, the one that is judged, with unit; Locust's "
        "run time limits waves, warm-up and steady window together",
    ),
    ("drain", duration, "30s", "longest wait at the end for games to finish and events to arrive, with unit"),
    ("probe", duration, "1s", "interval of /health probes, with unit"),
    ("observers", count, 1, "subscriber processes to each Locust process; one is good for some 1000 players"),
    ("seed", seed_or_random, _RANDOM, "whole number that fixes what players do when; the report tells it"),
)  # fmt: skip


#: The options by the names of their fields.
FIELDS: Final = {name.replace("-", "_"): name for name, *_ in _OPTIONS}


def _checked(given: argparse.Namespace, name: str, check: Callable[[str], _T]) -> _T:
    # The web form sets fields without asking the parser's types: ask them here.
    value = getattr(given, name)
    try:
        return check(str(value))
    except argparse.ArgumentTypeError as error:
        origin = getattr(given, "origins", {}).get(name, COMMAND_LINE)
        whence = "" if origin == COMMAND_LINE else f" (from {origin})"
        raise OptionError(f"--{name.replace('_', '-')}: {error}{whence}") from None
