"""A rollout goes from step to step or back, whatever its versions and the team's commands do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import click.testing
import psutil
import pytest

from harness.cli import main
from harness.commands.rollout import EXIT_CODES, _exit_code
from harness.documents.rollout import Checkpoint, RolloutDocument
from harness.documents.rows import Finding
from harness.experiment.results import Inconclusive
from harness.experiment.setup import Setup
from harness.history import create_run, now_ns
from harness.process import ProcessError
from harness.report.rollout import render_rollout
from harness.rollout import drive
from harness.rollout.hooks import run_hook
from harness.rollout.version import Place
from harness.sla.policy import load_policy
from harness.sla.promises import Policy
from harness.system import Unreadable, find_system

KEPT = Checkpoint(name="error_rate", title="Errors", kind="share", samples=900, in_favour=99.0, worse=1.0)
BROKEN = KEPT.model_copy(update={"bad": 30, "in_favour": 0.0, "against": 500.0, "worse": 500.0})
SHARED = BROKEN.model_copy(update={"worse": 1.0})


class FakeVersion:
    """A version of which the next looks are known."""

    #: Name of a version -> what its looks show, the last one for ever; an exception is raised.
    script: ClassVar[dict[str, list[Any]]] = {}
    under_way = 0

    def __init__(self, name: str, place: Place, setup: Setup, items: int, folder: Path, policy: Policy):
        if isinstance(first := self.script[name][0], ProcessError):
            raise first
        self.name, self.url, self.since_ns = name, f"http://{name}", None
        self.shares = [items]
        self.looks = list(self.script[name])
        self.run = create_run(folder, name, run_id=name)
        load = SimpleNamespace(wait_for=lambda *_: None, kill=lambda: None)
        self.testbed = SimpleNamespace(load=load, game_s=0.01, finish=self.ends, close=lambda: None)
        made.append(self)

    def ends(self) -> None: ...

    def allow(self, items: int) -> None:
        self.shares.append(items)

    def judge(self) -> Any:
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def checkpoints(self, found: Any, beside: Any = None) -> list[Checkpoint]:
        return [found]

    def served(self) -> tuple[int, int | None]:
        return self.under_way, now_ns() - 5 * 10**9


made: list[FakeVersion] = []
ill_afterwards: list[Finding] = []


class FakeWatch:
    def __init__(self, testbed: Any) -> None: ...

    def wait(self, seconds: float) -> None: ...

    def unsteady(self, since_ns: int, duration_s: float, due: int) -> list[Finding]:
        return ill_afterwards


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(drive, "Version", FakeVersion)
    monkeypatch.setattr(drive, "Watch", FakeWatch)
    monkeypatch.setattr(drive, "_GRACE_S", 0.0)
    monkeypatch.setattr(FakeVersion, "under_way", 0)
    yield
    made.clear()
    ill_afterwards.clear()


def rolled(
    tmp_path: Path, new: list[Any], old: list[Any] | None = None, *, hooks: bool = True, **rollout: Any
) -> RolloutDocument:
    FakeVersion.script = {"old": old or [KEPT], "new": new}
    steps = {"steps": ["0% for 0s", "25% for 0s", "50% for 0s", "100% for 0s"], "most": "1s", "hook": "1s"}
    policy = load_policy()
    changed = type(policy.rollout).model_validate(steps | rollout)
    policy = policy.model_copy(update={"rollout": changed})
    place = Place("it", find_system("scenarios/systems/drawing_game.py"))
    run = create_run(tmp_path, "rollout", run_id="rollout")
    return drive.Rollout(run, policy, place, place, Setup(count=8), hooks=hooks).carry_out()


def script(folder: Path, text: str) -> str:
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_good_version_gets_all_of_the_items_in_steps(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT])
    assert (found.outcome, EXIT_CODES[found.outcome]) == ("completed", 0)
    old, new = made
    assert new.shares == [0, 0, 2, 4, 8]
    assert old.shares == [8, 8, 6, 4, 0]


def test_a_version_that_breaks_a_checkpoint_gives_all_items_back(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT, KEPT, BROKEN])
    assert (found.outcome, EXIT_CODES[found.outcome]) == ("rolled back", 1)
    assert [step.share for step in found.steps] == [0, 0.25, 0.5]
    assert made[1].shares[-1] == 0
    assert made[0].shares[-1] == 8
    assert found.rollback is not None
    assert found.rollback.proved
    assert found.rollback.from_decision_s is not None
    assert "error_rate" in found.why
    assert RolloutDocument.model_validate_json(found.text()) == found
    assert "all is well again" in render_rollout(found)


def test_what_both_versions_break_holds_the_rollout(tmp_path: Path) -> None:
    found = rolled(tmp_path, [SHARED], [KEPT, BROKEN])
    assert (found.outcome, EXIT_CODES[found.outcome]) == ("held", 3)
    assert "not the new one's fault" in found.why
    assert made[1].shares[-1] == 2


def test_what_is_not_told_in_time_holds_the_rollout(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT.model_copy(update={"in_favour": 2.0})], most="20ms")
    assert found.outcome == "held"
    assert "not told after" in found.why


def test_a_version_of_which_nothing_is_ever_seen_holds_the_rollout(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT], [OSError("its record can't be read")], most="20ms")
    assert (found.outcome, found.why) == ("held", "held at 0 %: nothing was seen yet")


def test_either_version_has_an_item_of_its_share(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT], steps=["1% for 0s", "99% for 0s", "100% for 0s"])
    assert found.outcome == "completed"
    assert made[1].shares == [0, 1, 7, 8]


def test_a_load_that_ends_by_itself_holds_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any) -> None:
        raise Inconclusive("the load ended by itself")

    monkeypatch.setattr(FakeWatch, "wait", ended)
    assert rolled(tmp_path, [KEPT]).outcome == "held"


def test_ctrl_c_takes_the_traffic_back(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT, KEPT, KeyboardInterrupt()])
    assert found.interrupted
    assert found.outcome == "rolled back"
    assert made[0].shares[-1] == 8


def test_a_failure_of_our_own_takes_the_traffic_back_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        rolled(tmp_path, [KEPT, KEPT, ZeroDivisionError()])
    assert made[0].shares[-1] == 8


def test_the_splitting_command_is_told_the_share(tmp_path: Path) -> None:
    told = tmp_path / "told"
    split = script(tmp_path, f'echo "$STORMWATCH_SHARE $STORMWATCH_NEW_URL" >> {told}')
    rolled(tmp_path, [KEPT, KEPT, BROKEN], split=split)
    assert told.read_text(encoding="utf-8").splitlines() == [
        f"{share} http://new" for share in (0, 25, 50, 0)
    ]


def test_a_rehearsal_runs_no_command_of_the_team_unless_asked_to(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = script(tmp_path, f"echo ran >> {told}")
    found = rolled(tmp_path, [KEPT, KEPT, BROKEN], hooks=False, split=command, rollback=[command])
    assert found.outcome == "rolled back"
    assert not told.exists()


def test_an_interrupted_rollout_whose_rollback_fails_says_so(tmp_path: Path) -> None:
    found = rolled(tmp_path, [KEPT, KEPT, KeyboardInterrupt()], rollback=["no-such-command"])
    assert (found.interrupted, _exit_code(found)) == (True, 5)


def test_a_second_ctrl_c_skips_no_command_of_the_way_back(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = script(tmp_path, f"kill -INT {os.getpid()}; kill -TERM {os.getpid()}; echo ran >> {told}")
    found = rolled(tmp_path, [KEPT, KEPT, KeyboardInterrupt()], rollback=[command, command])
    assert (found.outcome, _exit_code(found)) == ("rolled back", 130)
    assert told.read_text(encoding="utf-8").split() == ["ran", "ran"]


def test_a_rollback_that_is_interrupted_is_not_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeWatch, "unsteady", interrupted)
    found = rolled(tmp_path, [BROKEN])
    assert (found.outcome, _exit_code(found)) == ("rollback failed", 5)
    assert found.rollback is not None
    assert "interrupted before it was seen" in found.rollback.failed[0]


def test_ctrl_c_while_the_last_items_end_costs_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeVersion, "ends", interrupted)
    found = rolled(tmp_path, [KEPT])
    assert (found.outcome, _exit_code(found)) == ("completed", 0)


def test_traffic_that_can_not_be_split_is_taken_back(tmp_path: Path) -> None:
    split = script(tmp_path, '[ "$STORMWATCH_SHARE" != 25 ]')
    found = rolled(tmp_path, [KEPT], split=split)
    assert found.outcome == "rolled back"
    assert "could not be split" in found.why


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-command", "no-such-command"),
        ("sh -c 'exit 3'", "ended with 3"),
        ("sleep 60", "did not end within 1 s and was killed"),
    ],
)
def test_a_hook_that_fails_or_hangs_makes_the_rollback_fail(tmp_path: Path, command: str, told: str) -> None:
    found = rolled(tmp_path, [BROKEN], rollback=[command])
    assert (found.outcome, EXIT_CODES[found.outcome]) == ("rollback failed", 5)
    assert found.rollback is not None
    assert told in found.rollback.hooks[0].error
    assert found.rollback.traffic == "all new items go to the old version"


def test_a_way_back_that_fails_says_where_the_traffic_may_still_be(tmp_path: Path) -> None:
    up = tmp_path / "up"
    split = script(tmp_path, f'[ "$STORMWATCH_SHARE" = 0 ] && [ -e {up} ] && exit 1; touch {up}')
    found = rolled(tmp_path, [KEPT, BROKEN], split=split)
    assert found.outcome == "rollback failed"
    assert found.rollback is not None
    assert "may still be at 25 % for the new version" in found.rollback.traffic


def test_an_old_version_that_is_not_well_afterwards_makes_the_rollback_fail(tmp_path: Path) -> None:
    ill_afterwards.append(Finding(name="nobody fails", verdict="fail", explanation="3 requests failed"))
    found = rolled(tmp_path, [BROKEN])
    assert found.outcome == "rollback failed"
    assert found.rollback is not None
    assert any("3 requests failed" in line for line in found.rollback.failed)


def test_items_that_never_end_are_cut_off_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeVersion, "under_way", 2)
    found = rolled(tmp_path, [BROKEN])
    assert found.rollback is not None
    assert found.rollback.cut_off == 2


def test_a_version_that_does_not_come_up_is_named_before_anything_is_shifted(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"the new version \(it\) does not come up: service-1 ended"):
        rolled(tmp_path, [ProcessError("service-1 ended")])
    assert [version.name for version in made] == ["old"]


def test_a_hook_that_hangs_takes_its_children_along(tmp_path: Path) -> None:
    command = script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    assert run_hook(command, {}, tmp_path / "log", 1.0).error.startswith("did not end")
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    with suppress(psutil.NoSuchProcess):
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# --- the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        ([], {}, "nothing is new"),
        (["--new", "nowhere"], {}, "nowhere: no such file"),
        (["--new-env", "X"], {}, "write NAME=VALUE"),
        (["--new", "http://b"], {}, "the environment names no deployment"),
        (["--new-env", "A=B"], {"SUPABASE_URL": "http://127.0.0.1:1"}, "--new takes the new one's address"),
        (["--new", "http://127.0.0.1:1/"], {"SUPABASE_URL": "http://127.0.0.1:1"}, "takes the new one's"),
        (["--new", "http://127.0.0.1:2"], {"SUPABASE_URL": "http://127.0.0.1:1"}, "STORMWATCH_MAY_LOAD"),
    ],
)
def test_wrong_usage_is_one_line(
    options: list[str], environment: dict[str, str], told: str, tmp_path: Path
) -> None:
    words = ["rollout", "--system", "scenarios/systems/drawing_game.py", "--reports", str(tmp_path), *options]
    done = click.testing.CliRunner().invoke(main, words, env=environment)
    assert done.exit_code == 2
    error = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert len(error) == 1
    assert told in error[0]


def test_a_second_rollout_is_refused_while_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.commands.rollout import _alone

    monkeypatch.setenv("STORMWATCH_CACHE", str(tmp_path))
    place = Place("it", find_system("scenarios/systems/drawing_game.py"))
    with (
        _alone(place),
        pytest.raises(click.UsageError, match="another rollout on this machine"),
        _alone(place),
    ):
        pass
    with _alone(place):
        pass


def test_only_as_many_items_begin_as_are_allowed(tmp_path: Path) -> None:
    run = create_run(tmp_path, "rollout", run_id="new")
    assert run.lets_begin("99", 1)
    run.allow(2)
    assert [run.lets_begin(slot, 1) for slot in ("1", "2", "3")] == [True, True, False]
    # Two processes have half of the hosts each.
    assert [run.lets_begin(slot, 2) for slot in ("1.1", "1.2", "2.1")] == [True, False, True]


def test_the_service_tells_which_of_its_alerts_are_raised() -> None:
    system: Any = find_system("scenarios/systems/drawing_game.py")
    body = {"alerts": [{"name": "quiet", "state": "ok"}, {"name": "High Error Rate", "state": "raised"}]}
    assert system.raised(None, body) == ["High Error Rate"]
    with pytest.raises(Unreadable):
        system.raised(None, {"alerts": None})
