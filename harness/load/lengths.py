"""The lengths of a system's timers, which are options of the load beside those that every load has."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from harness.load_options import OPTIONS, Option
from harness.system import Lifecycle, System, SystemFileError, find_system, tick_of


def options_for(system: type[System]) -> dict[str, Option]:
    """Return every option by its key, in the order of help and web form: lengths follow the first two.

    Parameters
    ----------
    system : whose states have lengths, whose items the help speaks of, and which may tick by itself.

    Raises
    ------
    SystemFileError
        A state is called like an option of the load.
    """
    lengths = {
        state.replace("-", "_"): Option("duration", timed.usual, f"length of the {state} state", state)
        for state, timed in system.lifecycle.timed.items()
    }
    if taken := sorted(lengths.keys() & OPTIONS.keys()):
        raise SystemFileError(f"a state can't be called {taken[0]!r}: the load has an option of that name")
    spoken = {
        key: replace(option, help=option.help.format(**asdict(system.words)))
        for key, option in OPTIONS.items()
    }
    spoken["tick"] = replace(spoken["tick"], usual=tick_of(system, str(spoken["tick"].usual)))
    first = dict(list(spoken.items())[:2])
    return first | lengths | spoken


def options_of(given: argparse.Namespace) -> dict[str, Option]:
    """Return every option of the load that is played on the system that ``given`` names."""
    return options_for(system_of(given))


def system_of(given: argparse.Namespace) -> type[System]:
    """Return the system that ``given`` names."""
    return find_system(getattr(given, "system", None))


def system_named(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what ``words`` (default: the process's) name as ``system``, before all options are known."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--system")
    return parser.parse_known_args(words)[0]


def out_of_bounds(lifecycle: Lifecycle, lengths: Mapping[str, float]) -> str | None:
    """Return which length the system does not allow, with its bounds; None: it allows them all."""
    for state, seconds in lengths.items():
        timed = lifecycle.timed[state]
        if not timed.least_s <= seconds <= timed.greatest_s:
            return f"--{state}: {seconds:g}s is not between {timed.least} and {timed.greatest}"
    return None
