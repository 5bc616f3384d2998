"""`stormwatch run`, as a user types it, on a small scale: a report, an exit code, and nothing left behind."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from harness.commands.run import _asks_for_failures, _repeating
from harness.commands.run import command as run_command
from harness.history.command import command_line, with_seed
from harness.load.options import load_options
from harness.sla.policy import load_policy
from harness.target import Target
from harness.tests.helpers import eventually
from harness.tests.test_load_options import parse

with pytest.MonkeyPatch.context() as patch:
    # gevent must not take over this process.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    from harness.load.reporting import repeating_command

SMALL = ["--games=3", "--players=2", "--briefing=1s", "--drawing=1s", "--voting=1s", "--tick=500ms"]


def command(reports: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "run", "--reports", str(reports), *arguments]


def ran(reports: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = command(reports, *arguments)
    return subprocess.run(line, capture_output=True, check=False, encoding="utf-8")


def descendants(marker: Path) -> list[psutil.Process]:
    """Return the processes of a run: all that name its reports folder, or descend from one that does."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(
                str(marker) in part
                for part in [*process.cmdline(), process.environ().get("STORMWATCH_RUN_DIR", "")]
            ):
                found += [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def eventually_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those of ``processes`` that outlive the time they have to end."""
    return psutil.wait_procs(processes, timeout=20)[1]


def wait_for_window(reports: Path, name: str, run: str = "*", within_s: float = 60) -> None:
    def declared() -> bool:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in reports.glob(f"{run}/run.json")]
        return any(name == window["name"] for run in runs for window in run.get("windows", []))

    eventually(declared, within_s, otherwise=lambda: f"no {name} window in time")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], False),
        (["-k", "flap"], True),
        (["--scenarios", "all"], True),
        (["--no-load"], True),
        (["--local"], False),
    ],
)
def test_failures_that_a_profile_leaves_out_run_where_they_are_asked_for(
    words: list[str], *, asked: bool
) -> None:
    assert not load_policy().profiles["smoke"].failures
    with run_command.make_context("run", ["--profile", "smoke", *words]) as context:
        assert _asks_for_failures(context) == asked


def test_a_small_run_says_that_it_is_too_small(tmp_path: Path) -> None:
    # An unpacked report of an older run must not be taken for this one's.
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "report.json").write_text("older", encoding="utf-8")
    done = ran(tmp_path, "--no-failures", "--", *SMALL, "--duration=4s")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Too few samples to decide" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1].startswith("exit code 3, neither pass nor fail: each row marked ?")
    report = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "inconclusive"
    assert (tmp_path / "latest-1" / "report.json").read_text(encoding="utf-8") == "older"
    assert {row["name"]: row["samples"] for row in report["objectives"]}["timer_accuracy"] > 0
    assert all(row["verdict"] != "fail" for row in report["integrity"])
    assert eventually_gone(descendants(tmp_path)) == []
    options = ["--duration=4s", f"--seed={report['run']['seed']}"]
    expected = ["stormwatch", "run", "--reports", str(tmp_path), "--no-failures", "--", *SMALL, *options]
    assert sorted(shlex.split(report["run"]["command"])) == sorted(expected)
    assert f"Again: `{report['run']['command']}`" in (tmp_path / "latest" / "report.md").read_text(
        encoding="utf-8"
    )


def test_ctrl_c_ends_early_and_judges_what_was_seen(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--", *SMALL, "--duration=10min"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as run:
        wait_for_window(tmp_path, "steady")
        time.sleep(2)
        started = descendants(tmp_path)
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=60)[0]
    assert run.returncode == 3, output
    report = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "inconclusive"
    assert report["run"]["interrupted"] is True
    assert "Traceback" not in output
    assert eventually_gone(started) == []


def test_a_soak_that_is_interrupted_is_judged_part_by_part_so_far(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--parts=3", "--no-failures", "--", *SMALL, "--duration=2s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    ) as run:
        wait_for_window(tmp_path, "steady", run="*/parts/part-2", within_s=180)
        started = descendants(tmp_path)
        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=90)[0]
    assert run.returncode == 3, output
    assert "part 1 of 3: inconclusive" in output
    assert "part 3 of 3" not in output
    latest = tmp_path / "latest"
    parts = sorted(path.parent.name for path in latest.glob("parts/part-*/report.json"))
    assert parts == ["part-1", "part-2"]
    report = json.loads((latest / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["run"]["interrupted"]) == ("inconclusive", True)
    assert eventually_gone(started) == []


def test_kill_9_leaves_no_process_and_a_history_that_can_be_judged(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--", *SMALL, "--duration=10min"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        wait_for_window(tmp_path, "steady")
        time.sleep(2)
        started = descendants(tmp_path)
        assert len(started) > 5
        os.kill(run.pid, signal.SIGKILL)
    assert eventually_gone(started) == []
    # `latest` leads to it from its beginning.
    (folder,) = {path.parent.resolve() for path in tmp_path.glob("*/run.json")}
    again = [sys.executable, "-m", "harness.cli", "report", str(folder)]
    assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--", "--tick=fast"], "--tick"),
        (["--", "--host=http://127.0.0.1:9"], "STORMWATCH_MAY_LOAD"),
        (["--prometheus", "http"], "--prometheus: 'http' is neither a port"),
        (["--", "--gamez=5"], "Did you mean '--games'?"),
        (["smoke"], "'smoke' is no option (a profile is named by --profile"),
        (["--no-load", "--", "--games=5"], "--no-load leaves nothing to take --games=5"),
    ],
)
def test_wrong_usage_of_the_load_is_named_before_anything_starts(
    tmp_path: Path, options: list[str], named: str
) -> None:
    done = ran(tmp_path, *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_options_of_the_load_are_listed(tmp_path: Path) -> None:
    assert "--wave-every" in ran(tmp_path, "--", "--help").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-k", "refusd"], " scenarios marked main; near are test_refused"),
        (["-k", "chaos"], "it matches some of all scenarios: add --scenarios all"),
        (["-k", "pubnub and (", "--scenarios", "all"], "-k 'pubnub and (': Wrong expression"),
    ],
)
def test_an_expression_that_selects_nothing_is_said_after_one_collection_before_anything_starts(
    tmp_path: Path, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: started.append(args) or run(*args, **more))
    done = CliRunner().invoke(run_command, ["--reports", str(tmp_path), *options])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []
    assert len(started) == 1


def test_scenarios_are_listed_with_their_titles_and_nothing_starts(tmp_path: Path) -> None:
    arguments = ["--reports", str(tmp_path), "--list", "--scenarios=all", "-k", "cut_off or test_refused"]
    done = CliRunner().invoke(run_command, arguments)
    assert done.exit_code == 0, done.output
    names, titles = zip(*(line.split("  ", 1) for line in done.output.splitlines()), strict=True)
    assert {"test_refused", "test_players_cut_off"} <= set(names)
    assert all(title.endswith(".") for title in titles)
    assert list(tmp_path.iterdir()) == []


# --- the command that does it again ----------------------------------------------------------------------


def again_of(*arguments: str, seed: int | None = 7) -> str:
    return _repeating(run_command.make_context("run", list(arguments)), seed)


def test_a_run_is_done_again_with_the_options_it_was_given_and_its_seed() -> None:
    assert again_of() == "stormwatch run -- --seed=7"
    assert again_of("--no-load", "-k", "pubnub and not flap", seed=None) == (
        "stormwatch run --no-load -k 'pubnub and not flap'"
    )
    found = again_of("--profile=soak", "--no-gate", "--", "--games", "5", "--seed", "random")
    assert found == "stormwatch run --profile soak --no-gate -- --games 5 --seed=7"


def test_what_the_environment_says_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORMWATCH_REPORTS", "/home/me/reports")
    assert again_of() == "stormwatch run -- --seed=7"


@pytest.mark.parametrize("given", [["--seed", "3"], ["--seed=3"], ["--seed=random", "--seed", "3"]])
def test_the_seed_that_was_drawn_stands_for_the_one_that_was_asked_for(given: list[str]) -> None:
    assert with_seed(["--games=5", *given], 7) == ["--games=5", "--seed=7"]
    assert with_seed(["--games=5", *given], None) == ["--games=5", *given]


@pytest.mark.parametrize(
    "address", ["https://me:s3cret@host/path", "https://s3cret@host/path", "https://me:s3@cret@host/path"]
)
def test_no_secret_of_an_address_gets_into_it(address: str) -> None:
    assert command_line(["run", f"--host={address}"]) == "run --host=https://host/path"
    assert "cret" not in again_of("--", "--host", address)


def test_a_load_alone_is_done_again_with_all_that_was_left_to_defaults_or_chance() -> None:
    stack = Target("http://127.0.0.1:1", "a-key", "a-secret", "demo", origin="embedded")
    given = parse("-f", "scenarios/concurrent_games.py", "--games=7", "--briefing=250ms", "--users=9")
    options = load_options(given)
    words = shlex.split(repeating_command(options, stack, given))
    assert words[:4] == ["locust", "-f", "scenarios/concurrent_games.py", "--headless"]
    repeated = load_options(parse(*words[3:]))
    assert repeated == dataclasses.replace(options, sync_s=pytest.approx(options.sync_s))
    assert repeated.games == 9


def test_a_load_on_a_deployment_names_it_and_no_key() -> None:
    there = Target(
        "https://stage.example", "a-key", "a-secret", "demo", database_url="postgres://u:pa55word@h/d"
    )
    options = load_options(parse("--run-time=5m", "--processes=2"))
    found = repeating_command(options, there, parse("-f", "my games.py", "--processes=2"))
    assert found.startswith("locust -f 'my games.py' --headless ")
    assert "--host=https://stage.example --processes=2" in found
    assert "--run-time=300s" in found
    assert not any(secret in found for secret in [*there.secrets(), "pw@"])


def test_an_option_of_the_load_as_a_report_advises_it_is_told_where_it_goes() -> None:
    done = CliRunner().invoke(run_command, ["--duration", "10min"])
    assert done.exit_code == 2
    assert "go after `--`: stormwatch run -- --duration ..." in done.output


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "--gamez",
            "Did you mean '--games'? The load's options go after `--`: stormwatch run -- --games ...",
        ),
        ("--user", "go after `--`: stormwatch run -- --user ..."),
        ("--gat", "Did you mean '--gate'?\n"),
        ("--profil", "Did you mean '--profile'?\n"),
    ],
)
def test_the_nearest_of_all_options_is_named(given: str, told: str) -> None:
    done = CliRunner().invoke(run_command, [given, "5"])
    assert done.exit_code == 2
    assert told in done.output


def test_an_option_of_the_command_among_those_of_the_load_is_told_where_it_goes(tmp_path: Path) -> None:
    done = CliRunner().invoke(run_command, ["--reports", str(tmp_path), "--", "--no-failures"])
    assert done.exit_code == 2
    assert "--no-failures stands before `--`: it is no option of the load" in done.output
    assert list(tmp_path.iterdir()) == []
