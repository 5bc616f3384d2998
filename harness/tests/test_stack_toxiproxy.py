"""Where Toxiproxy comes from, and what happens when it can't be had."""

import hashlib
import http.server
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import Reaper
from harness.stack import Proxies, StackError, StackProcess, ToxiproxyError, toxiproxy
from harness.stack.ports import PortBlock
from harness.tests.helpers import eventually

#: What a release could serve: small, and it says what a server says.
STAND_IN = b"#!/bin/sh\necho toxiproxy-server version 2.12.0\n"


class Release:
    """A host that serves one file, whatever is asked for."""

    def __init__(self, content: bytes, status: int = 200) -> None:
        asked = self.asked = list[str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/toxiproxy-server-"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Release":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with an empty cache, no Go, no Toxiproxy on PATH, and no package installer."""
    monkeypatch.setenv("STORMWATCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin-that-is-not:/bin-that-is-not")
    monkeypatch.delenv("TOXIPROXY_BIN", raising=False)
    monkeypatch.setattr(toxiproxy.sys, "executable", "/bin/false")
    return tmp_path


@pytest.fixture(scope="module")
def server() -> Iterator[Proxies]:
    binary = toxiproxy.obtain()
    with Reaper() as reaper, PortBlock() as block:
        part = StackProcess(toxiproxy.spec(binary, block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
        yield Proxies(f"http://{part.endpoint}")
        part.stop(1.0)


def test_takes_the_release_when_its_checksum_is_right(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = {toxiproxy.platform_name(): hashlib.sha256(STAND_IN).hexdigest()}
    monkeypatch.setattr(toxiproxy, "CHECKSUMS", pinned)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.setattr(toxiproxy.shutil, "which", lambda _: None)
    with Release(STAND_IN) as release:
        binary = toxiproxy.obtain(release_url=release.url)
        assert release.asked == [f"/toxiproxy-server-{toxiproxy.platform_name()}"]
        again = toxiproxy.obtain(release_url=release.url)
        assert len(release.asked) == 1
    assert (binary.source, again.source) == ("release binary", "cache")
    assert binary.version == "2.12.0"
    assert binary.path.is_relative_to(bare)


def test_refuses_and_names_a_release_that_was_tampered_with(bare: Path) -> None:
    said: list[str] = []
    with Release(STAND_IN + b"# and more\n") as release, pytest.raises(StackError) as caught:
        toxiproxy.obtain(said.append, release_url=release.url)
    found = hashlib.sha256(STAND_IN + b"# and more\n").hexdigest()
    expected = toxiproxy.CHECKSUMS[toxiproxy.platform_name()]
    assert f"refused: its SHA-256 is {found}, not the pinned {expected}" in str(caught.value)
    assert any("refused" in line for line in said)
    assert not toxiproxy.cached_path().exists()


def test_without_any_way_each_way_and_the_way_out_are_named(bare: Path) -> None:
    with Release(b"", status=404) as release, pytest.raises(StackError) as caught:
        toxiproxy.obtain(release_url=release.url)
    message = str(caught.value)
    assert "install Go, or set TOXIPROXY_BIN" in message
    assert "404" in message
    assert "there is no go on PATH" in message
    assert "Go from a Python package:" in message
    assert len(message.splitlines()) == 1
    assert [path.name for path in toxiproxy.cached_path().parent.iterdir()] == [
        f"{toxiproxy.cached_path().name}.lock"
    ]


def test_a_platform_without_a_checksum_downloads_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toxiproxy, "CHECKSUMS", {})
    with Release(STAND_IN) as release:
        with pytest.raises(StackError, match="no checksum is pinned for"):
            toxiproxy.obtain(release_url=release.url)
        assert release.asked == []


def test_a_binary_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOXIPROXY_BIN", "/bin/true")
    with pytest.raises(StackError, match="TOXIPROXY_BIN=/bin/true is no toxiproxy-server"):
        toxiproxy.find()
    monkeypatch.setenv("TOXIPROXY_BIN", str(tmp_path / "gone"))
    with pytest.raises(StackError, match="can't be run"):
        toxiproxy.find()


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_server_of_another_version_is_refused_or_passed_over(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = script(bare / "bin" / "toxiproxy-server", "echo toxiproxy-server version 2.1.4")
    monkeypatch.setenv("PATH", f"{old.parent}:/bin:/usr/bin")
    said: list[str] = []
    assert toxiproxy.find(said.append) is None
    why = "is version 2.1.4, not 2.12.0 or a later 2.x"
    assert said == [f"Toxiproxy: {old} (PATH) is passed over: it {why}"]
    monkeypatch.setenv("TOXIPROXY_BIN", str(old))
    with pytest.raises(StackError, match=f"TOXIPROXY_BIN={old} {why}; set it to"):
        toxiproxy.find()


@pytest.mark.parametrize("place", ["PATH", "TOXIPROXY_BIN"])
def test_a_server_that_somebody_else_put_there_is_said_to_be_unverified(
    bare: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    theirs = script(bare / "bin" / "toxiproxy-server", "echo toxiproxy-server version 2.13.1")
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.setenv(place, f"{theirs.parent}:/bin:/usr/bin" if place == "PATH" else str(theirs))
    said: list[str] = []
    binary = toxiproxy.obtain(said.append)
    assert (binary.path, binary.verified) == (theirs, False)
    assert said == [
        f"Toxiproxy is unverified: {theirs} says that it is 2.13.1, its checksum is none that is pinned"
    ]
    pinned = {toxiproxy.platform_name(): hashlib.sha256(theirs.read_bytes()).hexdigest()}
    monkeypatch.setattr(toxiproxy, "CHECKSUMS", pinned)
    assert toxiproxy.obtain(said.append).verified
    assert len(said) == 1


@pytest.mark.parametrize("genuine", [True, False])
def test_a_build_insists_on_the_checksum_database_and_on_the_source_that_is_pinned(
    bare: Path, monkeypatch: pytest.MonkeyPatch, genuine: bool
) -> None:
    found = toxiproxy.GO_SUM if genuine else "h1:another"
    script(
        bare / "bin" / "go",
        f"env > {bare}/environment",
        'if [ "$1" = version ]; then',
        f"  printf '%s: go1.26\\n\\tmod\\t{toxiproxy.GO_MODULE}\\tv2.12.0\\t{found}\\n' \"$3\"",
        "else",
        '  mkdir -p "$GOBIN"; printf "#!/bin/sh\\necho toxiproxy-server version 2.12.0\\n" > "$GOBIN/server"',
        "fi",
    )
    monkeypatch.setenv("PATH", f"{bare}/bin:/bin:/usr/bin")
    for name, careless in {
        "GOSUMDB": "off",
        "GOFLAGS": "-insecure",
        "GONOSUMDB": "*",
        "GOPRIVATE": "*",
    }.items():
        monkeypatch.setenv(name, careless)
    with Release(b"", status=404) as release:
        if genuine:
            assert toxiproxy.obtain(release_url=release.url).source == "Go on PATH"
        else:
            with pytest.raises(StackError, match="refused: the checksum of its source is h1:another"):
                toxiproxy.obtain(release_url=release.url)
    told = dict(line.split("=", 1) for line in (bare / "environment").read_text("utf-8").splitlines())
    assert (told["GOSUMDB"], told["GOFLAGS"]) == ("sum.golang.org", "-trimpath")
    assert (told["GONOSUMDB"], told["GOPRIVATE"]) == ("none", "none")


def test_the_real_server_works_and_says_its_version() -> None:
    binary = toxiproxy.obtain()
    assert toxiproxy.version_of(binary.path) == binary.version


def test_proxies_are_made_and_counted(server: Proxies) -> None:
    host_port = server.url.removeprefix("http://")
    server.create("itself", "127.0.0.1:0", host_port)
    proxy = server.get("itself")
    assert proxy.upstream == host_port
    assert server.received_bytes("itself") == {"upstream": 0, "downstream": 0}
    with urllib.request.urlopen(f"http://{proxy.listen}/version") as answer:
        assert b"version" in answer.read()
    eventually(lambda: min((server.received_bytes("itself") or {}).values()) > 0)


def test_two_servers_are_told_apart(server: Proxies) -> None:
    binary = toxiproxy.obtain()
    with Reaper() as reaper, PortBlock() as block:
        part = StackProcess(toxiproxy.spec(binary, block.take(), Path(os.devnull)), reaper)
        part.start().wait_until_ready(20)
        try:
            other = Proxies(f"http://{part.endpoint}")
            other.create("only-there", "127.0.0.1:0", "127.0.0.1:9")
            assert "only-there" in other.all()
            assert "only-there" not in server.all()
        finally:
            part.stop(1.0)


def test_what_the_server_refuses_is_an_error(server: Proxies) -> None:
    server.create("twice", "127.0.0.1:0", "127.0.0.1:9")
    with pytest.raises(ToxiproxyError, match="refuses twice"):
        server.create("twice", "127.0.0.1:0", "127.0.0.1:9")
    with pytest.raises(ToxiproxyError, match="refuses nonsense on twice"):
        server.add_toxic("twice", "t", "nonsense", {})
    with pytest.raises(ToxiproxyError, match="no proxy 'nowhere'"):
        server.get("nowhere")


def test_a_server_that_is_not_there_or_ill_is_an_error() -> None:
    with pytest.raises(ToxiproxyError, match="does not answer"):
        Proxies("http://127.0.0.1:1").all()
    with Release(b"{}", status=500) as ill, pytest.raises(ToxiproxyError, match="500"):
        Proxies(ill.url.removesuffix("/toxiproxy-server-")).all()
    with pytest.raises(ToxiproxyError, match="is no address"):
        Proxies("localhost")
