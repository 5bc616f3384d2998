"""A load that this machine's limits can't carry is refused with the numbers before anything starts."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
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
        Machine,
        Size,
        TooLargeError,
        needs_of,
        see_that_it_fits,
        see_that_it_fits_here,
        size_of,
        toxiproxies_for,
    )

PROJECT = Path(harness.__file__).parents[1]
SCENARIO = PROJECT / "scenarios" / "concurrent_games.py"
WORDS = Words("game", "games")
SHORT = ("--briefing=2s", "--drawing=2s", "--voting=2s")
#: Open files are what it is short of.
MACHINE = Machine(20_000)
#: A load of 18,000 players, whose games last minutes.
LARGE = ("--games=4500", "--players=4", "--briefing=80s", "--drawing=80s", "--voting=80s")


def fits(size: Size, machine: Machine, toxiproxies: int | None = 1, processes: int = 1) -> None:
    """See that a load fits, all of whose Locust processes are here."""
    see_that_it_fits(
        size, WORDS, processes=processes, here=processes, toxiproxies=toxiproxies, machine=machine
    )


# Most open files that runs recorded (resource rows `open_files`): the first three with phases of 2 s and all
# games in step, the last the default load.
@pytest.mark.parametrize(
    ("load", "toxiproxy", "emulator", "service", "observer", "locust"),
    [
        (["--games=20", *SHORT], 433, 180, 84, 152, 45),
        (["--games=60", "--observers=2", *SHORT], 1047, 436, 171, 218, 107),
        (["--games=60", "--players=8", *SHORT], 1439, 610, 160, 592, 113),
        ([], 2595, 1027, 373, 991, 290),
    ],
)
def test_what_is_worked_out_is_what_runs_were_seen_to_take(
    load: list[str], toxiproxy: int, emulator: int, service: int, observer: int, locust: int
) -> None:
    needs = needs_of(size_of(options(*load)), processes=1, here=1, toxiproxies=1)
    for need, seen in zip(
        [need.amount for need in needs if need.resource == "open files"],
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
            "200 games of 4 players need 2,738 open files in Toxiproxy, this machine allows 1,024 "
            "(`ulimit -Hn`): play fewer games (66 fit), "
            "more of them (`stormwatch up --toxiproxies`), raise the limit, or play --anyway",
        ),
        (
            ["--games=4000"],
            20_000,
            "4,000 games of 4 players need 51,700 open files in Toxiproxy, this machine allows 20,000 "
            "(`ulimit -Hn`): play fewer games (1,539 fit), "
            "more of them (`stormwatch up --toxiproxies`), raise the limit, or play --anyway",
        ),
        (
            ["--games=1"],
            64,
            "1 game of 4 players need 174 open files in Toxiproxy, this machine allows 64 (`ulimit -Hn`): "
            "more of them (`stormwatch up --toxiproxies`), raise the limit, or play --anyway",
        ),
    ],
)
def test_the_refusal_has_the_numbers_and_what_would_fit(load: list[str], allowed: int, refusal: str) -> None:
    with pytest.raises(TooLargeError) as refused:
        fits(size_of(options(*load)), Machine(allowed))
    assert str(refused.value) == refusal


def test_as_many_games_as_are_said_to_fit_do_and_one_more_does_not() -> None:
    see_that_it_fits(
        size_of(options("--games=1539")), WORDS, processes=1, here=1, toxiproxies=1, machine=MACHINE
    )
    with pytest.raises(TooLargeError):
        see_that_it_fits(
            size_of(options("--games=1540")), WORDS, processes=1, here=1, toxiproxies=1, machine=MACHINE
        )


@pytest.mark.parametrize(
    ("load", "files", "servers"),
    [([], 20_000, 1), ([], 1024, 4), (LARGE, 20_000, 3), (LARGE, 1_048_576, 1), (["--games=1"], 64, 1)],
)
def test_there_are_as_many_toxiproxies_as_their_open_files_ask_for(
    load: Sequence[str], files: int, servers: int
) -> None:
    assert toxiproxies_for(size_of(options(*load)), Machine(files)) == servers


def test_a_stack_that_is_still_to_be_started_has_as_many_toxiproxies_as_it_takes() -> None:
    large = size_of(options(*LARGE))
    fits(large, MACHINE, None)
    with pytest.raises(TooLargeError, match="open files in Toxiproxy, "):
        fits(large, MACHINE)
    with pytest.raises(TooLargeError, match="open files in a Toxiproxy for players, "):
        fits(large, MACHINE, 2)
    short = size_of(options(*LARGE[:2]))
    with pytest.raises(TooLargeError, match=r"open files in the PubNub emulator, .*, longer timers, "):
        fits(short, MACHINE, None)


@pytest.mark.parametrize(
    ("machine", "refusal"),
    [
        (
            Machine(memory_gb=4),
            r"[\d.]+ GB of memory, this machine has 4.0 free: .*, use workers on other machines",
        ),
        (Machine(cores=0.5), r"[\d.]+ cores, this machine has 0.5: .*, longer timers"),
        (
            Machine(local_ports=7000),
            r"7,875 local ports, this machine has 7,000 to one address \(`net.ipv4.ip_lo",
        ),
    ],
)
def test_memory_cores_and_local_ports_are_told_as_open_files_are(machine: Machine, refusal: str) -> None:
    with pytest.raises(TooLargeError, match=f"^4,500 games of 4 players need {refusal}") as refused:
        fits(size_of(options(*LARGE)), machine, None)
    told = str(refused.value)
    assert told.endswith(", or play --anyway")
    (fit,) = re.findall(r"play fewer games \(([\d,]+) fit\)", told)
    number = int(fit.replace(",", ""))
    fits(size_of(options(*LARGE, f"--games={number}")), machine, None)
    with pytest.raises(TooLargeError):
        fits(size_of(options(*LARGE, f"--games={number + 1}")), machine, None)


def test_players_are_spread_over_addresses_where_local_ports_are_few() -> None:
    large = size_of(options(*LARGE))
    assert toxiproxies_for(large, Machine(local_ports=18_000)) == 3
    few = Machine(local_ports=10_000)
    fits(large, few, 3)
    with pytest.raises(TooLargeError, match="local ports"):
        fits(large, few, 2)


def test_players_elsewhere_take_nothing_here() -> None:
    needs = needs_of(size_of(options(*LARGE)), processes=2, here=0, toxiproxies=0)
    assert [need.amount for need in needs] == [0, 0, 0]
    half, whole = (
        needs_of(size_of(options(*LARGE)), processes=2, here=here, toxiproxies=0)[-1].amount
        for here in (1, 2)
    )
    assert whole == pytest.approx(2 * half)


def test_a_deployment_takes_no_files_of_this_machine_but_players_do() -> None:
    asked = size_of(options("--games=4500", "--observers=1"))
    fits(asked, MACHINE, 0, processes=2)
    with pytest.raises(TooLargeError, match=r"in an observer, .* more --observers, raise"):
        fits(asked, MACHINE, 0)
    asked = size_of(options("--games=4500", "--observers=2"))
    fits(asked, MACHINE, 0)


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
    monkeypatch.setattr("harness.load.capacity.Machine.here", lambda: Machine(300))
    given = argparse.Namespace(
        **({"anyway": False, "processes": None, "master": False, "expect_workers": 1} | how)
    )
    try:
        see_that_it_fits_here(options(), given, toxiproxies=0)
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
    assert (found["Toxiproxy"]["source"], found["the load"]["works"]) == ("418 open files of 1,024", True)
    done = limited(1024, *asked, "--games=200")
    assert done.returncode == 1, done.stderr
    found = {row["part"]: row for row in json.loads(done.stdout)}
    assert found["a Toxiproxy for players"]["works"]
    assert found["a Toxiproxy for players"]["note"] == "3 of them"
    assert not found["the PubNub emulator"]["works"]
    assert found["the load"]["note"].startswith(
        "200 games of 4 players need 1,039 open files in the PubNub emulator, this machine allows 1,024"
    )
    done = limited(1024, *asked, "--games=200", "--lasting=2min")
    assert done.returncode == 0, done.stdout


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
        (LOCUST, 256, ["--games=40"], "40 games of 4 players need 300 open files in Toxiproxy"),
        (RUN, 1024, [], "200 games of 4 players need 1,039 open files in the PubNub emulator"),
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


def test_a_container_has_what_its_control_groups_leave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = tmp_path / "groups" / "pod" / "ours"
    inner.mkdir(parents=True)
    own = tmp_path / "cgroup"
    own.write_text("12:devices:/\n0::/pod/ours\n", encoding="utf-8")
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(limits, "_OWN_CGROUP", own)
    before = limits.cores()
    for folder, memory, used, cpu in (
        (inner, "max", 5, "max 100000"),
        (inner.parent, 1000, 400, "50000 100000"),
    ):
        for name, value in (("memory.max", memory), ("memory.current", used), ("cpu.max", cpu)):
            (folder / name).write_text(f"{value}\n", encoding="utf-8")
        (folder / "memory.stat").write_text(
            "anon 200\ninactive_file 150\nactive_file 40\nslab 10\n", encoding="utf-8"
        )
    assert (limits.free_bytes(), limits.cores()) == (790, 1)
    own.write_text("0::/\n", encoding="utf-8")
    assert (limits.free_bytes() > 600, limits.cores()) == (True, before)


def test_no_limit_at_all_is_enough_for_any_load(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = SimpleNamespace(
        RLIMIT_NOFILE=0, RLIM_INFINITY=-1, getrlimit=lambda _: (1024, -1), setrlimit=lambda *_: None
    )
    monkeypatch.setattr(limits, "resource", unlimited)
    assert limits.open_files() == sys.maxsize
