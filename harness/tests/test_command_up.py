"""`stormwatch up`, `doctor` and `fault` as their users see them: real processes, real signals."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import psutil
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands.doctor import Finding, _guarded, _target
from harness.history import create_run, read_history
from harness.stack.ports import is_free
from harness.target import Action, Target
from harness.target.consent import ask
from harness.tests.helpers import eventually

STORMWATCH = [sys.executable, "-m", "harness.cli"]


@contextmanager
def up(cache: Path | None = None, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A `stormwatch up` in a terminal's place: a process group of its own."""
    process = subprocess.Popen(
        [*STORMWATCH, "up", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def document_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read the JSON document that it prints, up to its last line."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise AssertionError(f"it ended: {process.stderr.read() if process.stderr else ''}")


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STORMWATCH, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | more,
        timeout=90,
        encoding="utf-8",
    )


def refused(*arguments: str) -> str:
    """Run a command that has to be refused as wrong usage, here; return its last line."""
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    return result.output.splitlines()[-1]


def assert_gone(document: dict[str, Any]) -> None:
    """Nothing is left of a stack: no process, no port, no folder."""
    for name, part in document["parts"].items():
        eventually(lambda pid=part["pid"]: not psutil.pid_exists(pid))
        assert is_free(int(part["endpoint"].split(":")[1])), name
        eventually(lambda log=part["log"]: not Path(log).parent.exists())
    for proxy in document["proxies"].values():
        assert is_free(int(proxy["listen"].split(":")[1]))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=lambda value: getattr(value, "name", None),
)
def test_leaves_nothing_behind_however_it_ends(number: int, code: int) -> None:
    with up(None, "--json") as process:
        document = document_of(process)
        assert all(psutil.pid_exists(part["pid"]) for part in document["parts"].values())
        assert not any("_MAY_" in name for name in document["environment"]), "nobody asked for consent"
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert_gone(document)


def test_ctrl_c_in_mid_start_leaves_nothing_behind() -> None:
    with up(None, "--json") as process:
        eventually(lambda: len(psutil.Process(process.pid).children()) >= 3)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    eventually(lambda: not [child for child in children if child.is_running()])


def test_env_can_be_sourced_by_a_shell() -> None:
    with up(None, "--env", "--consent") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        settings = {action.setting for action in Action}
        while not settings <= {line.partition("=")[0] for line in lines}:
            lines.append(process.stdout.readline())
        script = "".join(lines) + 'printf "%s\\n" "$SUPABASE_URL" "$DATABASE_URL" "$PUBNUB_ORIGIN"'
        shell = subprocess.run(
            ["sh", "-euc", script], capture_output=True, text=True, check=True, encoding="utf-8"
        )
        service, database, pubnub = shell.stdout.split()
        with urllib.request.urlopen(f"{pubnub}/time/0") as answer:
            assert json.loads(answer.read())[0] > 0
        assert service.startswith("http://127.0.0.1:")
        assert database.startswith("postgresql://")
        names = {line.split("=")[0] for line in lines}
        assert names >= {"SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "CRON_SECRET", "DATABASE_URL"}
        assert all(len(shlex.split(line)) == 1 for line in lines)
        # With it, the guard lets through what was pointed at this very stack.
        environment = dict(shlex.split(line)[0].split("=", 1) for line in lines)
        target = Target.from_environment(environment)
        assert ask(target, list(Action), environment=environment, say=lambda _: None).target == target


def test_consent_is_printed_for_a_shell_or_not_at_all() -> None:
    done = run("up", "--consent")
    assert done.returncode == 2
    assert "--consent prints nothing by itself: add --env or --json" in done.stderr


def test_the_table_shows_each_part_and_no_secret() -> None:
    with up() as process:
        assert process.stdout is not None
        shown = ""
        while "`stormwatch down` ends it" not in shown:
            shown += process.stdout.readline()
    for name in (
        "postgres",
        "toxiproxy",
        "pubnub",
        "service-1",
        "load-service",
        "players-pubnub",
        "ready in",
    ):
        assert name in shown
    assert "postgresql://" not in shown


def test_wrong_options_are_one_line_and_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBNUB_PUBLISH_KEY", raising=False)
    monkeypatch.delenv("PUBNUB_SUBSCRIBE_KEY", raising=False)
    for arguments, words in (
        (["--replicas", "0"], "0 is not in the range"),
        (["--service-env", "nonsense"], "'nonsense' is not NAME=VALUE"),
        (["--max-connections", "many"], "'many' is not a valid integer"),
        (["--real-pubnub"], "not set: PUBNUB_PUBLISH_KEY, PUBNUB_SUBSCRIBE_KEY"),
    ):
        assert words in refused("up", *arguments)


def test_a_machine_without_toxiproxy_and_no_way_to_get_it(tmp_path: Path) -> None:
    done = run("up", TOXIPROXY_BIN=str(tmp_path / "gone"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Toxiproxy: TOXIPROXY_BIN=")
    assert len(done.stderr.splitlines()) == 1


def test_a_cache_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("up", STORMWATCH_CACHE=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "set STORMWATCH_CACHE to another place" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_every_part_well() -> None:
    done = run("doctor", "--json")
    findings = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert list(findings) == ["Python", "folders", "Postgres", "Toxiproxy", "PubNub", "system", "service"]
    assert [finding["note"] for finding in findings.values() if not finding["works"]] == []
    assert done.returncode == 0
    assert findings["Toxiproxy"]["version"] == "2.12.0"
    assert "its API has no secret: every user of this machine (" in findings["Toxiproxy"]["note"]
    assert "SDK was told the time" in findings["PubNub"]["note"]


def test_doctor_names_what_does_not_work_and_the_way_out(tmp_path: Path) -> None:
    done = run("doctor", "--json", TOXIPROXY_BIN="/bin/true", PG_BIN=str(tmp_path))
    findings = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert not findings["Toxiproxy"]["works"]
    assert "set it to a toxiproxy-server, or unset it" in findings["Toxiproxy"]["note"]
    assert not findings["Postgres"]["works"]
    assert "PG_BIN" in findings["Postgres"]["note"]
    assert findings["PubNub"]["works"]
    assert findings["service"]["note"] == "not tried: it needs Postgres, Toxiproxy"


def test_that_no_system_is_named_is_a_row_of_doctors_unless_one_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_named(named: str | None) -> None:
        raise click.UsageError("no system is named")

    row = Finding("system", "", "", False, "no system is named")
    monkeypatch.setattr("harness.commands.doctor.use_system", none_named)
    monkeypatch.setattr("harness.commands.doctor.examine", lambda: [row])
    for arguments, code in (([], 1), (["--system", "none.py"], 2), (["--games", "5"], 2)):
        done = CliRunner().invoke(main, ["doctor", *arguments])
        assert (done.exit_code, "no system is named" in done.output) == (code, True), done.output


def test_doctor_names_the_setting_of_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for variable in ("STORMWATCH_REPORTS", "STORMWATCH_CACHE"):
        done = run("doctor", "--json", **{variable: str(tmp_path / "file" / "folder")}, PG_BIN="/nowhere")
        (folders,) = [finding for finding in json.loads(done.stdout) if finding["part"] == "folders"]
        assert (done.returncode, folders["works"]) == (1, False)
        assert f"set {variable}" in folders["note"]


def test_doctor_looks_at_the_deployment_that_the_environment_names() -> None:
    keys = {"SUPABASE_SERVICE_ROLE_KEY": "key", "CRON_SECRET": "s", "PUBNUB_SUBSCRIBE_KEY": "demo"}
    asked: list[str] = []
    refused = False

    class Deployment(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(401 if refused and self.path.startswith("/rest") else 200)
            self.end_headers()
            healthy = b'{"status": "healthy", "checks": {}}'
            self.wfile.write(b"[]" if self.path.startswith("/rest") else healthy)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Deployment) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**keys, "SUPABASE_URL": address}.items():
                patch.setenv(name, value)
            patch.delenv("DATABASE_URL", raising=False)
            found = _target()
            assert (found.part, found.works, found.source) == ("target", True, f"SUPABASE_URL {address}")
            assert found.note == "answers, takes the key"
            assert [path.partition("?")[0] for path in asked] == ["GET /health", "GET /rest/v1/games"]
            refused = True
            note = "GET /rest/v1/games answered 401: SUPABASE_SERVICE_ROLE_KEY is not the right one"
            assert note in _guarded("target", _target).note
        server.shutdown()


def test_doctor_says_how_to_get_a_toxiproxy_that_is_not_there(tmp_path: Path) -> None:
    done = run("doctor", STORMWATCH_CACHE=str(tmp_path), PATH="/bin:/usr/bin", COLUMNS="200")
    assert done.returncode == 1
    assert "python -m harness.stack`" in done.stdout


def test_faults_against_a_running_stack(tmp_path: Path) -> None:
    """One stack for all of it: they take their time to start."""
    recorded = create_run(tmp_path, "by-hand")
    with up(None, "--json", "--replicas=2", "--toxiproxies=2") as process:
        document = document_of(process)
        assert {"toxiproxy", "toxiproxy-2", "service-2"} <= set(document["parts"])

        def fault(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
            return run("fault", "--stack", document["id"], *options, *arguments)

        into = ("--run", str(recorded.path))
        done = fault("process:kill", "service-2", "--for", "300ms", options=into)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            0,
            "process:kill service-2: undone; it was exercised",
        )
        rows = read_history(recorded.history).table.to_pylist()
        assert [(row["kind"], row["name"], row["target"], row["ok"]) for row in rows] == [
            ("fault", "kill", "service-2", None),
            ("fault", "kill", "service-2", True),
        ]
        assert rows[0]["event"] == rows[1]["event"]
        assert rows[1]["end_ns"] - rows[1]["start_ns"] >= 0.3e9

        done = fault("network:latency", "load-service-2", "--for", "100ms")
        assert done.returncode == 1
        assert "was not exercised: nobody was connected" in done.stderr

        done = fault("network:down", "nowhere", "--for", "1s")
        assert done.returncode == 1
        assert "no proxy 'nowhere'; there are load-service, load-service-2," in done.stderr.splitlines()[-1]

        breaking = subprocess.Popen(
            [*STORMWATCH, "fault", "--stack", document["id"], "process:pause", "service-1"],
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        service = psutil.Process(document["parts"]["service-1"]["pid"])
        assert breaking.stderr is not None
        assert breaking.stderr.readline().startswith("on the local stack ")
        assert breaking.stderr.readline() == "process:pause service-1: applied, until Ctrl-C\n"
        assert service.status() == psutil.STATUS_STOPPED
        breaking.send_signal(signal.SIGINT)
        assert breaking.wait(20) == 0
        breaking.communicate()
        assert service.status() != psutil.STATUS_STOPPED

        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert_gone(document)


def test_wrong_faults_are_one_line_and_exit_2() -> None:
    for arguments, words in (
        (["network:latncy", "load-service"], "no fault 'network:latncy': there are network:bandwidth,"),
        (["network:latency", "load-service", "--latency", "2"], "'2' is not a duration"),
        (["network:latency", "load-service", "--latency", "99h"], "longer than 60 minutes"),
        (["network:latency", "load-service", "--share", "0%"], "--share: '0%' is nothing"),
        (["network:latency", "load-service", "--share", "120%"], "over 100%"),
        (["network:latency", "load-service", "--for", "soon"], "--for: 'soon' is not a duration"),
        (["network:latency", "load-service", "--for", "-1s"], "--for: '-1s' is not a duration"),
        (["network:bandwidth", "load-service", "--kilobytes", "0"], "0 is not a whole number from 1"),
        (["network:latency"], "Missing argument 'TARGET'"),
    ):
        assert words in refused("fault", *arguments)


def test_an_unknown_stack_is_named() -> None:
    done = run("fault", "--stack", "nosuch", "process:kill", "service-1")
    assert done.returncode == 2
    assert "no stack 'nosuch' is running" in done.stderr


def test_the_list_of_faults_teaches() -> None:
    shown = run("fault", "--list").stdout
    for name in ("network:latency", "database:connections", "process:pause", "pubnub:"):
        assert name in shown
    usage = run("fault", "--help").stdout
    assert "stormwatch fault network:latency service-postgres --latency 2s --jitter 100ms --for 10s" in usage


# --- ending a stack --------------------------------------------------------------------------------------


def test_a_stack_in_a_scripts_background_is_ended_by_down_even_in_a_long_tmpdir(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{shlex.join(STORMWATCH)} up --json & wait"],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as script:
        document = document_of(script)
        try:
            (owner,) = psutil.Process(script.pid).children()
            owner.send_signal(signal.SIGINT)
            done = run("down", "--stack", document["id"])
        finally:
            os.killpg(script.pid, signal.SIGTERM)
        script.communicate(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"stack {document['id']} (pid {owner.pid}) ended\n"
    assert_gone(document)
    assert list(folder.iterdir()) == []


def test_down_says_that_no_stack_is_running(tmp_path: Path) -> None:
    done = run("down", STORMWATCH_CACHE=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "no stack is running\n")
    done = run("down", "--stack", "x", STORMWATCH_CACHE=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "Error: no stack 'x' is running\n")


@pytest.mark.parametrize(
    ("owners", "code", "said"),
    [
        ({"a": "up", "b": "run"}, 0, "stack a (pid 1) ended"),
        ({"b": "run"}, 2, "no stack of `stormwatch up` is running: --stack b ends that of"),
        ({"a": "up", "c": "up"}, 1, "choose by --stack one of"),
    ],
)
def test_down_ends_no_run_that_is_not_named(
    owners: dict[str, str], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {number: ["stormwatch", word] for number, word in enumerate(owners.values(), start=1)}
    stacks = [SimpleNamespace(id=id, owner=number) for number, id in enumerate(owners, start=1)]
    ended: list[int] = []

    class Owner(SimpleNamespace):
        def __init__(self, pid: int) -> None:
            super().__init__(cmdline=lambda: ["python", *numbers[pid]], wait=lambda _: None)
            self.terminate = lambda: ended.append(pid)

    monkeypatch.setattr("harness.stack.control.running_stacks", lambda: stacks)
    monkeypatch.setattr("harness.stack.running_stacks", lambda: stacks)
    monkeypatch.setattr(psutil, "Process", Owner)
    done = CliRunner().invoke(main, ["down"])
    assert (done.exit_code, said in done.output) == (code, True), done.output
    assert ended == ([1] if code == 0 else [])


# --- usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["rnu"], "run"),
        (["run", "--profil=quick"], "--profile"),
        (["up", "--replica=2"], "--replicas"),
        (["fault", "network:latncy"], "network:latency"),
        (["compare", "a", "--tolerence=1%"], "--tolerance"),
    ],
)
def test_wrong_usage_names_the_nearest_right_one(arguments: list[str], nearest: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "did you mean" in done.output.splitlines()[-1].lower()
    assert nearest in done.output.splitlines()[-1]
