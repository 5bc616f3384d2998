"""What other processes ask of a running stack is done in turn, whoever hangs up meanwhile."""

import json
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.stack.control import ControlServer
from harness.system import find_system


@dataclass
class Log:
    """All that the list of running stacks tells of a process."""

    log_path: Path


class Slow:
    """A stack whose restarts take a while."""

    def __init__(self) -> None:
        self.id = "slow"
        self.system = find_system()
        self.parts = {name: Log(Path("log")) for name in ("service-1", "service-2")}
        self.begun: list[str] = []
        self.over = threading.Event()
        self.at_once = 0
        self._running = 0

    def restart(self, name: str) -> None:
        self._running += name == "service-1"
        self.at_once = max(self.at_once, self._running)
        self.begun.append(name)
        if name == "service-1":
            self.over.wait(20)
        self._running -= name == "service-1"

    def pid(self, name: str) -> int:
        return 1

    def environment(self) -> dict[str, str]:
        return {}


@pytest.fixture(autouse=True)
def own_list_of_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORMWATCH_CACHE", str(tmp_path))


def ask(path: Path, name: str, action: str = "restart") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    connection.sendall(json.dumps({"action": action, "part": name}).encode() + b"\n")
    return connection


def heard(connection: socket.socket) -> dict[str, Any]:
    with connection:
        return dict(json.loads(connection.makefile(encoding="utf-8").readline()))


def test_restarts_of_a_part_take_turns(tmp_path: Path, capfd: Any) -> None:
    stack: Any = Slow()
    server = ControlServer(stack, tmp_path)
    hung_up = ask(server.path, "service-1")
    while not stack.begun:
        time.sleep(0.01)
    hung_up.close()
    second = ask(server.path, "service-1")
    # The other part need not wait, nor does whoever only asks.
    assert heard(ask(server.path, "service-2")) == {"pid": 1}
    assert heard(ask(server.path, "service-1", "pid")) == {"pid": 1}
    assert stack.begun == ["service-1", "service-2"]
    stack.over.set()
    assert heard(second) == {"pid": 1}
    server.close()
    assert stack.begun == ["service-1", "service-2", "service-1"]
    assert stack.at_once == 1
    assert "BrokenPipe" not in capfd.readouterr().err


def test_closing_waits_for_what_is_under_way_and_lets_nothing_begin(tmp_path: Path) -> None:
    stack: Any = Slow()
    server = ControlServer(stack, tmp_path)
    with ask(server.path, "service-1"):
        while not stack.begun:
            time.sleep(0.01)
        with ask(server.path, "service-1"):
            closing = threading.Thread(target=server.close)
            closing.start()
            closing.join(0.5)
            assert closing.is_alive()
            stack.over.set()
            closing.join(20)
            assert not closing.is_alive()
