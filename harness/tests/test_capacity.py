"""A load that this machine's limits can't carry is refused with the numbers before anything starts."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness
from harness import limits
from harness.documents.words import Words
from harness.load_options import observers_for
from harness.tests.test_load_options import options

with pytest.MonkeyPatch.context() as patch:
    # gevent must not take over this process.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from harness.load.capacity import (
        TooLargeError,
        needs_of,
        see_that_it_fits,
        see_that_it_fits_here,
        size_of,
    )

PROJECT = Path(harness.__file__).parents[1]
SCENARIO = PROJECT / "scenarios" / "concurrent_games.py"
WORDS = Words("game", "games")


# Most open files that runs recorded (resource rows `open_files`): the first three with phases of 2 s and all
# games in step, the last the default load.
@pytest.mark.parametrize(
    ("load", "toxiproxy", "emulator", "service", "observer", "locust"),
    [
        (["--games=20"], 433, 180, 84, 152, 45),
        (["--games=60", "--observers=2"], 1047, 436, 171, 218, 107),
        (["--games=60", "--players=8"], 1439, 610, 160, 592, 113),
        ([], 2595, 1027, 373, 991, 290),
    ],
)
def test_what_is_worked_out_is_what_runs_were_seen_to_take(
    load: list[str], toxiproxy: int, emulator: int, service: int, observer: int, locust: int
) -> None:
    needs = needs_of(size_of(options(*load)), processes=1, own_stack=True)
    for need, seen in zip(
        [need.open_files for need in needs],
        (observer, locust + limits.RESERVED, toxiproxy, emulator, service),
        strict=True,
    ):
        assert 0.9 * seen <= need <= 1.3 * seen


@pytest.mark.parametrize(
    ("load", "allowed", "refusal"),
    [
        (
            [],
            1024,
            "200 games of 4 players need 2,860 open files in Toxiproxy, this machine allows 1,024 "
            "(`ulimit -Hn`): play fewer games (64 fit), raise the limit, or play --anyway",
        ),
        (
            ["--games=4000"],
            20_000,
            "4,000 games of 4 players need 54,160 open files in Toxiproxy, this machine allows 20,000 "
            "(`ulimit -Hn`): play fewer games (1,469 fit), raise the limit, or play --anyway",
        ),
        (
            ["--games=1"],
            64,
            "1 game of 4 players need 174 open files in Toxiproxy, this machine allows 64 (`ulimit -Hn`): "
            "raise the limit, or play --anyway",
        ),
    ],
)
def test_the_refusal_has_the_numbers_and_what_would_fit(load: list[str], allowed: int, refusal: str) -> None:
    with pytest.raises(TooLargeError) as refused:
        see_that_it_fits(size_of(options(*load)), WORDS, processes=1, own_stack=True, allowed=allowed)
    assert str(refused.value) == refusal


def test_as_many_games_as_are_said_to_fit_do_and_one_more_does_not() -> None:
    see_that_it_fits(size_of(options("--games=1469")), WORDS, processes=1, own_stack=True, allowed=20_000)
    with pytest.raises(TooLargeError):
        see_that_it_fits(size_of(options("--games=1470")), WORDS, processes=1, own_stack=True, allowed=20_000)


def test_a_deployment_takes_no_files_of_this_machine_but_players_do() -> None:
    asked = size_of(options("--games=4000", "--observers=1"))
    see_that_it_fits(asked, WORDS, processes=2, own_stack=False, allowed=20_000)
    with pytest.raises(TooLargeError, match=r"in an observer, .* more --observers, raise"):
        see_that_it_fits(asked, WORDS, processes=1, own_stack=False, allowed=20_000)
    asked = size_of(options("--games=4000", "--observers=2"))
    see_that_it_fits(asked, WORDS, processes=1, own_stack=False, allowed=20_000)


@pytest.mark.parametrize(
    ("how", "fits"),
    [
        ({}, False),
        ({"anyway": True}, True),
        ({"processes": 2}, False),
        ({"processes": 40}, True),
        # Its workers see to their own share.
        ({"master": True}, True),
    ],
)
def test_what_the_command_line_says_counts(
    how: dict[str, Any], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.capacity.open_files", lambda: 300)
    given = argparse.Namespace(**({"anyway": False, "processes": None, "master": False} | how))
    try:
        see_that_it_fits_here(options(), given, own_stack=False)
    except TooLargeError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    ("players", "cores", "files", "observers"),
    [
        (1, 2, 20_000, 1),
        (1000, 2, 20_000, 1),
        (1001, 2, 20_000, 2),
        (4000, 2, 20_000, 2),
        (4000, 16, 20_000, 4),
        # Each has a connection a player, and now and then another.
        (4000, 2, 1024, 8),
    ],
)
def test_observers_follow_from_players_cores_and_open_files(
    players: int, cores: int, files: int, observers: int
) -> None:
    assert observers_for(players, cores=cores, files=files) == observers


def test_a_load_has_as_many_observers_as_each_of_its_locust_processes_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.load.options.cores", lambda: 16)
    assert options("--games=1000").observers == 4
    assert options("--games=1000", "--processes=2").observers == 2
    assert options("--games=1000", "--master", "--expect-workers=4").observers == 1
    assert options("--games=1000", "--observers=7").observers == 7


def test_doctor_tells_what_a_load_needs_without_a_run() -> None:
    asked = ("harness.cli", "doctor", "--players=4", "--json")
    fits = limited(1024, *asked, "--games=20")
    assert fits.returncode == 0, fits.stderr
    found = {row["part"]: row for row in json.loads(fits.stdout)}
    assert (found["Toxiproxy"]["source"], found["the load"]["works"]) == ("430 open files of 1,024", True)
    done = limited(1024, *asked, "--games=200")
    assert done.returncode == 1, done.stderr
    found = {row["part"]: row for row in json.loads(done.stdout)}
    assert not found["Toxiproxy"]["works"]
    assert found["the load"]["note"].startswith(
        "200 games of 4 players need 2,860 open files in Toxiproxy, this machine allows 1,024"
    )


def limited(allowed: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours where no process may have more open files than ``allowed``."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "STORMWATCH_CACHE") if name in os.environ
    }
    return subprocess.run(
        ["bash", "-c", f'ulimit -n {allowed}; exec "$@"', "bash", sys.executable, "-m", *command],
        env=inherited,
        cwd=PROJECT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


LOCUST = ("locust", "-f", str(SCENARIO), "--headless")
RUN = ("harness.cli", "run", "--no-failures")


@pytest.mark.parametrize(
    ("command", "allowed", "load", "refusal"),
    [
        (LOCUST, 256, ["--games=40"], "40 games of 4 players need 700 open files in Toxiproxy"),
        (RUN, 1024, [], "200 games of 4 players need 2,860 open files in Toxiproxy"),
    ],
)
def test_a_load_that_cannot_fit_is_refused_in_one_line_before_anything_starts(
    command: tuple[str, ...], allowed: int, load: list[str], refusal: str, tmp_path: Path
) -> None:
    done = limited(allowed, *command, f"--reports={tmp_path / 'reports'}", *load)
    assert done.returncode == 2, done.stdout + done.stderr
    told = done.stdout + done.stderr
    (line,) = [line for line in told.splitlines() if refusal in line]
    assert f"this machine allows {allowed:,}" in line
    assert "or play --anyway" in line
    assert "starting a local stack" not in told
    assert "Traceback" not in told
    assert list(tmp_path.glob("reports/*")) == []


RAISED = """
import resource, subprocess, sys
from harness import limits
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 100, hard))
limits.raise_open_files()
subprocess.run(["bash", "-c", "ulimit -Sn; ulimit -Hn"])
"""


def test_what_we_start_may_open_as_many_files_as_the_machine_allows() -> None:
    said = subprocess.run(
        ["bash", "-c", 'ulimit -n 512; exec "$@"', "bash", sys.executable, "-c", RAISED],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert said.stdout.split() == ["512", "512"]


RESERVED = """
import os, subprocess
from harness import limits
reserve = limits.Reserve()
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    reserve.release()
    print(subprocess.run(["echo", "judged"], capture_output=True, text=True).stdout)
"""


def test_the_end_of_a_run_has_open_files_in_reserve() -> None:
    said = subprocess.run(
        ["bash", "-c", 'ulimit -n 64; exec "$@"', "bash", sys.executable, "-c", RESERVED],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert said.stdout.split() == ["judged"]


def test_no_limit_at_all_is_enough_for_any_load(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = SimpleNamespace(
        RLIMIT_NOFILE=0, RLIM_INFINITY=-1, getrlimit=lambda _: (1024, -1), setrlimit=lambda *_: None
    )
    monkeypatch.setattr(limits, "resource", unlimited)
    assert limits.open_files() == sys.maxsize
