"""The pytest plugin leaves an outcome for every scenario, whatever became of it."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.documents.scenario import Scenario
from harness.experiment import Experiment, Testbeds, experiment
from harness.experiment.results import account_for_missing, write_result
from harness.experiment.suite import write_plan
from harness.experiment.watch import Watch
from harness.faults.network import Down
from harness.history import RunFolder
from harness.pytest_plugin import _found_by, pytest_collection_modifyitems, scenario_id
from harness.sla.policy import load_policy
from harness.system import find_system
from harness.tests.helpers import eventually

pytest_plugins = ["pytester"]

SCENARIOS = '''
import os
import pytest
from harness.experiment import ExpectationsFailed, Inconclusive
from harness.faults import FaultError, NotExercisedError

def test_fine(experiment):
    """All is well."""

def test_failed(experiment):
    raise ExpectationsFailed("fail: timers: measured 7 s")

def test_unexercised(experiment):
    raise NotExercisedError("nothing passed the proxy")

def test_inconclusive(experiment):
    raise Inconclusive("no steady state before the fault")

def test_harness_failed(experiment):
    raise FaultError("Toxiproxy does not answer")

def test_bug(experiment):
    raise ZeroDivisionError("in the scenario")

def test_skipped(experiment):
    pytest.skip("the target is a deployment")

@pytest.mark.parametrize("name", ["a/b"])
def test_each(experiment, name):
    pass

def test_no_scenario():
    pass
'''
CRASH = """
import os

def test_crash(experiment):
    os._exit(1)
"""
CRASH_ONCE = """
import os, pathlib

def test_crash(experiment):
    tried = pathlib.Path("tried")
    if not tried.exists():
        tried.touch()
        os._exit(1)
"""
BROKEN = """
import pathlib, time

def test_broken(experiment):
    try:
        pathlib.Path("broken").touch()
        time.sleep(60)
    finally:
        pathlib.Path("mended").touch()

def test_after(experiment):
    pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Path:
    return pytester.path / "run"


def outcomes(run: Path) -> dict[str, dict[str, Any]]:
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in run.glob("scenarios/*/scenario.json")
    ]
    return {document["id"]: document for document in documents}


def session(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest: in this process, which is quicker, where it needs no others."""
    if "-n" in arguments:
        return pytester.runpytest_subprocess(*arguments)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return pytester.runpytest_inprocess(*arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_every_outcome_is_told_apart_and_explained(
    pytester: pytest.Pytester, run: Path, workers: list[str]
) -> None:
    pytester.makepyfile(test_demo=SCENARIOS)
    session(pytester, f"--stormwatch-run={run}", *workers)
    found = {id: document["outcome"] for id, document in outcomes(run).items()}
    assert found == {
        "demo.fine": "passed",
        "demo.failed": "failed",
        "demo.unexercised": "failed",
        "demo.inconclusive": "inconclusive",
        "demo.harness_failed": "inconclusive",
        "demo.bug": "error",
        "demo.skipped": "skipped",
        scenario_id("test_demo.py::test_each[a/b]"): "passed",
    }
    failed = outcomes(run)["demo.failed"]
    assert failed["message"] == "fail: timers: measured 7 s"
    assert failed["command"] == "pytest test_demo.py::test_failed"
    assert failed["seconds"] >= 0
    assert outcomes(run)["demo.fine"]["title"] == "All is well."


def test_a_crash_is_an_error_that_did_not_finish(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makepyfile(test_demo=CRASH)
    pytester.runpytest_subprocess(f"--stormwatch-run={run}", "-n", "1", "--max-worker-restart=0")
    crashed = outcomes(run)["demo.crash"]
    assert (crashed["outcome"], crashed["message"]) == ("error", "it did not finish")


def test_a_crash_stays_an_error_where_another_attempt_passed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=CRASH_ONCE)
    pytester.runpytest_subprocess("--stormwatch-reports=reports", "-n", "1", "--dist", "loadfile")
    latest = pytester.path / "reports" / "latest"
    crashed = outcomes(latest)["demo.crash"]
    assert crashed["outcome"] == "error"
    assert "crashed while running" in crashed["message"]
    assert "another attempt passed" in crashed["message"]
    assert json.loads((latest / "report.json").read_text(encoding="utf-8"))["verdict"] != "pass"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_being_ended_undoes_what_is_broken_and_says_so(
    pytester: pytest.Pytester, workers: list[str], number: signal.Signals
) -> None:
    pytester.makepyfile(test_demo=BROKEN)
    command = [sys.executable, "-m", "pytest", "--stormwatch-reports=reports", *workers]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as process:
        eventually((pytester.path / "broken").exists)
        process.send_signal(number)
        process.wait(60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    eventually((pytester.path / "mended").exists)
    latest = pytester.path / "reports" / "latest"
    found = {id: (document["outcome"], document["message"]) for id, document in outcomes(latest).items()}
    assert found == {
        "demo.broken": ("inconclusive", "interrupted: it did not finish"),
        "demo.after": ("inconclusive", "interrupted: it never ran"),
    }
    report = json.loads((latest / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["run"]["interrupted"]) == ("inconclusive", True)


@pytest.mark.parametrize("garbage", ["{", "[]", "{}", "7"])
def test_what_can_not_be_read_is_left_for_the_report_to_name(tmp_path: Path, garbage: str) -> None:
    run = RunFolder(tmp_path)
    write_plan(run, [{"id": "a", "title": "", "command": ""}, {"id": "b", "title": "", "command": ""}])
    left = run.scenarios / "a" / "scenario.json"
    left.parent.mkdir()
    left.write_text(garbage, encoding="utf-8")
    account_for_missing(run, interrupted=True)
    assert left.read_text(encoding="utf-8") == garbage
    lost = json.loads((run.scenarios / "b" / "scenario.json").read_text(encoding="utf-8"))
    assert (lost["outcome"], lost["message"]) == ("inconclusive", "interrupted: it never ran")


def test_a_crash_leaves_the_faults_that_were_on(tmp_path: Path) -> None:
    policy = load_policy()
    testbeds = Testbeds(tmp_path, policy, find_system())
    subject = Experiment(session=tmp_path, testbeds=testbeds, policy=policy, id="x", title="", command="")
    testbed: Any = SimpleNamespace(applicable=list, processes=[])
    subject._watch = Watch(testbed)
    fault = Down("service-pubnub")
    subject._expect(str(fault), fault.place, [], [fault])
    (left,) = outcomes(tmp_path).values()
    assert (left["outcome"], left["message"]) == ("error", "it did not finish")
    assert [(found["name"], found["ended_at"]) for found in left["faults"]] == [(str(fault), None)]


def test_the_plan_names_what_was_to_run(pytester: pytest.Pytester, run: Path) -> None:
    pytester.makepyfile(test_demo=SCENARIOS)
    session(pytester, f"--stormwatch-run={run}", "-k", "fine or bug")
    plan = json.loads((run / "scenarios" / "plan.json").read_text(encoding="utf-8"))
    assert [scenario["id"] for scenario in plan] == ["demo.fine", "demo.bug"]


def test_other_tests_leave_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    session(pytester)
    assert not (pytester.path / "reports").exists()


# --- none is lost ----------------------------------------------------------------------------------------

FAILS = """
def test_away(experiment):
    assert False, "a game was lost"
"""
PASSES = """
def test_away(experiment):
    pass
"""
CONFUSABLE = """
import pytest

@pytest.mark.parametrize("name", ["p/q", "p-q", "P-q"])
def test_each(experiment, name):
    assert name != "p/q"

class TestEurope:
    def test_away(self, experiment):
        assert False

class TestAmerica:
    def test_away(self, experiment):
        pass

def test_away(experiment):
    pass
"""


def verdict(pytester: pytest.Pytester) -> dict[str, Any]:
    """Return the report of the newest session."""
    report: dict[str, Any] = json.loads(
        (pytester.path / "reports" / "latest" / "report.json").read_text(encoding="utf-8")
    )
    return report


def tally(report: dict[str, Any]) -> list[str]:
    return sorted(row["outcome"] for row in report["scenarios"])


def test_scenarios_of_the_same_name_in_two_folders_are_two(pytester: pytest.Pytester) -> None:
    for folder, scenario in (("eu", FAILS), ("us", PASSES)):
        (pytester.mkdir(folder) / "test_outage.py").write_text(scenario, encoding="utf-8")
    session(pytester, "--import-mode=importlib", "--stormwatch-reports=reports")
    report = verdict(pytester)
    assert {row["id"]: row["outcome"] for row in report["scenarios"]} == {
        "eu-outage.away": "failed",
        "us-outage.away": "passed",
    }
    assert report["verdict"] == "fail"


def test_classes_and_parameters_that_look_alike_are_told_apart(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=CONFUSABLE)
    session(pytester, "--stormwatch-reports=reports")
    assert tally(verdict(pytester)) == ["failed"] * 2 + ["passed"] * 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), min_size=2, max_size=2))
@example(["test_a.py::test_b::c", "test_a.py::test_b.c"])
@example(["a/test_b.py::test_c", "test_a-b.py::test_c"])
@example(["test_a.py::test_b", "test_a.py::b"])
@example(["test_a.py::test_" + "x" * 300, "test_a.py::test_" + "x" * 301])
def test_ids_are_as_different_as_node_ids_and_fit_in_a_folder(nodeids: list[str]) -> None:
    ids = [scenario_id(nodeid) for nodeid in nodeids]
    # Told apart by file systems that ignore case, too.
    assert (ids[0].casefold() == ids[1].casefold()) == (nodeids[0] == nodeids[1])
    assert all(len(id.encode()) <= 120 and "/" not in id and id.isprintable() for id in ids)


def test_a_scenario_that_is_collected_twice_is_refused_before_it_runs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=PASSES)
    refused = session(
        pytester, "--stormwatch-reports=reports", "--keep-duplicates", "test_demo.py", "test_demo.py"
    )
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "collected more than once: demo.away" in refused.stderr.str()


def test_a_second_result_does_not_replace_the_first(pytester: pytest.Pytester, run: Path) -> None:
    for scenario in (FAILS, PASSES):
        pytester.makepyfile(test_demo=scenario)
        session(pytester, f"--stormwatch-run={run}")
    (twice,) = outcomes(run).values()
    assert (twice["outcome"], twice["lost"]) == ("error", True)
    assert "it has two results, failed and passed" in twice["message"]


#: What a hook of somebody else may do to a run folder before it is judged.
HARM = """
import json, pathlib, shutil
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary():
    (scenarios,) = pathlib.Path("reports").glob("*-failure/scenarios")
    {harm}
"""


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("shutil.copytree(scenarios / 'demo.one', scenarios / 'demo.other')", "demo.other"),
        ("(scenarios / 'plan.json').write_text('[7]')", "plan.json"),
        ("shutil.rmtree(scenarios / 'demo.one')", "demo.one"),
    ],
    ids=["one too many", "plan unreadable", "one missing"],
)
def test_a_run_with_another_number_of_results_than_scenarios_is_no_pass(
    pytester: pytest.Pytester, harm: str, named: str
) -> None:
    names = ["one", *(f"more_{n}" for n in range(29))]
    pytester.makepyfile(test_demo="\n".join(f"def test_{name}(experiment): pass" for name in names))
    pytester.makeconftest(HARM.format(harm=harm))
    session(pytester, "--stormwatch-reports=reports")
    report = verdict(pytester)
    assert report["verdict"] == "inconclusive"
    (check,) = report["measurement"]["checks"]
    assert named in check["explanation"]


SKIPPED = """
import contextlib
import pytest

@pytest.mark.skip(reason="not on Sundays")
def test_marked(experiment):
    pass

@pytest.mark.skipif("True", reason="no Toxiproxy here")
def test_conditional(experiment):
    pass

@pytest.mark.xfail(run=False, reason="known")
def test_not_run(experiment):
    pass

@pytest.fixture
def broken():
    raise OSError("no such database")

def test_never_began(broken, experiment):
    pass

@pytest.mark.xfail
def test_known_to_fail(experiment):
    assert False, "a game was lost"

def test_fine(experiment):
    pass
"""


def test_skipped_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=SKIPPED)
    session(pytester, "--stormwatch-reports=reports")
    report = verdict(pytester)
    found = {row["id"].removeprefix("demo."): (row["outcome"], row["message"]) for row in report["scenarios"]}
    assert found == {
        "marked": ("skipped", "not on Sundays"),
        "conditional": ("skipped", "no Toxiproxy here"),
        "not_run": ("skipped", "[NOTRUN] known"),
        "never_began": ("error", "no such database"),
        "known_to_fail": ("failed", "a game was lost\nassert False"),
        "fine": ("passed", ""),
    }
    (objective,) = report["objectives"]
    assert (objective["samples"], round(objective["measured"])) == (3, 33)
    for view in ("report.md", "report.html", "junit.xml"):
        shown = (pytester.path / "reports" / "latest" / view).read_text(encoding="utf-8")
        assert "not on Sundays" in shown, view


def test_a_scenario_may_skip_itself_while_games_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Playing:
        stack = load = None
        closed = False

        def close(self) -> None:
            self.closed = True

        def evidence(self) -> None:
            raise AssertionError("what is skipped is not judged")

    playing = Playing()
    monkeypatch.setattr(Testbeds, "take", lambda *_: playing)
    policy = load_policy()
    testbeds = Testbeds(tmp_path, policy, find_system())
    subject = Experiment(session=tmp_path, testbeds=testbeds, policy=policy, id="x", title="", command="")
    with pytest.raises(pytest.skip.Exception) as skipped, subject.games():
        pytest.skip("not today")
    subject.conclude(skipped.value, seconds=1.0)
    (result,) = outcomes(tmp_path).values()
    assert (result["outcome"], result["message"]) == ("skipped", "not today")
    # Nothing was broken: the next one may have it.
    assert (playing.closed, testbeds._open) == (False, playing)


STRANGE = r"""
import pytest

@pytest.mark.parametrize("name", ["l" * 300, "\u0436" * 43, "a\x1b[31m\x00b", "", "..", "\ud800"])
def test_named(experiment, name):
    pass

def test_blank(experiment):
    " "

def test_lines(experiment):
    '''

    Its title.
    '''

def test_fails(experiment):
    assert False, "\x00\x1b[31m \ud800 \u0436"
test_fails.__doc__ = 7
"""


def test_strange_names_and_titles_cost_no_result(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=STRANGE)
    done = session(pytester, "--stormwatch-reports=reports")
    assert "INTERNALERROR" not in done.stdout.str() + done.stderr.str()
    assert tally(verdict(pytester)) == ["failed"] + ["passed"] * 8
    titles = {id: found["title"] for id, found in outcomes(pytester.path / "reports" / "latest").items()}
    assert titles["demo.blank"] == "test_blank"
    assert titles["demo.lines"] == "Its title."


THREE = "".join(f"def test_{name}(experiment): pass\n" for name in ("one", "two", "three"))


def test_a_result_that_can_not_be_written_costs_no_other(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(folder: Path, scenario: Scenario, **options: Any) -> None:
        if "two" in folder.name and scenario.seconds is not None:
            raise OSError(28, "No space left on device")
        write_result(folder, scenario, **options)

    pytester.makepyfile(test_demo=THREE)
    monkeypatch.setattr(experiment, "write_result", full_disk)
    done = session(pytester, "--stormwatch-reports=reports")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert "its result can't be written: OSError" in done.stdout.str()
    report = verdict(pytester)
    assert tally(report) == ["error", "passed", "passed"]
    assert report["verdict"] != "pass"


def test_what_does_not_end_in_order_costs_no_report(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(self: Testbeds) -> None:
        raise RuntimeError("postgres survived")

    pytester.makepyfile(test_demo=THREE)
    monkeypatch.setattr(Testbeds, "close", close)
    done = session(pytester, "--stormwatch-reports=reports")
    assert "did not end in order: postgres survived" in done.stdout.str()
    assert tally(verdict(pytester)) == ["passed"] * 3


def test_a_report_that_can_not_be_written_is_said_and_is_no_success(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=THREE)
    pytester.makeconftest(HARM.format(harm="(scenarios.parent / 'report.json').mkdir()"))
    done = session(pytester, "--stormwatch-reports=reports")
    assert done.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "no report: " in done.stdout.str()
    assert "3 passed" in done.stdout.str()


# --- the newest is the newest ----------------------------------------------------------------------------


def test_a_folder_called_latest_is_moved_aside_and_a_failure_is_no_stale_pass(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_demo=PASSES)
    session(pytester, "--stormwatch-reports=reports")
    latest = pytester.path / "reports" / "latest"
    passed = latest.resolve()
    latest.unlink()
    shutil.copytree(passed, latest)
    pytester.makepyfile(test_demo=FAILS)
    done = session(pytester, "--stormwatch-reports=reports")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert verdict(pytester)["verdict"] == "fail"
    kept = json.loads((pytester.path / "reports" / "latest-1" / "report.json").read_text(encoding="utf-8"))
    assert kept["verdict"] != "fail"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_reports_that_can_not_be_written_are_said_before_anything_starts(
    pytester: pytest.Pytester, workers: list[str]
) -> None:
    pytester.makepyfile(test_demo="import pathlib\ndef test_it(experiment): pathlib.Path('ran').touch()")
    (pytester.path / "file").touch()
    done = session(pytester, "--stormwatch-reports=file/reports", *workers)
    said = done.stdout.str() + done.stderr.str()
    assert done.ret != pytest.ExitCode.OK
    assert "INTERNALERROR" not in said
    assert "file/reports" in said
    assert not (pytester.path / "ran").exists()


def test_a_session_that_is_killed_leaves_no_older_report_as_the_latest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=PASSES)
    session(pytester, "--stormwatch-reports=reports")
    pytester.makepyfile(test_demo="import os\ndef test_it(experiment): os._exit(1)")
    pytester.runpytest_subprocess("--stormwatch-reports=reports")
    assert not (pytester.path / "reports" / "latest" / "report.json").exists()


def test_an_expression_that_matches_nothing_stays_pytests_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=PASSES)
    done = session(pytester, "--stormwatch-reports=reports", "-k", "nothing")
    assert done.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (pytester.path / "reports").exists()


def test_a_scenario_of_ones_own_is_a_main_one_and_one_that_comes_along_as_it_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.files.SHIPPED", tmp_path / "lib")
    marked: list[str] = []

    def scenario(path: Path) -> Any:
        item = Mock(spec=pytest.Function, fixturenames=["experiment"], path=path)
        item.add_marker = lambda marker: marked.append(f"{path.parent.name} {marker}")
        return item

    own, shipped = (
        tmp_path / "failure" / "test_a.py",
        tmp_path / "lib" / "scenarios" / "failure" / "test_a.py",
    )
    pytest_collection_modifyitems([scenario(own), scenario(shipped)])
    assert marked == ["failure main"]


def test_a_scenario_is_found_again_by_its_file_where_its_id_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "test_a.py"
    path.parent.mkdir()
    path.touch()
    for begun_in, named in ((tmp_path / "lib", "test_a.py::test_b"), (tmp_path, f"{path}::test_b")):
        config = SimpleNamespace(invocation_params=SimpleNamespace(dir=begun_in))
        item: Any = SimpleNamespace(nodeid="test_a.py::test_b", path=path, config=config)
        assert _found_by(item) == named
