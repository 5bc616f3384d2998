"""Options of the combined scenario: which random timeline of faults, and how long."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest

from harness.experiment import ExpectationsFailed, Experiment
from harness.experiment.shrink import Cut, fails_alike, smallest
from harness.faults import FaultTarget
from harness.faults.schedule import Schedule, candidates
from harness.pytest_plugin import system_of
from harness.sla.units import parse_duration
from harness.target import deployment_named

#: The timeline that is tried where nobody asks for another one: each place has its turn, and some overlap.
SEED = 632
SECONDS = 20.0
GAMES = 12
#: Runs in which the smallest part of a timeline that still fails is looked for; each takes most of a minute.
SHRINK_RUNS = 15

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


class Chaos:
    """A random timeline of faults, as it was asked for."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._option = session.config.option
        self._cut = _cut(self._option)
        self._drawn: Schedule | None = None

    def options(self, cut: Cut | None = None) -> str:
        """Return the options of pytest that ask for a part of it; None: for the one that was asked for."""
        return _options(self._option, cut or self._cut)

    def draw(self, on: FaultTarget) -> Schedule:
        """Return the timeline: the same for the same seed, seconds and parts."""
        if self._drawn is None:
            usable = [fault for fault in candidates(on) if f"{fault.place}:{fault.name}" not in UNKEEPABLE]
            self._drawn = Schedule.random(
                usable, seed=self._option.chaos_seed, for_s=self._option.chaos_seconds
            )
        return self._drawn

    def explained(self, experiment: Experiment, play: Callable[[Experiment, Cut], None]) -> None:
        """Play it; where the service fails, look for the smallest part of it that still fails.

        Raises
        ------
        ExpectationsFailed
            With the smallest part, and its command.
        """
        command, runs = experiment.command, _shrink_runs(self._session.config)
        try:
            play(experiment, self._cut)
        except ExpectationsFailed as error:
            told = f"--shrink-runs {SHRINK_RUNS} looks for the smallest part of it that still fails"
            if runs and self._drawn is not None:

                def again(cut: Cut) -> None:
                    smaller = experiment.again()
                    self._say(f"does a part of it fail? {smaller.id}: {self.options(cut)}")
                    smaller.command = command
                    play(smaller, cut)

                numbers = self._cut.faults or tuple(range(1, len(self._drawn.entries) + 1))
                whole = replace(self._cut, faults=numbers)
                found = smallest(whole, fails_alike(again, error.names), runs)
                told = f"{found}\n{found.cut.of(self._drawn)}\nagain: {command} {self.options(found.cut)}"
                if found.interrupted:
                    self._session.shouldstop = "interrupted"
            # First: where there is room for a few lines, it says more than all that went wrong.
            raise ExpectationsFailed(f"{told}\n{error}", error.names) from error

    def _say(self, line: str) -> None:
        manager = self._session.config.pluginmanager
        reporter, capture = manager.get_plugin("terminalreporter"), manager.get_plugin("capturemanager")
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(line)


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
    group.addoption(
        "--chaos-faults",
        type=_numbers,
        default=(),
        metavar="N,N",
        help="only these faults of the timeline, by their number from 1 (default: all)",
    )
    group.addoption(
        "--chaos-step",
        type=_step,
        metavar="SECONDS",
        help="the longest time from a begin or an end of a fault to the next (default: as drawn)",
    )
    group.addoption(
        "--chaos-games",
        type=_positive,
        default=GAMES,
        metavar="NUMBER",
        help=f"games played at a time (default: {GAMES})",
    )
    group.addoption(
        "--shrink-runs",
        type=_count,
        metavar="NUMBER",
        help="runs in which the smallest part of a timeline that still fails is looked for, most of a "
        f"minute each (default: {SHRINK_RUNS}; 0 in CI, where CI is set, and on the workers of pytest-xdist)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed, once for all workers."""
    # Where pytest is given a folder above this one, it finds this file after it has read its options.
    seed = getattr(config.option, "chaos_seed", SEED)
    if hasattr(config, "workerinput"):
        seed = config.workerinput.get("chaos_seed", SEED)
    config.option.chaos_seed = secrets.randbelow(2**31) if seed == _RANDOM else seed
    defaults = {"chaos_seconds": SECONDS, "chaos_faults": (), "chaos_step": None, "chaos_games": GAMES}
    for name, default in (defaults | {"shrink_runs": None}).items():
        setattr(config.option, name, getattr(config.option, name, default))


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
    return f"chaos: {_options(config.option, _cut(config.option))}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a long timeline, and long timers of the system, their time."""
    if not config.pluginmanager.hasplugin("timeout"):
        return
    timers = system_of(config).lifecycle.timed.values()
    games_s = _GAMES * sum(parse_duration(timed.short_text) for timed in timers)
    for item in items:
        limit_s = games_s + _AROUND_S
        if "chaos" in getattr(item, "fixturenames", ()):
            limit_s = (limit_s + config.option.chaos_seconds) * (1 + _shrink_runs(config))
        item.add_marker(pytest.mark.timeout(limit_s))


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    """The random timeline that was asked for."""
    return Chaos(request.session)


def _cut(option: argparse.Namespace) -> Cut:
    return Cut(option.chaos_games, option.chaos_faults, option.chaos_step)


def _options(option: argparse.Namespace, cut: Cut) -> str:
    """Return the options of pytest that ask for a part of the timeline again."""
    words = [f"--chaos-seed {option.chaos_seed} --chaos-seconds {option.chaos_seconds:g}"]
    words += [f"--chaos-faults {','.join(map(str, cut.faults))}"] if cut.faults else []
    words += [f"--chaos-step {cut.step_s:g}"] if cut.step_s is not None else []
    words += [f"--chaos-games {cut.games}"] if cut.games != GAMES else []
    return " ".join(words)


def _shrink_runs(config: pytest.Config) -> int:
    """Return how many runs the search may take: none where nobody waits for them, or could end them."""
    if config.option.shrink_runs is not None:
        return int(config.option.shrink_runs)
    return 0 if os.environ.get("CI") or hasattr(config, "workerinput") else SHRINK_RUNS


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


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(number) for number in text.split(","))


def _step(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to {_LONGEST_S:g}")
    return seconds
