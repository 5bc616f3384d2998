"""`stormwatch fault mend` after a `stormwatch fault` that was really killed."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.faults import FaultError
from harness.faults.mend import mend
from harness.stack import RemoteStack, Stack, StackOptions, find_stack
from harness.stack.pubnub_control import PubNubControl
from harness.target import Target
from harness.tests.database_system import value
from harness.tests.helpers import eventually
from harness.tests.permitted import deployment

STORMWATCH = [sys.executable, "-m", "harness.cli"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(StackOptions()) as stack:
        yield stack


@pytest.fixture
def remote(stack: Stack) -> RemoteStack:
    return find_stack(stack.id)


@contextmanager
def breaking(stack: Stack, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A `stormwatch fault` in another process, once it is applied."""
    process = subprocess.Popen(
        [*STORMWATCH, "fault", "--stack", stack.id, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stderr is not None
    try:
        assert process.stderr.readline().startswith("on the local stack ")
        line = process.stderr.readline()
        assert "applied, until Ctrl-C" in line, line
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def killed(stack: Stack, *arguments: str) -> None:
    with breaking(stack, *arguments) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def query(stack: Stack, question: str) -> Any:
    return value(str(stack.target.database_url), question)


def is_mended(stack: Stack, remote: RemoteStack) -> bool:
    """Nothing is left, and looking again finds nothing more."""
    return list(mend(remote)) == [] and query(stack, "SHOW default_transaction_read_only") == "off"


def test_nothing_to_mend(stack: Stack, remote: RemoteStack) -> None:
    assert list(mend(remote)) == []
    done = subprocess.run(
        [*STORMWATCH, "fault", "--stack", stack.id, "mend"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout == "nothing was left to mend\n"


def test_a_killed_command_leaves_a_fault_and_mend_undoes_it(stack: Stack) -> None:
    killed(stack, "network:latency", "service-pubnub", "--direction", "both")
    killed(stack, "network:down", "players-pubnub")
    assert not stack.proxies.get("players-pubnub").enabled
    assert len(stack.proxies.get("service-pubnub").toxics) == 2
    done = subprocess.run(
        [*STORMWATCH, "fault", "--stack", stack.id, "mend"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "proxy players-pubnub was down: up again"
    assert [line.partition(": toxic latency-")[0] for line in lines[1:]] == ["proxy service-pubnub"] * 2
    assert stack.proxies.get("players-pubnub").enabled
    assert stack.proxies.get("service-pubnub").toxics == ()


def test_toxics_of_others_are_left_alone(stack: Stack, remote: RemoteStack) -> None:
    stack.proxies.add_toxic("load-service", "mine", "latency", {"latency": 1, "jitter": 0})
    try:
        assert list(mend(remote)) == []
        assert stack.proxies.get("load-service").toxics == ("mine",)
    finally:
        stack.proxies.remove_toxic("load-service", "mine")


def test_rules_of_the_emulator_are_removed(stack: Stack, remote: RemoteStack) -> None:
    killed(stack, "pubnub:status", "publish", "--status", "500")
    assert list(mend(remote)) == ["PubNub emulator: rule status on publish removed"]
    target = stack.target
    control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
    assert not any(rule.active for rule in control.rules())


def test_paused_and_missing_parts_are_back(stack: Stack, remote: RemoteStack) -> None:
    killed(stack, "process:pause", "service-1")
    assert psutil.Process(stack.pid("service-1")).status() == psutil.STATUS_STOPPED
    assert list(mend(remote)) == ["service-1 was paused: goes on"]
    assert psutil.Process(stack.pid("service-1")).status() != psutil.STATUS_STOPPED
    killed(stack, "database:crash")
    killed(stack, "process:terminate", "service-1")
    eventually(lambda: stack.pid("service-1") is None)
    assert sorted(mend(remote)) == ["postgres was down: started again", "service-1 was down: started again"]
    assert query(stack, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("arguments", "told", "left"),
    [
        (
            ["database:slow-statements"],
            r"database: trigger stormwatch_fault_\w+ on games removed",
            "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'stormwatch%'",
        ),
        (
            ["tick:slow"],
            r"database: trigger stormwatch_fault_\w+ on games removed",
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'stormwatch%'",
        ),
        (
            ["database:connections"],
            r"database: user stormwatch_outsider_\w+ removed",
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'stormwatch_outsider%'",
        ),
        (
            ["database:read-only"],
            "database: was read-only, may be written again",
            "SELECT count(*) FROM pg_file_settings WHERE name = 'default_transaction_read_only'",
        ),
        (
            ["database:trigger-dropped"],
            r"database: undone by DROP TRIGGER IF EXISTS game_status_change_trigger ON games; CREATE TRIGGER",
            "SELECT 1 - count(*) FROM pg_trigger WHERE tgname = 'game_status_change_trigger'",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_left_in_the_database_is_removed(
    stack: Stack, remote: RemoteStack, arguments: list[str], told: str, left: str
) -> None:
    killed(stack, *arguments)
    assert query(stack, left) >= 1
    assert [line for line in mend(remote) if re.match(told, line)]
    assert query(stack, left) == 0
    eventually(lambda: is_mended(stack, remote))


def test_sessions_that_hold_something_are_ended(stack: Stack, remote: RemoteStack) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 8462001"
    with breaking(stack, "database:advisory-lock") as process:
        # Stopped, not ended: its sessions stay open, as those of a machine that was cut off do.
        process.send_signal(signal.SIGSTOP)
        assert query(stack, held) == 1
        assert list(mend(remote)) == ["database: 2 sessions ended that faults had left open"]
        assert query(stack, held) == 0


def test_flags_are_turned_back(stack: Stack, remote: RemoteStack) -> None:
    killed(stack, "service:flag-off", "ENABLE_GRACE_PERIOD")
    assert list(mend(remote)) == ["flags: ENABLE_GRACE_PERIOD=false removed"]
    assert "GRACE" not in Path(str(stack.target.flags_file)).read_text(encoding="utf-8")


def test_a_closed_terminal_undoes_the_fault(stack: Stack, remote: RemoteStack) -> None:
    with breaking(stack, "network:down", "players-pubnub") as process:
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 128 + signal.SIGHUP
    assert list(mend(remote)) == []


def test_what_can_be_reached_is_mended_and_the_rest_is_named(stack: Stack) -> None:
    killed(stack, "database:read-only")
    environment = stack.target.environment() | {"STORMWATCH_TOXIPROXY_URL": "http://127.0.0.1:1"}
    lines: list[str] = []
    with pytest.raises(FaultError, match=r"Toxiproxy at http://127.0.0.1:1 does not answer"):
        lines.extend(mend(deployment(Target.from_environment(environment))))
    assert lines == ["database: was read-only, may be written again"]


def test_mend_is_explained() -> None:
    shown = subprocess.run(
        [*STORMWATCH, "fault", "--help"], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    assert "Undo what was left broken by a `stormwatch fault` that was killed" in shown
