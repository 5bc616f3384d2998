"""pytest plugin of this project's own tests: they reach only what they start, and leave nothing behind.

Loaded by the options in ``pyproject.toml``, for every folder of tests, before any other plugin looks at the
environment. Failure scenarios that are run alone are a user's tool: what they may reach is the consent
guard's to say.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import platformdirs
import pytest

from harness.files import CACHE_VARIABLE
from harness.stack.folders import cache_folder

PROJECT: Final = Path(__file__).parents[2]
#: The scenarios that users run against systems of theirs.
_SCENARIOS: Final = PROJECT / "scenarios" / "failure"

#: All that tests and their children see of the environment: what makes programs run here. Nothing that
#: describes a system is among it, be the name the harness's, Locust's, a database client's or a new one.
KEPT: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "CI"),
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV", "UPDATE_GOLDEN"),
        *("PG_BIN", "TOXIPROXY_BIN", "STORMWATCH_CACHE", "STORMWATCH_CHROMIUM"),
    }
)
_KEPT_PREFIXES: Final = (
    *("LC_", "LD_", "DYLD_", "XDG_", "SSL_CERT_"),
    *("PYTHON", "PYTEST_", "PY_COLORS", "COVERAGE_", "COV_", "HYPOTHESIS_", "PLAYWRIGHT_"),
)
#: Without a cache of bytecode some thousand processes compile the harness anew: tests take twice as long.
_COSTLY: Final = ("PYTHONDONTWRITEBYTECODE",)

#: What the processes of tests do without: a plugin of pytest that takes half a second to import and that no
#: test's own session uses, and threads for matrices, which nobody multiplies here.
SPARED: Final = {"PYTEST_ADDOPTS": "-p no:schemathesis", "OPENBLAS_NUM_THREADS": "1"}

#: Modules that start processes, or whose clients need one that runs.
_STARTERS: Final = (
    "subprocess",
    "asyncpg",
    "playwright",
    "harness.process",
    "harness.stack",
    "harness.experiment.testbed",
    "harness.load.observers",
    "fixtures.pubnub_emulator.process",
)

#: Reapers of processes that were killed on purpose may be at work still.
_REAPERS_LIMIT_S: Final = 15.0

_FOLDER: Final = pytest.StashKey[Path]()
_CACHE: Final = pytest.StashKey[Path]()
_LEFT: Final = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take away what describes other systems, and give the tests a temporary folder of their own."""
    if are_a_users_scenarios(config):
        return
    for name in tuple(os.environ):
        if name in _COSTLY or (name not in KEPT and not name.startswith(_KEPT_PREFIXES)):
            del os.environ[name]
    for name, value in SPARED.items():
        os.environ.setdefault(name, value)
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):  # workers inherit it
        _use_own_folder(config)
    _use_own_cache(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if anything is left in the temporary folder."""
    if cache := session.config.stash.get(_CACHE, None):
        shutil.rmtree(cache)
    folder = session.config.stash.get(_FOLDER, None)
    if folder is None:
        return
    deadline = time.monotonic() + _REAPERS_LIMIT_S
    while (left := sorted(path.name for path in folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        session.config.stash[_LEFT] = left
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what is left."""
    if left := config.stash.get(_LEFT, None):
        terminalreporter.section("left behind", red=True)
        terminalreporter.line(f"tests left in their temporary folder: {', '.join(left)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary folder."""
    if folder := config.stash.get(_FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)


def are_a_users_scenarios(config: pytest.Config) -> bool:
    """Tell whether nothing but the failure scenarios is to run: users run those against systems of theirs."""
    asked = [
        Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args
    ]
    return bool(asked) and all(path.is_relative_to(_SCENARIOS) for path in asked)


def _use_own_folder(config: pytest.Config) -> None:
    # Folders of failed tests are looked into afterwards: pytest keeps them where it always does.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # A short name: sockets lie below, and their paths are limited to some 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o711)  # root's tests start Postgres as another user
    config.stash[_FOLDER] = folder
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def _use_own_cache(config: pytest.Config) -> None:
    """Let no test find the stacks of another worker's; keep what is built once, whatever becomes of HOME."""
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    cache = Path(tempfile.gettempdir()) / f"cache-{worker}"
    kept = [cache_folder(name) for name in ("toxiproxy", "ports", "sdks", "vega")]
    of_postgres = platformdirs.site_cache_path("stormwatch") if os.geteuid() == 0 else kept[0].parent
    cache.mkdir(mode=0o755)
    for folder in (*kept, of_postgres / "postgres", of_postgres / "postgres-data"):
        with suppress(OSError):  # where it can't be made, each worker makes what would be in it
            folder.mkdir(parents=True, exist_ok=True)
            (cache / folder.name).symlink_to(folder.resolve())
    config.stash[_CACHE] = cache
    os.environ[CACHE_VARIABLE] = str(cache)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``quick`` what is not slow and stands in a file that has nothing to start a process with."""
    for item in items:
        module = getattr(item, "module", None)
        if module is None or "pytester" in item.fixturenames or item.get_closest_marker("slow"):
            continue
        if not _starts_processes(module):
            item.add_marker("quick")


@cache
def _starts_processes(module: ModuleType) -> bool:
    """Tell whether a test file, or what it takes from other files of tests, can start a process."""
    for thing in vars(module).values():
        origin = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
        if not isinstance(origin, str):
            continue
        if origin.startswith(_STARTERS):
            return True
        other = sys.modules.get(origin)
        if other is not None and other is not module and ".tests." in origin and _starts_processes(other):
            return True
    return False
