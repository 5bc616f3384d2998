"""The emergency rollback of a real stack, step by step, and what it leaves behind: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from harness.faults import MissingPartError
from harness.history import HistoryWriter, read_history
from harness.history.names import Reading
from harness.stack import Stack, StackOptions, start_stack
from harness.stack.errors import StackError
from harness.tests.database_system import value
from harness.tests.permitted import deployment
from scenarios.drawing_game.faults.rollback import EmergencyRollback
from scenarios.drawing_game.faults.trigger import TRIGGER

QUESTION = f"SELECT count(*) FROM pg_trigger WHERE tgname = '{TRIGGER}'"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack(StackOptions(advertise=False)) as stack:
        yield stack


def flags(stack: Stack) -> dict[str, bool]:
    answer = requests.get(
        f"{stack.target.service_url}/functions/v1/feature-flags",
        headers={"Authorization": f"Bearer {stack.target.service_role_key}"},
        timeout=10,
    )
    found: dict[str, bool] = answer.json()["flags"]
    return found


def tick(stack: Stack) -> int:
    answer = requests.post(
        f"{stack.target.service_url}/functions/v1/monitor-game-timers",
        headers={"x-cron-secret": stack.target.cron_secret},
        timeout=10,
    )
    return int(answer.json()["skipped"])


def triggers(stack: Stack) -> int:
    return int(value(str(stack.target.database_url), QUESTION))


def test_each_step_takes_effect_is_recorded_and_taken_back(stack: Stack, tmp_path: Path) -> None:
    before = stack.pid("service-1")
    with HistoryWriter(tmp_path, "faults", "run") as history:
        with EmergencyRollback().inject(stack, history):
            during = stack.pid("service-1")
            assert during not in {before, None}
            assert flags(stack)["ENABLE_TIMER_MONITORING"] is False
            assert tick(stack) == 1
            assert triggers(stack) == 0
        assert stack.pid("service-1") not in {before, during, None}
        assert flags(stack)["ENABLE_TIMER_MONITORING"] is True
        assert tick(stack) == 0
        assert triggers(stack) == 1
    rows = read_history(tmp_path).table.to_pylist()
    steps = [row for row in rows if row["name"] == Reading.STEP]
    assert tuple(row["actor"] for row in steps) == EmergencyRollback.STEPS
    for row in steps:
        assert row["ok"] is True
        assert row["value"] == pytest.approx((row["end_ns"] - row["start_ns"]) / 1e9)
    declared = [row for row in rows if row["kind"] == "fault"]
    assert [row["name"] for row in declared] == ["emergency-rollback"] * 2
    assert declared[0]["start_ns"] <= steps[0]["start_ns"]
    assert steps[-1]["end_ns"] <= declared[-1]["end_ns"]


def test_a_step_that_fails_is_recorded_as_failed_and_the_others_are_taken_back(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise StackError(f"{name} does not come up")

    monkeypatch.setattr(stack, "restart", refuse)
    with HistoryWriter(tmp_path, "faults", "run") as history:
        with pytest.raises(Exception, match="service-1 does not come up"):
            EmergencyRollback().inject(stack, history).__enter__()
        history.flush()
        assert flags(stack)["ENABLE_TIMER_MONITORING"] is True
        assert triggers(stack) == 1
    steps = [row for row in read_history(tmp_path).table.to_pylist() if row["name"] == Reading.STEP]
    assert [row["ok"] for row in steps] == [True, False]


def test_a_deployment_without_processes_is_refused_and_left_as_it_was(stack: Stack) -> None:
    system = deployment(stack.target)
    with pytest.raises(MissingPartError, match="no process of the service within our reach"):
        EmergencyRollback().inject(system).__enter__()
    assert flags(stack)["ENABLE_TIMER_MONITORING"] is True
    without = deployment(replace(stack.target, flags_file=None))
    with pytest.raises(MissingPartError, match="STORMWATCH_FLAGS_FILE"):
        EmergencyRollback().inject(without).__enter__()
