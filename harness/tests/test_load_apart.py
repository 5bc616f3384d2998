"""Workers on other machines: they share no disk with their master, and their clocks are their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.history import Witness, read_history
from harness.history.witnesses import read_doubts
from harness.judge import evidence_of
from harness.judge.instruments import workers_clock
from harness.sla.policy import load_policy
from harness.stack import Stack
from harness.target import Action
from harness.tests.helpers import eventually
from harness.tests.test_load_runs import PROJECT, SHORT, Locust, check_the_record, free_port, play, stack

__all__ = ["stack"]

#: What every Python of a worker begins with: its master's folder can't be written, as if it were not there.
APART = """
import os
right = os.access
os.access = lambda path, *more, **others: "masters" not in str(path) and right(path, *more, **others)
"""
#: A wall clock that is 3 s ahead of everybody else's.
AHEAD = """
import time
right_ns = time.time_ns
time.time_ns = lambda: right_ns() + 3_000_000_000
"""


def machine(tmp_path: Path, name: str, port: int, more: str = "") -> Locust:
    """Start a worker on what is another machine to it."""
    place = tmp_path / name
    place.mkdir()
    (place / "sitecustomize.py").write_text(APART + more, encoding="utf-8")
    return Locust(place / "reports", {"PYTHONPATH": str(place)}, "--worker", f"--master-port={port}")


def master_of(stack: Stack, tmp_path: Path, port: int, *options: str) -> Locust:
    place = tmp_path / "masters"
    place.mkdir()
    return play(stack, place, "--master", "--no-report", f"--master-bind-port={port}", *options)


def test_a_worker_apart_with_a_clock_ahead_and_one_that_joins_late_make_one_run(
    stack: Stack, tmp_path: Path
) -> None:
    port = free_port()
    with (
        machine(tmp_path, "ahead", port, AHEAD) as ahead,
        master_of(stack, tmp_path, port, "--duration=5s") as master,
    ):
        master.wait_for("warm-up")
        with machine(tmp_path, "late", port) as late:
            assert master.wait() == 0, master.output
            assert ahead.wait() == 0, ahead.output
            assert late.wait() == 0, late.output
    check_the_record(master, players=2)
    run = master.run.read()
    assert run.missing == []
    names = {re.sub(r"-\d+$", "", path.stem) for path in master.run.history.glob("*.arrow")}
    assert names == set(run.recorders or ())
    assert {"load-1", "load-2", "observer-1", "observer-2"} <= names
    history = read_history(master.run.history)
    assert all(file.cut_off is None for file in history.files)
    for worker in (ahead, late):
        assert "this worker's record goes to the master from" in worker.output
        assert list(worker.reports.glob("*")) == [], "the master has it all"
    rows = history.table.to_pandas()
    offsets = rows[(rows["actor"] == "load-1") & (rows["name"] == "clock_offset_ms")]["value"]
    assert (offsets - 3000).abs().min() < 50
    evidence = evidence_of(history, run, load_policy())
    assert workers_clock(evidence).verdict == "pass"
    heard = evidence.receipts
    took_ns = (heard["end_ns"] - heard["accepted_ns"]).abs()
    assert len(took_ns) > 0
    assert took_ns.max() < 1.5e9, "3 s of it would be the clock's"


class Wire:
    """A network namespace and the wire to it; from there this machine is reached at ``host`` alone."""

    def __init__(self) -> None:
        self.name = f"sw{os.getpid()}"
        network = f"10.231.{os.getpid() % 256}"
        self.host = f"{network}.1"
        near, far = f"{self.name}a", f"{self.name}b"
        self._do(f"ip netns add {self.name}")
        try:
            self._do(f"ip link add {near} type veth peer name {far} netns {self.name}")
            self._do(f"ip address add {self.host}/24 dev {near}")
            self._do(f"ip link set {near} up")
            for command in (f"address add {network}.2/24 dev {far}", f"link set {far} up", "link set lo up"):
                self._do(f"ip -n {self.name} {command}")
        except subprocess.CalledProcessError:
            self.cut()
            raise

    def cut(self) -> None:
        """Remove the namespace, and the wire with it."""
        self._do(f"ip netns delete {self.name}")

    def hiding(self, folder: Path) -> list[str]:
        """Return what stands before a command to have it run at the other end, without that folder."""
        mounted = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]
        return ["ip", "netns", "exec", self.name, *mounted]

    def _do(self, command: str) -> None:
        subprocess.run(command.split(), check=True, capture_output=True)


@pytest.fixture
def wire() -> Iterator[Wire]:
    try:
        made = Wire()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"namespaces are not permitted here: {error}")
    try:
        yield made
    finally:
        made.cut()


def test_workers_in_namespaces_of_their_own_make_one_run_whatever_their_clocks(
    stack: Stack, wire: Wire, tmp_path: Path
) -> None:
    """They share neither network nor disk with the master: only what comes over the wire is there."""
    addresses = {}
    for setting, name in (("SUPABASE_URL", "load-service"), ("PUBNUB_ORIGIN", "players-pubnub")):
        proxy = stack.proxies.get(name)
        at = f"{wire.host}:{proxy.listen.rpartition(':')[2]}"
        stack.proxies.create(f"wire-{name}", at, proxy.upstream)
        addresses[setting] = f"http://{at}"
    named = f"{addresses['SUPABASE_URL'].removeprefix('http://')},127.0.0.1"
    consent = {action.setting: named for action in (Action.LOAD, Action.TICK)}
    port, masters = free_port(), tmp_path / "masters"
    masters.mkdir()
    words = ["--headless", *SHORT, "--duration=5s", "--no-report", "--expect-workers=2"]
    master_at = [f"--master-bind-host={wire.host}", f"--master-bind-port={port}"]
    environment = stack.environment() | addresses | consent

    def worker(name: str, more: str = "") -> Locust:
        (place := tmp_path / name).mkdir()
        (place / "sitecustomize.py").write_text(more, encoding="utf-8")
        to_master = ("--worker", f"--master-host={wire.host}", f"--master-port={port}")
        python = {"PYTHONPATH": str(place)}
        return Locust(place / "reports", python, *to_master, before=wire.hiding(masters))

    with (
        worker("right") as right,
        worker("ahead", AHEAD) as ahead,
        Locust(masters / "reports", environment, "--master", *words, *master_at) as master,
    ):
        assert master.wait() == 0, master.output + right.output + ahead.output
        assert (right.wait(), ahead.wait()) == (0, 0), right.output + ahead.output
    for name in ("load-service", "players-pubnub"):
        stack.proxies.servers[0].remove(f"wire-{name}")
    check_the_record(master, players=2)
    run = master.run.read()
    assert run.missing == []
    history = read_history(master.run.history)
    assert all(file.cut_off is None for file in history.files)
    evidence = evidence_of(history, run, load_policy())
    assert sorted(round(clock.offset_ns / 1e9) for clock in evidence.workers.values()) == [0, 3]
    assert workers_clock(evidence).verdict == "pass"
    heard = evidence.receipts
    assert (heard["end_ns"] - heard["accepted_ns"]).abs().max() < 1.5e9, "3 s of it would be the clock's"


def test_a_killed_worker_is_named_and_the_other_ones_record_is_whole_however_the_run_is_stopped(
    stack: Stack, tmp_path: Path
) -> None:
    port = free_port()
    with (
        machine(tmp_path, "killed", port) as killed,
        machine(tmp_path, "whole", port) as whole,
        master_of(stack, tmp_path, port, "--duration=1min", "--expect-workers=2") as master,
    ):
        master.wait_for("steady")
        eventually(lambda: len(histories(master, "load-*")) == 2)
        killed.process.kill()
        master.wait_for("failed to send heartbeat")
        os.killpg(master.process.pid, signal.SIGINT)
        assert master.wait() == 0, master.output
        assert whole.wait() == 0, whole.output
    missing = read_doubts(master.run.read().missing)
    assert {doubt.witness for doubt in missing} == {Witness.PLAYERS, Witness.SUBSCRIBERS}
    (reason,) = {doubt.reason for doubt in missing}
    assert re.match(
        r"load-\d left without closing its record: nothing of its record came in the last \d", reason
    )
    lost = reason.split()[0]
    files = {file.writer: file for file in read_history(master.run.history).files}
    assert {name for name, file in files.items() if file.cut_off} <= {lost, f"observer-{lost[-1]}"}
    assert files[lost].rows > 0, "what it sent before is kept"


def test_workers_of_a_killed_master_end_and_say_where_their_record_is(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    with (
        machine(tmp_path, "left", port) as worker,
        master_of(stack, tmp_path, port, "--duration=1min") as master,
    ):
        master.wait_for("steady")
        eventually(lambda: histories(master, "observer-1-*"))
        master.process.kill()
        assert worker.process.wait(20) == 1, worker.output
    told = re.search(r"the master is gone: this worker ends, its record is in (\S+);", worker.output)
    assert told is not None, worker.output
    command = [sys.executable, "-m", "harness.cli", "report", str(master.run.path), told[1]]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"taken in from .*: load-1-\d+\.arrow, observer-1-\d+\.arrow", done.stdout)
    files = {file.writer: file.cut_off for file in read_history(master.run.history).files}
    assert files["load-1"] is files["observer-1"] is None, "all of it is there, to its end"


def histories(locust: Locust, pattern: str) -> list[Path]:
    return [path for path in locust.run.history.glob(pattern) if path.stat().st_size]
