"""The options of the combined scenario: equal seeds, equal timelines; a drawn seed is told and repeatable."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import harness.experiment  # noqa: F401 - by this process, not by its sessions: numpy can't be loaded twice

pytest_plugins = ["pytester"]

FAILURE = Path(__file__).parents[1] / "failure"

#: A system of named parts that nobody breaks.
SCENARIO = """
from dataclasses import dataclass
from harness.system import find_system
from harness.target import Target

@dataclass(frozen=True)
class Parts:
    parts: tuple = ("service-1", "service-2", "postgres")
    target: Target = Target("http://h", "k", "c", "s", database_url="postgresql://h/d")
    system: type = find_system("scenarios.systems.drawing_game:DrawingGame")

def test_timeline(chaos):
    print(f"<{chaos.options()}>")
    print(chaos.draw(Parts()))
"""

#: The real scenario, on an experiment that fails before anything is started.
FAILING = """
import contextlib
from harness.experiment import Experiment, ExpectationsFailed

@contextlib.contextmanager
def fail(self, count, **_):
    raise ExpectationsFailed("a game was lost", ["lost games"])
    yield

Experiment.games = fail
"""

#: The real scenario on named parts, where a game is lost when the faults 1 and 3 of the timeline meet.
TWO_NEEDED = """
import contextlib
from harness.experiment import Experiment, ExpectationsFailed, Inconclusive
from test_timeline import Parts

NEEDED = {"database:read-only postgres", "process:kill postgres"}

@contextlib.contextmanager
def games(self, count, **_):
    yield Parts()
    if self.given >= NEEDED:
        raise ExpectationsFailed("a game was lost", ["lost games"])

Experiment.games = games
Experiment.steady = Experiment.recovered = lambda self: None
Experiment.run_schedule = lambda self, schedule, every: setattr(self, "given", {*map(str, schedule.faults)})
"""


@pytest.fixture(autouse=True)
def options(pytester: pytest.Pytester) -> None:
    shutil.copy(FAILURE / "conftest.py", pytester.path)
    pytester.makepyfile(test_timeline=SCENARIO)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")


def timeline(pytester: pytest.Pytester, *options: str) -> list[str]:
    """Return what the scenario printed: its options, then the timeline."""
    result = pytester.runpytest_inprocess("-rP", "test_timeline.py", *options)
    assert result.ret == 0
    return [line for line in result.outlines if line.startswith("<--chaos") or " s – " in line]


def test_equal_seeds_give_equal_timelines(pytester: pytest.Pytester) -> None:
    one = timeline(pytester, "--chaos-seed", "7")
    assert one == timeline(pytester, "--chaos-seed", "7")
    assert one[1:] != timeline(pytester, "--chaos-seed", "8")[1:]
    assert one[0] == "<--chaos-seed 7 --chaos-seconds 20>"
    assert len(one) >= 4


def test_a_longer_timeline_begins_as_the_shorter_one(pytester: pytest.Pytester) -> None:
    short = timeline(pytester, "--chaos-seconds", "15")[1:]
    long = timeline(pytester, "--chaos-seconds", "60")[1:]
    assert long[: len(short)] == short
    assert len(long) > len(short)


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_drawn_seed_is_told_and_repeats_the_timeline(pytester: pytest.Pytester, workers: list[str]) -> None:
    result = pytester.runpytest_inprocess("-rP", "test_timeline.py", "--chaos-seed", "random", *workers)
    text = result.stdout.str()
    told = re.search(r"^chaos: --chaos-seed (\d+) --chaos-seconds 20$", text, re.MULTILINE)
    assert told is not None
    assert f"<--chaos-seed {told[1]} " in text
    drawn = [line for line in result.outlines if " s – " in line]
    assert drawn == timeline(pytester, "--chaos-seed", told[1])[1:]


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_found_late_it_has_its_defaults(pytester: pytest.Pytester, workers: list[str]) -> None:
    folder = pytester.mkdir("above") / "failure"
    folder.mkdir()
    for name in ("conftest.py", "test_timeline.py"):
        (pytester.path / name).rename(folder / name)
    result = pytester.runpytest_inprocess("above", "-rP", *workers)
    assert result.ret == 0
    assert any(line.startswith("<--chaos-seed 632 ") for line in result.outlines)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--chaos-seed=soon", "'soon' is neither a whole number from 0 nor 'random'"),
        ("--chaos-seed=-1", "'-1' is neither a whole number"),
        ("--chaos-seconds=2", "'2' is not a number of seconds from 5 to 3600"),
        ("--chaos-seconds=nan", "'nan' is not a number of seconds"),
        ("--chaos-faults=1,0", "'0' is not a whole number from 1"),
        ("--chaos-step=0", "'0' is not a number of seconds from 0.1"),
        ("--chaos-games=none", "'none' is not a whole number from 1"),
        ("--shrink-runs=-1", "'-1' is not a whole number from 0"),
    ],
)
def test_impossible_options_are_refused(pytester: pytest.Pytester, option: str, words: str) -> None:
    result = pytester.runpytest_inprocess("test_timeline.py", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()


def played(pytester: pytest.Pytester, experiment: str, *options: str) -> dict[str, str]:
    """Return the result of the real scenario, on a made-up experiment."""
    shutil.copy(FAILURE / "test_chaos.py", pytester.path)
    with (pytester.path / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(experiment)
    run = pytester.path / "run"
    done = pytester.runpytest_subprocess(f"--stormwatch-run={run}", "test_chaos.py", *options)
    assert done.ret in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    path = run / "scenarios" / "chaos.chaos" / "scenario.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_failed_scenario_tells_the_command_that_repeats_it(pytester: pytest.Pytester) -> None:
    options = [
        "--chaos-seed=7",
        "--chaos-seconds=33",
        "--chaos-faults=1,2",
        "--chaos-step=1",
        "--chaos-games=3",
    ]
    document = played(pytester, FAILING, *options)
    assert document["outcome"] == "failed"
    assert document["command"] == f"pytest test_chaos.py::test_chaos {' '.join(options).replace('=', ' ')}"


def test_what_fails_is_told_with_its_smallest_part_and_the_command_of_that(pytester: pytest.Pytester) -> None:
    document = played(pytester, TWO_NEEDED, "--shrink-runs=15")
    assert document["outcome"] == "failed"
    assert document["command"].endswith("test_chaos --chaos-seed 632 --chaos-seconds 20")
    told, *timeline, again, last = document["message"].splitlines()
    assert last == "a game was lost"
    assert told.endswith("it failed 2 times of 2")
    assert [line.split()[5] for line in timeline] == ["database:read-only", "process:kill"]
    options = "--chaos-seed 632 --chaos-seconds 20 --chaos-faults 1,3 --chaos-step 1 --chaos-games 1"
    assert again == f"again: pytest test_chaos.py::test_chaos {options}"


def test_ctrl_c_in_a_search_ends_the_session_and_keeps_what_was_found(pytester: pytest.Pytester) -> None:
    ended = "    if '.again-3' in self.id:\n        raise KeyboardInterrupt\n    yield Parts()\n"
    document = played(pytester, TWO_NEEDED.replace("    yield Parts()\n", ended), "--shrink-runs=15")
    assert document["outcome"] == "failed"
    told, *_, again, last = document["message"].splitlines()
    assert told.startswith("the smallest that still fails, after 3 more runs")
    assert told.endswith("the search was interrupted")
    assert again.endswith("--chaos-seconds 20 --chaos-faults 1,2,3")
    assert last == "a game was lost"


def test_without_a_search_it_says_how_to_have_one(pytester: pytest.Pytester) -> None:
    document = played(pytester, TWO_NEEDED, "--shrink-runs=0")
    assert "--shrink-runs 15 looks for the smallest part" in document["message"]


def test_what_is_only_inconclusive_is_not_looked_into(pytester: pytest.Pytester) -> None:
    played_as = TWO_NEEDED.replace("raise ExpectationsFailed", "raise Inconclusive")
    document = played(pytester, played_as, "--shrink-runs=15")
    assert document["outcome"] == "inconclusive"
    assert "smallest" not in document["message"]


def test_a_long_timeline_gets_its_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_marks="""
        def test_marks(request, chaos):
            assert request.node.get_closest_marker("timeout").args == (422.0,)
        """
    )
    assert pytester.runpytest_inprocess("test_marks.py", "--chaos-seconds=300", "--shrink-runs=0").ret == 0


def test_a_search_gets_the_time_of_its_runs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_marks="""
        def test_marks(request, chaos):
            assert request.node.get_closest_marker("timeout").args == (422.0 * 5,)
        """
    )
    assert pytester.runpytest_inprocess("test_marks.py", "--chaos-seconds=300", "--shrink-runs=4").ret == 0


@pytest.mark.parametrize(("worker", "workers"), [(False, "auto"), (True, None)])
def test_a_worker_starts_no_workers_of_its_own(worker: bool, workers: str | None) -> None:
    conftest = runpy.run_path(str(FAILURE / "conftest.py"))
    option = SimpleNamespace(collectonly=False, dist="no", numprocesses=None, stormwatch_local=True)
    plugins = SimpleNamespace(hasplugin=lambda name: True)
    config = SimpleNamespace(option=option, pluginmanager=plugins, args=["scenarios/failure"])
    if worker:
        config.workerinput = {}
    conftest["pytest_cmdline_main"](config)
    assert option.numprocesses == workers
