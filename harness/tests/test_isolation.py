"""No test reaches anything but what it started, whatever the environment says; and none leaves anything."""

import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import platformdirs
import pytest

from harness.files import CACHE_VARIABLE
from harness.stack.control import stacks_folder
from harness.stack.folders import cache_folder
from harness.target import ENVIRONMENT
from harness.tests import isolation
from harness.tests.isolation import PROJECT, are_a_users_scenarios

pytest_plugins = ["pytester"]

NAMES = [
    *ENVIRONMENT,
    *("STORMWATCH_MAY_LOAD", "STORMWATCH_MAY_BREAK", "STORMWATCH_REPORTS", "STORMWATCH_RUN_DIR"),
    *("LOCUST_HOST", "LOCUST_LOCUSTFILE", "PGHOST", "PGSERVICE", "ALERT_WEBHOOK_URL"),
    *("HTTP_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "A_NAME_THAT_NOBODY_KNOWS"),
]

#: Speaks to every address that a test, or a child of a test, is told of.
CURIOUS = """
import os, re, socket, subprocess, sys

LOOK = '''
import os, re, socket
for value in os.environ.values():
    for host, port in re.findall(r"(127[.]0[.]0[.]1):([0-9]+)", value):
        socket.create_connection((host, int(port))).close()
'''

def test_it():
    exec(LOOK)
    subprocess.run([sys.executable, "-c", LOOK], check=True)
"""


class Sink:
    """A system that is none of the tests' business; it counts who came."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def visits(self) -> int:
        """Return how many connections were made since the last call."""
        for visits in itertools.count():
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return visits
        raise AssertionError

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


def run(test: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one test under this project's own configuration, with no more plugins than that names."""
    test.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml"), str(test)]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"],
        cwd=test.parent,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def test_tests_and_their_children_are_told_of_no_system(sink: Sink, tmp_path: Path) -> None:
    described = dict.fromkeys(NAMES, f"http://user:password@127.0.0.1:{sink.port}/")
    done = run(tmp_path / "test_curious.py", CURIOUS, **described)
    assert done.returncode == 0, done.stdout
    assert sink.visits() == 0


def test_what_a_name_that_is_kept_describes_would_be_noticed(sink: Sink, tmp_path: Path) -> None:
    done = run(tmp_path / "test_curious.py", CURIOUS, COLORTERM=f"127.0.0.1:{sink.port}")
    assert done.returncode == 0, done.stdout
    assert sink.visits() == 2


def test_no_name_that_describes_a_target_is_kept() -> None:
    # `NO_PROXY=*` is what the harness itself sets, so that nobody takes a proxy.
    assert [name for name in NAMES if os.environ.get(name, "*") != "*"] == []


def test_sessions_that_tests_start_load_no_generator_of_requests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "def test_it(pytestconfig): assert not pytestconfig.pluginmanager.hasplugin('schemathesis')"
    )
    assert pytester.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_what_a_test_leaves_in_its_temporary_folder_fails_the_session(tmp_path: Path) -> None:
    text = """
import tempfile
import harness.tests.isolation

harness.tests.isolation._REAPERS_LIMIT_S = 0.0

def test_it(tmp_path):
    (tmp_path / "kept").touch()
    tempfile.mkdtemp(prefix="forgotten-")
"""
    done = run(tmp_path / "test_untidy.py", text)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in done.stdout
    assert "tests left in their temporary folder: forgotten-" in done.stdout


def test_no_worker_finds_the_stacks_of_another_and_all_use_what_was_built_once(
    worker_id: str,
) -> None:
    own = Path(tempfile.gettempdir()) / f"cache-{worker_id.replace('master', 'main')}"
    assert stacks_folder() == own / "stacks"
    assert not cache_folder("toxiproxy").resolve().is_relative_to(tempfile.gettempdir())


@pytest.mark.parametrize("user", [0, 1000], ids=["root", "anybody"])
def test_on_a_fresh_machine_every_folder_that_workers_share_can_be_used(
    user: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(platformdirs, "site_cache_path", lambda _: tmp_path / "site")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "fresh"))
    isolation._use_own_cache(cast("pytest.Config", SimpleNamespace(stash={})))
    for name in ("toxiproxy", "ports", "sdks", "vega", "postgres", "postgres-data"):
        folder = cache_folder(name).resolve(strict=True)
        assert folder == tmp_path / ("site" if name.startswith("postgres") and not user else "fresh") / name


@pytest.mark.parametrize(
    ("arguments", "theirs"),
    [
        (["scenarios/failure"], True),
        (["scenarios/failure/test_chaos.py::test_it"], True),
        (["scenarios/failure", "harness"], False),
        (["scenarios"], False),
        (["harness/tests/test_isolation.py::test_it"], False),
    ],
)
def test_failure_scenarios_alone_see_the_system_that_they_are_for(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, arguments: list[str], theirs: bool
) -> None:
    monkeypatch.setattr(pytestconfig, "args", [str(PROJECT / argument) for argument in arguments])
    assert are_a_users_scenarios(pytestconfig) is theirs
