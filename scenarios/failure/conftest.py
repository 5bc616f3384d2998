"""Options of the combined scenario: which random timeline of faults, and how long."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from harness.faults import FaultTarget
from harness.faults.schedule import Schedule, candidates
from harness.pytest_plugin import system_of
from harness.sla.units import parse_duration
from harness.target import deployment_named

#: The timeline that is tried where nobody asks for another one: each place has its turn, and some overlap.
SEED = 632
SECONDS = 20.0

#: They lose, shuffle or forgo messages by themselves: no service could keep its promises under them.
UNKEEPABLE = frozenset({"pubnub:drop", "pubnub:reorder", "database:trigger-dropped"})

#: Workers a core: a scenario waits more than it works. What each needs with its stack; no more have work.
_WORKERS_PER_CORE = 2
_WORKER_BYTES = 700 << 20
_MOST_WORKERS = 8

_RANDOM = "random"
_SHORTEST_S, _LONGEST_S = 5.0, 3600.0
#: What an experiment takes besides its faults, and how many games' timers it may have to wait for.
_AROUND_S = 110.0
_GAMES = 3


@dataclass(frozen=True)
class Chaos:
    """A random timeline of faults, as it was asked for."""

    seed: int
    seconds: float

    @property
    def options(self) -> str:
        """The options of pytest that ask for it again."""
        return f"--chaos-seed {self.seed} --chaos-seconds {self.seconds:g}"

    def draw(self, on: FaultTarget) -> Schedule:
        """Return the timeline: the same for the same seed, seconds and parts."""
        usable = [fault for fault in candidates(on) if f"{fault.place}:{fault.name}" not in UNKEEPABLE]
        return Schedule.random(usable, seed=self.seed, for_s=self.seconds)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("chaos", "Stormwatch's combined scenario")
    group.addoption(
        "--chaos-seed",
        type=_seed,
        default=SEED,
        metavar="NUMBER",
        help=f"seed of the random timeline of faults; random: draw one, and say which (default: {SEED})",
    )
    group.addoption(
        "--chaos-seconds",
        type=_seconds,
        default=SECONDS,
        metavar="NUMBER",
        help=f"length of the timeline, in seconds (default: {SECONDS:g})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed, once for all workers."""
    # Where pytest is given a folder above this one, it finds this file after it has read its options.
    seed = getattr(config.option, "chaos_seed", SEED)
    if hasattr(config, "workerinput"):
        seed = config.workerinput.get("chaos_seed", SEED)
    config.option.chaos_seed = secrets.randbelow(2**31) if seed == _RANDOM else seed
    config.option.chaos_seconds = getattr(config.option, "chaos_seconds", SECONDS)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the scenarios on as many workers as fit.

    Each begins with a share of its own, as neighbours share a stack; who is done early takes from the others.
    Those of a named file run here, and so do those of a deployment: one after the other.
    """
    option = config.option
    # A worker is asked too, and would start workers of its own, without end.
    if hasattr(config, "workerinput") or not config.pluginmanager.hasplugin("xdist"):
        return
    if option.collectonly or option.dist != "no":
        return
    named = any(argument.partition("::")[0].endswith(".py") for argument in config.args)
    elsewhere = deployment_named() and not option.stormwatch_local
    if option.numprocesses is None and not named and not elsewhere:
        option.numprocesses = "auto"
    if option.numprocesses:
        option.dist = "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers this machine's cores and memory carry."""
    fit = psutil.virtual_memory().available // _WORKER_BYTES
    return max(1, min(_WORKERS_PER_CORE * (psutil.cpu_count() or 1), fit, _MOST_WORKERS))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker the seed."""
    node.workerinput["chaos_seed"] = node.config.option.chaos_seed


def pytest_report_header(config: pytest.Config) -> str:
    """Say which timeline it is."""
    return f"chaos: {_chaos(config).options}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a long timeline, and long timers of the system, their time."""
    if not config.pluginmanager.hasplugin("timeout"):
        return
    timers = system_of(config).lifecycle.timed.values()
    games_s = _GAMES * sum(parse_duration(timed.short_text) for timed in timers)
    for item in items:
        lasts_s = config.option.chaos_seconds if "chaos" in getattr(item, "fixturenames", ()) else 0.0
        item.add_marker(pytest.mark.timeout(lasts_s + games_s + _AROUND_S))


@pytest.fixture
def chaos(pytestconfig: pytest.Config) -> Chaos:
    """The random timeline that was asked for."""
    return _chaos(pytestconfig)


def _chaos(config: pytest.Config) -> Chaos:
    return Chaos(config.option.chaos_seed, config.option.chaos_seconds)


def _seed(text: str) -> int | str:
    if text == _RANDOM:
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number from 0 nor {_RANDOM!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from {_SHORTEST_S:g} to {_LONGEST_S:g}"
        )
    return seconds
