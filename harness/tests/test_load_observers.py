"""Locust's side of its observers: what it notices when one of them is gone."""

import os
import signal
from pathlib import Path

import gevent
import pytest

from harness.history import Doubt, Witness, read_history
from harness.load.observers import ObserverError, ObserverProcess
from harness.observe.process import Assignment
from harness.target import Target
from harness.tests.helpers import REFERENCE


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    # Nobody is there: an observer is up all the same, and says what it can't reach.
    target = Target("http://127.0.0.1:1", "x", "x", "sub-c-x", pubnub_origin="http://127.0.0.1:1")
    return Assignment("observer-1", "a-run", tmp_path / "history", target, {"system": REFERENCE})


def test_an_observer_that_is_stopped_lacks_nothing(assignment: Assignment, tmp_path: Path) -> None:
    observer = ObserverProcess("harness.observe.subscribers", assignment, tmp_path)
    observer.wait_until_ready()
    assert observer.stop(within_s=0.0) == []
    (file,) = read_history(assignment.history).files
    assert (file.writer, file.run_id, file.cut_off) == ("observer-1", "a-run", None)


def test_an_observer_that_was_killed_is_missed(assignment: Assignment, tmp_path: Path) -> None:
    observer = ObserverProcess("harness.observe.subscribers", assignment, tmp_path)
    observer.wait_until_ready()
    assert observer.pid is not None
    os.kill(observer.pid, signal.SIGKILL)
    gevent.sleep(0.2)
    assert observer.stop(within_s=0.0) == [
        Doubt(Witness.SUBSCRIBERS, "observer-1 ended by itself with code -9; see its log")
    ]


def test_an_observer_that_cannot_begin_is_named(assignment: Assignment, tmp_path: Path) -> None:
    observer = ObserverProcess("harness.observe.no_such_module", assignment, tmp_path)
    with pytest.raises(ObserverError, match="observer-1 ended by itself with code 1"):
        observer.wait_until_ready()
    assert "no_such_module" in (tmp_path / "observer-1.log").read_text(encoding="utf-8")


def test_sigterm_ends_an_observer_in_order(assignment: Assignment, tmp_path: Path) -> None:
    observer = ObserverProcess("harness.observe.subscribers", assignment, tmp_path)
    observer.wait_until_ready()
    assert observer.pid is not None
    os.kill(observer.pid, signal.SIGTERM)
    assert observer.stop(within_s=0.0) == []
    assert read_history(assignment.history).files[0].cut_off is None
