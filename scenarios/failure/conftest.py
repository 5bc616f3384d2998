"""Options of the combined scenario: which random timeline of faults, and how long."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass
from typing import Any

import pytest

from harness.faults import System
from harness.faults.schedule import Schedule, candidates

#: The timeline that is tried where nobody asks for another one: each place has its turn, and some overlap.
SEED = 632
SECONDS = 20.0

#: They lose, shuffle or forgo messages by themselves: no service could keep its promises under them.
UNKEEPABLE = frozenset({"pubnub:drop", "pubnub:reorder", "database:trigger-dropped"})

#: Files that go where another one goes: unauthorised calls go where flags are turned, and a single scenario
#: fills up a worker that has some of its kind.
_NEIGHBOURS = {"test_unauthorised_calls": "test_rollback", "test_pubnub_memory": "test_pubnub_outage"}

_RANDOM = "random"
_SHORTEST_S, _LONGEST_S = 5.0, 3600.0
#: What an experiment takes besides its faults.
_AROUND_S = 120.0


@dataclass(frozen=True)
class Chaos:
    """A random timeline of faults, as it was asked for."""

    seed: int
    seconds: float

    @property
    def options(self) -> str:
        """The options of pytest that ask for it again."""
        return f"--chaos-seed {self.seed} --chaos-seconds {self.seconds:g}"

    def draw(self, system: System) -> Schedule:
        """Return the timeline: the same for the same seed, seconds and parts of the system."""
        usable = [fault for fault in candidates(system) if f"{fault.place}:{fault.name}" not in UNKEEPABLE]
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one worker as a whole, those with most scenarios first: neighbours share a stack."""
    if config.getoption("dist") != "load":
        return None  # asked for otherwise
    from xdist.scheduler import LoadFileScheduling

    class Neighbours(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            scope = str(super()._split_scope(nodeid))
            for file, neighbour in _NEIGHBOURS.items():
                scope = scope.replace(file, neighbour)
            return scope

        def _reschedule(self, node: Any) -> None:
            # Not one scenario too early: who takes the last files decides when all is over.
            if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
                super()._reschedule(node)

    return Neighbours(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker the seed."""
    node.workerinput["chaos_seed"] = node.config.option.chaos_seed


def pytest_report_header(config: pytest.Config) -> str:
    """Say which timeline it is."""
    return f"chaos: {_chaos(config).options}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a long timeline its time."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if "chaos" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(config.option.chaos_seconds + _AROUND_S))


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
