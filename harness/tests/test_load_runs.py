"""Short runs of the real scenario by the real Locust, on a real stack."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import requests

import harness
from harness.history import RunFolder, Witness, open_run, read_history
from harness.history.witnesses import read_doubts
from harness.stack import Stack, start_stack
from harness.tests.helpers import eventually

PROJECT = Path(harness.__file__).parents[1]
SCENARIO = PROJECT / "scenarios" / "concurrent_games.py"
#: A run of some ten seconds.
SHORT = (
    "--only-summary",
    "--games=4",
    "--players=2",
    "--briefing=500ms",
    "--drawing=700ms",
    "--voting=500ms",
    "--tick=300ms",
    "--sync=340ms",
    "--duration=3s",
    "--drain=15s",
    "--seed=1",
)
ENOUGH_S = 60.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack() as running:
        yield running


@pytest.fixture(scope="module")
def finished(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> "Locust":
    """A run that came to its end undisturbed, of the scenario that README shows, from another folder."""
    folder = tmp_path_factory.mktemp("finished")
    readme = (PROJECT / "scenarios" / "README.md").read_text(encoding="utf-8")
    shown = re.search(r'^```python title="busy_evening.py"\n(.*?)^```', readme, re.MULTILINE | re.DOTALL)
    assert shown
    scenario = folder / "my evening.py"
    scenario.write_text(shown[1], encoding="utf-8")
    with play(stack, folder, "--no-report", scenario=scenario) as locust:
        assert locust.wait() == 0, locust.output
    return locust


class Locust:
    """The locust command in a process group of its own, as a terminal would have it.

    With ``open_files``, it and whatever it starts may open no more. ``before`` stands before the
    command, to have it run elsewhere.
    """

    def __init__(
        self,
        reports: Path,
        environment: Mapping[str, str],
        *options: str,
        scenario: Path = SCENARIO,
        open_files: int | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.reports = reports
        inherited = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "STORMWATCH_CACHE")
            if name in os.environ
        }
        self._log = reports.parent / f"locust-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            limited = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]
            self.process = subprocess.Popen(
                [*before, *limited, sys.executable, "-m", "locust", "-f", str(scenario), *options],
                env={**inherited, **environment, "STORMWATCH_REPORTS": str(reports)},
                cwd=PROJECT if scenario == SCENARIO else scenario.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.family: set[psutil.Process] = set()

    def __enter__(self) -> "Locust":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (
            (psutil.Process(self.process.pid), *self.family) if self.process.poll() is None else ()
        ):
            process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait(self) -> int:
        return self.process.wait(ENOUGH_S)

    def wait_for(self, text: str) -> None:
        """Wait until it printed ``text``, then note its descendants."""

        def printed() -> bool:
            assert self.process.poll() is None, self.output
            return text in self.output

        eventually(printed, ENOUGH_S, otherwise=lambda: self.output)
        self.family = set(psutil.Process(self.process.pid).children(recursive=True))

    @property
    def run(self) -> RunFolder:
        return open_run(self.reports / "latest")

    @property
    def rows(self) -> pd.DataFrame:
        return read_history(self.run.history).table.to_pandas()

    def nobody_is_left(self) -> bool:
        """Wait for the processes that were noted to be gone; return whether they are."""
        _, alive = psutil.wait_procs(self.family, timeout=10)
        return not alive


def play(stack: Stack, tmp_path: Path, *options: str, **how: Any) -> Locust:
    environment = stack.permission.environment()
    return Locust(tmp_path / "reports", environment, "--headless", *SHORT, *options, **how)


def check_the_record(locust: Locust, players: int) -> pd.DataFrame:
    """See that a finished run's record holds together; return its rows."""
    rows = locust.rows
    moves = rows[rows["kind"] == "transition"]
    games = moves.groupby("game", observed=True)["name"].agg(list)
    steps = ["waiting->briefing", "briefing->drawing", "drawing->voting", "voting->completed"]
    assert len(games) >= 2
    assert all(list(names) == steps for names in games), games
    # Every event of every game reached every player, exactly as often as there are players.
    heard = rows[rows["name"] == "phase_changed"]
    pairs = heard.drop_duplicates(["event", "actor"]).groupby("event", observed=True).size()
    assert set(pairs.index) == set(moves["event"])
    assert set(pairs) == {players}
    # The trigger and the outbox were seen for each of them.
    for kind in ("trigger", "publish"):
        assert set(rows.loc[rows["kind"] == kind, "event"]) == set(moves["event"])
    published = rows[rows["kind"] == "publish"]
    assert published["ok"].all()
    assert (published["end_ns"] >= published["intended_ns"]).all()
    # Who subscribed also left; a game that had not begun when its run ended has players, too.
    came, left = ((rows["name"] == name).sum() for name in ("subscribe", "unsubscribe"))
    assert came == left >= players * len(games)
    calls = rows[rows["kind"] == "http"]
    assert calls["ok"].all(), calls[~calls["ok"].astype(bool)]
    return rows


def test_every_game_is_played_to_its_end_and_every_player_hears_of_it(finished: Locust) -> None:
    check_the_record(finished, players=2)


def test_other_users_stand_beside_the_hosts(finished: Locust) -> None:
    assert re.search(r"GET +/health +[1-9]", finished.output)


def test_run_json_says_what_was_run(finished: Locust) -> None:
    document = json.loads((finished.run.path / "run.json").read_text(encoding="utf-8"))
    assert document["options"]["games"] == 4
    assert document["options"]["tick_s"] == 0.3
    assert document["options_from"]["tick"] == "the command line"
    assert "probe" not in document["options_from"], "left to its default"
    assert "not left to defaults: from the command line: games 4, players 2" in finished.output
    assert document["seed"] == 1
    assert document["missing"] == []
    assert document["interrupted"] is False
    assert [window["name"] for window in document["windows"]] == ["warm-up", "steady", "drain"]
    for before, after in zip(document["windows"], document["windows"][1:], strict=False):
        assert before["start_ns"] < before["end_ns"] <= after["start_ns"]


def test_cron_and_players_keep_their_schedules(finished: Locust) -> None:
    rows = finished.rows
    # An open loop: ticks are due exactly each 300 ms, whatever became of the last one.
    ticks = rows[rows["name"].isin(["tick", "skip"])].sort_values("intended_ns")
    assert gaps(ticks["intended_ns"]) == {300_000_000}
    # Timers are asked for on schedule.
    syncs = rows[rows["name"] == "POST /functions/v1/get-game-timer"].sort_values("intended_ns")
    for _, own in syncs.groupby(["game", "actor"], observed=True):
        assert gaps(own["intended_ns"]) <= {340_000_000}
    # What each answer told is in the record.
    told = rows[(rows["kind"] == "timer") & (rows["name"] == "told")]
    assert len(told) == syncs["ok"].sum()
    assert told.loc[told["target"] == "drawing", ["intended_ns", "value"]].notna().to_numpy().all()


def gaps(instants: pd.Series) -> set[int]:
    """Return the distances between following instants, in whole ns; `Series.diff` would round them."""
    return set(np.diff(instants.to_numpy("int64")).tolist())


def test_everybody_tells_of_itself_and_the_parts_are_watched(finished: Locust) -> None:
    rows = finished.rows
    readings = rows[rows["kind"] == "resource"]
    lagging = readings[readings["name"] == "loop_lag_ms"]
    assert set(lagging["actor"]) == {"load", "observer-1", "observer-watch"}
    busy = set(readings.loc[readings["name"] == "cpu_percent", "actor"])
    assert {"service-1", "postgres", "toxiproxy", "pubnub", "machine", "load"} <= busy
    of_the_service = set(readings.loc[readings["actor"] == "service-1", "name"])
    assert {"pool_in_use", "pool_size", "breaker_state", "outbox_depth"} <= of_the_service
    clocks = set(readings.loc[readings["name"] == "clock_offset_ms", "actor"])
    assert clocks == {"database", "pubnub"}
    assert (rows.loc[rows["kind"] == "health", "ok"]).all()


def test_no_secret_is_in_anything_that_a_run_leaves(stack: Stack, finished: Locust) -> None:
    left = [path for path in finished.reports.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(left) > 5
    for path in left:
        content = path.read_bytes()
        for secret in stack.target.secrets():
            assert secret.encode() not in content, path


def test_two_processes_share_the_games_of_one_run(stack: Stack, tmp_path: Path) -> None:
    port = str(free_port())
    options = ("--processes=2", "--no-report", f"--master-bind-port={port}", f"--master-port={port}")
    with play(stack, tmp_path, *options) as locust:
        locust.wait_for("steady")
        assert locust.wait() == 0, locust.output
        assert locust.nobody_is_left()
    rows = check_the_record(locust, players=2)
    names = {re.sub(r"-\d+$", "", path.stem) for path in locust.run.history.glob("*.arrow")}
    assert names == {"cron", "load-1", "load-2", "observer-1", "observer-2", "observer-watch"}
    assert set(locust.run.read().recorders) == names
    created = rows[rows["name"] == "POST /rest/v1/games"]
    assert created["game"].is_unique
    assert {actor.split("-")[1].split(".")[0] for actor in created["actor"]} == {"1", "2"}


def test_a_master_and_a_worker_started_by_hand_make_one_run(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    # The worker is told everything by its master: it has no target in its environment.
    worker = Locust(tmp_path / "elsewhere", {}, "--worker", f"--master-port={port}")
    with worker, play(stack, tmp_path, "--master", "--no-report", f"--master-bind-port={port}") as master:
        master.wait_for("warm-up")
        connections = psutil.Process(master.process.pid).net_connections("tcp")
        addresses = {one.laddr.ip for one in connections if one.laddr.port == port}
        assert addresses == {"127.0.0.1"}, "whoever joins is told the target's secrets"
        assert master.wait() == 0, master.output
        assert worker.wait() == 0, worker.output
    check_the_record(master, players=2)
    assert not (tmp_path / "elsewhere").exists()


def test_ctrl_c_keeps_what_was_seen_and_leaves_nobody(stack: Stack, tmp_path: Path) -> None:
    with play(stack, tmp_path, "--duration=1min") as locust:
        locust.wait_for("steady")
        time.sleep(2)
        os.killpg(locust.process.pid, signal.SIGINT)
        assert locust.wait() == 3, locust.output
        assert locust.nobody_is_left()
    assert locust.run.read().interrupted is True
    assert all(file.cut_off is None for file in read_history(locust.run.history).files)
    assert '"inconclusive"' in (locust.run.path / "report.json").read_text(encoding="utf-8")


def test_sigterm_ends_a_waiting_locust_once_and_without_a_traceback(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    options = ("--web-host=127.0.0.1", f"--web-port={port}")
    with Locust(tmp_path / "reports", stack.permission.environment(), *options) as locust:
        locust.wait_for("the web UI listens on")
        # It is ready for the first run, and waits for somebody to begin it.
        page_at(f"http://127.0.0.1:{port}", locust)
        locust.process.terminate()
        assert locust.wait() == 0, locust.output
    assert locust.output.count("Shutting down") == 1
    assert "Traceback" not in locust.output


def test_a_killed_locust_leaves_nobody_and_a_readable_record(stack: Stack, tmp_path: Path) -> None:
    port = str(free_port())
    options = ("--processes=2", "--no-report", f"--master-bind-port={port}", f"--master-port={port}")
    with play(stack, tmp_path, *options) as locust:
        locust.wait_for("steady")
        assert len(locust.family) >= 5, "two workers, their subscribers, the watch"
        locust.process.kill()
        locust.process.wait()
        assert locust.nobody_is_left()
    assert (locust.rows["name"] == "phase_changed").any()


def test_without_a_target_it_brings_its_own_and_judges(tmp_path: Path) -> None:
    with Locust(tmp_path / "reports", {}, "--headless", *SHORT) as locust:
        locust.wait_for("warm-up")
        # Ten seconds are too few to pass.
        assert locust.wait() in {1, 3}, locust.output
        assert locust.nobody_is_left()
    assert (locust.run.path / "report.json").exists()
    assert (locust.run.logs / "service-1.log").exists()
    assert "Timer accuracy" in locust.output


def test_a_disk_that_is_full_ends_the_record_not_the_run(stack: Stack, tmp_path: Path) -> None:
    # A limit on the size of files stands in for the disk: writes fail from then on.
    locust = [sys.executable, "-m", "locust", "-f", str(SCENARIO), "--headless", "--no-report", *SHORT]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 24; exec "$@"', "bash", *locust],
        env={**os.environ, **stack.permission.environment(), "STORMWATCH_REPORTS": str(tmp_path / "reports")},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENOUGH_S,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "File too large; the run goes on" in done.stderr
    run = open_run(tmp_path / "reports" / "latest")
    missing = {doubt.witness: doubt.reason for doubt in read_doubts(run.read().missing)}
    assert "load could not write its whole history" in missing[Witness.PLAYERS]
    assert read_history(run.history).table.num_rows > 0


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        ({"STORMWATCH_MAY_LOAD": ""}, [], "may not be loaded: set STORMWATCH_MAY_LOAD=127.0.0.1:"),
        ({"STORMWATCH_MAY_LOAD": "yes"}, [], "STORMWATCH_MAY_LOAD='yes' names no address"),
        (
            {"STORMWATCH_MAY_LOAD": "127.0.0.1:2"},
            ["--host=http://127.0.0.1:1"],
            "127.0.0.1:1 is no stack of ours and may not be loaded",
        ),
        ({}, ["--host=http://127.0.0.1:1"], "GET http://127.0.0.1:1/health: connection refused"),
        (
            {"SUPABASE_SERVICE_ROLE_KEY": "wrong"},
            [],
            "SUPABASE_SERVICE_ROLE_KEY is not the right one or not set, or a gateway",
        ),
        ({"CRON_SECRET": "wrong"}, [], "CRON_SECRET is not the right one, or a gateway"),
        ({"PUBNUB_ORIGIN": "http://127.0.0.1:1"}, [], "GET http://127.0.0.1:1/time/0: connection refused"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, [], "DATABASE_URL can't be read"),
        ({"CRON_SECRET": ""}, [], "CRON_SECRET is not set, and STORMWATCH_MAY_TICK has this run tick"),
        ({}, ["--reports=/proc/nowhere"], "can't write to /proc/nowhere"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_before_the_load_starts(
    stack: Stack, tmp_path: Path, changes: dict[str, str], options: list[str], named: str
) -> None:
    reports = tmp_path / "reports"
    consent = {"STORMWATCH_MAY_LOAD": "127.0.0.1:1"} if "--host=http://127.0.0.1:1" in options else {}
    environment = stack.permission.environment() | consent | changes
    with Locust(reports, environment, "--headless", *SHORT, *options) as locust:
        assert locust.wait() == 2, locust.output
    assert named in locust.output.splitlines()[-1]
    assert "Traceback" not in locust.output
    assert list(reports.glob("*")) == []


@pytest.mark.parametrize(
    ("options", "port_option", "who"),
    [
        (["--web-host=127.0.0.1"], "--web-port", "the web UI"),
        (
            ["--headless", "--processes=2", "--master-bind-host=127.0.0.1"],
            "--master-bind-port",
            "Locust's master",
        ),
    ],
)
def test_a_port_in_use_is_named(
    stack: Stack, tmp_path: Path, options: list[str], port_option: str, who: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = [*options, f"{port_option}={port}"]
        with Locust(tmp_path / "reports", stack.permission.environment(), *SHORT, *options) as locust:
            assert locust.wait() == 2, locust.output
    last = locust.output.splitlines()[-1]
    assert f"{who} can't listen on 127.0.0.1:{port}: Address already in use" in last
    assert port_option in last


def page_at(address: str, locust: Locust) -> str:
    """Return the page once it is served."""

    def page() -> str | None:
        assert locust.process.poll() is None, locust.output
        try:
            return requests.get(address, timeout=ENOUGH_S).text
        except requests.ConnectionError:
            return None

    return eventually(page, ENOUGH_S) or ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
