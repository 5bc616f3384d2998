"""Any system runs on a local stack: its file says how its processes are started, and what they need."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.stack import Stack, StackError, StackOptions, find_stack, start_stack
from harness.stack import stack as module
from harness.stack.system import programs_of
from harness.system import Local, System, find_system
from harness.target import Target
from harness.tests.test_system_find import WHOLE

IMPORTS = "import sys\nfrom harness.system import Program\n"
#: It answers with what it was told, and has a worker beside it.
PROCESSES = """
    def processes(self, local):
        serve = [sys.executable, "serve.py", str(local.port)]
        told = {"TOLD": " ".join(local.target.environment())}
        return [Program(serve, told, ready="/"), Program([sys.executable, "serve.py"], name="worker")]
"""
SERVE = """
import http.server, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.end_headers()
        self.wfile.write(os.environ["TOLD"].encode())

if len(sys.argv) == 1:
    time.sleep(120)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def system_of(folder: Path, processes: str, serve: str = SERVE) -> type[System]:
    """Return a system whose file and program lie in ``folder``."""
    (folder / "serve.py").write_text(serve, encoding="utf-8")
    path = folder / "mine.py"
    path.write_text(IMPORTS + WHOLE + processes, encoding="utf-8")
    return find_system(str(path))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    system = system_of(tmp_path_factory.mktemp("mine"), PROCESSES)
    with start_stack(StackOptions(system=system)) as stack:
        yield stack


def test_a_system_that_needs_nothing_gets_its_processes_and_toxiproxy(stack: Stack) -> None:
    assert set(stack.parts) == {"toxiproxy", "service-1", "worker-1"}
    assert set(stack.proxies.all()) == {"load-service"}
    assert stack.target.database_url is None
    assert stack.target.pubnub_control_url is None


def test_it_is_told_its_address_and_no_secret_of_the_harness(stack: Stack) -> None:
    with pytest.raises(urllib.request.HTTPError) as answer:
        urllib.request.urlopen(stack.target.service_url)
    told = answer.value.read().decode().split()
    assert "SUPABASE_URL" in told
    assert not [name for name in told if name.startswith("STORMWATCH_TOXIPROXY") or "CONTROL" in name]


def test_a_process_that_does_not_listen_is_a_part_like_others(stack: Stack) -> None:
    assert stack.parts["worker-1"].endpoint == ""
    stack.kill("worker-1")
    assert stack.pid("worker-1") is None
    stack.restart("worker-1")
    worker = psutil.Process(stack.pid("worker-1"))
    assert Path(worker.cwd()) == stack.parts["service-1"].spec.folder


def test_others_find_out_which_system_it_is(stack: Stack) -> None:
    assert find_stack(stack.id).system is stack.system


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        ("", "mine.py: Auction has no `processes`, which say how it is started on a local stack: write"),
        ("    def processes(self, local):\n        return 1 / 0\n", r"mine.py:\d+: processes: ZeroDivision"),
        (
            "    def processes(self, local): ...",
            r"mine.py:?\d*: processes: TypeError: 'NoneType' object is not",
        ),
        (
            "    def processes(self, local): return []",
            "mine.py: processes: it returned none that has `ready`",
        ),
        ("    def processes(self, local): return [{'a': 'b'}]", "processes: it returned dict: return a list"),
    ],
)
def test_what_is_wrong_with_its_processes_is_one_line(tmp_path: Path, processes: str, said: str) -> None:
    system, target = system_of(tmp_path, processes), Target("http://127.0.0.1:9", "key", "secret", "sub")
    with pytest.raises(StackError, match=said) as found:
        programs_of(system, target, Local(9, target))
    assert "\n" not in str(found.value)


def test_a_part_that_never_gets_ready_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = "import time\nprint('thinking about it', flush=True)\ntime.sleep(60)\n"
    monkeypatch.setattr(module, "_READY_S", 3.0)
    with pytest.raises(StackError, match="service-1 was not ready within 3 s") as caught:
        start_stack(StackOptions(system=system_of(tmp_path, PROCESSES, silent), advertise=False))
    assert "thinking about it" in str(caught.value)
