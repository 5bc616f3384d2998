"""The reaper ends what is ours, and never what is not."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.process import Reaper, reap
from harness.tests.helpers import eventually


@contextmanager
def sleeper(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], env=os.environ | environment, process_group=0)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def orphan(reaper: Reaper) -> None:
    """Let go of the reaper without a word, as a starter that is killed does."""
    reaper._let_go()
    reaper._process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows other processes' environment")
def test_what_was_started_is_ended_even_if_nobody_got_to_name_it() -> None:
    reaper = Reaper()
    with sleeper(**reaper.environment) as ours, sleeper() as bystander:
        orphan(reaper)
        assert ended(ours)
        assert bystander.poll() is None


def test_a_starter_that_dies_at_once_harms_nobody() -> None:
    with sleeper() as bystander:
        orphan(Reaper())
        time.sleep(0.2)
        assert bystander.poll() is None


def test_a_mark_that_would_match_strangers_is_refused() -> None:
    for empty in ("", "NAME=", "NAME"):
        with pytest.raises(ValueError, match="would match what is not ours"):
            reap.family(set(), empty)


def test_groups_and_paths_that_were_named_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    reaper = Reaper()
    with sleeper() as ours, sleeper() as forgotten, sleeper() as bystander:
        reaper.watch_process(ours.pid)
        reaper.watch_process(forgotten.pid)
        reaper.forget(forgotten.pid)
        reaper.watch_path(folder)
        orphan(reaper)
        assert ended(ours)
        assert not folder.exists()
        assert forgotten.poll() is None
        assert bystander.poll() is None


def test_an_orderly_end_leaves_processes_alone() -> None:
    with sleeper() as ours:
        with Reaper() as reaper:
            reaper.watch_process(ours.pid)
        assert ours.poll() is None


def broken_off(ours: subprocess.Popen[bytes]) -> None:
    with Reaper() as reaper:
        reaper.watch_process(ours.pid)
        raise InterruptedError


def test_an_error_leaves_no_process_behind() -> None:
    with sleeper() as ours, sleeper() as bystander:
        with pytest.raises(InterruptedError):
            broken_off(ours)
        assert ended(ours)
        assert bystander.poll() is None


NESTED = """
import subprocess, sys, time
from pathlib import Path
from harness.process import Reaper

reaper = Reaper()
reaper.watch_path(Path(sys.argv[1]))
Path(sys.argv[1]).mkdir()
# It goes when it must, not when it is asked to.
command = ["sh", "-c", "trap '' TERM; echo; sleep 60"]
stubborn = subprocess.Popen(command, env=reaper.environment, process_group=0)
reaper.watch_process(stubborn.pid)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows other processes' environment")
def test_a_reaper_lets_those_of_what_it_ends_do_their_work(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    outer = Reaper()
    inner = subprocess.Popen(
        [sys.executable, "-c", NESTED, str(folder)],
        env=os.environ | outer.environment,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    with inner:
        assert inner.stdout is not None
        inner.stdout.readline()
        outer.watch_process(inner.pid)
        orphan(outer)
    eventually(lambda: not folder.exists())


def test_a_folder_goes_though_somebody_writes_into_it_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def write() -> None:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                (folder / "file").touch()

    writer = threading.Thread(target=write)
    writer.start()
    reap.remove(folder)
    writer.join()
    assert not folder.exists()
