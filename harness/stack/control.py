"""A running stack's door for other processes of its user: an entry in a list, and a socket that takes orders.

Only the process that started a stack can restart its processes in their place. It listens on a Unix socket in
a folder that only its user can enter; one line of JSON asks, one answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from harness.files import read_json
from harness.stack.errors import StackError
from harness.stack.folders import cache_folder
from harness.stack.process import StackProcess
from harness.system import System, find_system
from harness.system.find import place_of
from harness.target import Permission, Target
from harness.target.consent import of_own_stack

ACTIONS: Final = frozenset({"kill", "terminate", "pause", "resume", "restart"})
#: Name of the socket.
SOCKET: Final = "control"
#: A restart waits for the process to serve again.
_ANSWER_LIMIT_S: Final = 60.0
#: As long as a restart may take that goes well.
_CLOSE_LIMIT_S: Final = 20.0


class Controlled(Protocol):
    """A running stack, as far as others can see and harm it; the actions are methods of it, too."""

    @property
    def id(self) -> str: ...
    @property
    def parts(self) -> Mapping[str, StackProcess]: ...
    @property
    def system(self) -> type[System]: ...
    def environment(self) -> dict[str, str]: ...
    def pid(self, name: str) -> int | None: ...


class ControlServer:
    """Puts ``stack`` on the list of running stacks and does what others ask of it, on threads of its own.

    The entry holds the stack's secrets: its mode is 0600.
    """

    def __init__(self, stack: Controlled, folder: Path) -> None:
        self.path = folder / SOCKET
        self.entry = stacks_folder() / f"{stack.id}.json"
        #: By process: whoever hung up in the middle of a restart may ask for the next one already.
        self._turns: dict[str, threading.Lock] = {name: threading.Lock() for name in stack.parts}
        turns = self._turns

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # they hung up
                    for line in self.rfile:
                        self.wfile.write(json.dumps(_answer(stack, line, turns)).encode() + b"\n")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(self.path), Handler)
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.05,), name="stack-control", daemon=True).start()
        self._write_entry(stack)

    def close(self) -> None:
        """Take the stack off the list and stop listening; what is being done is finished, no more begins."""
        self.entry.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        for turn in self._turns.values():
            turn.acquire(timeout=_CLOSE_LIMIT_S)
        self.path.unlink(missing_ok=True)

    def _write_entry(self, stack: Controlled) -> None:
        owner = psutil.Process()
        document = {
            "id": stack.id,
            "pid": owner.pid,
            "created": owner.create_time(),
            "started": time.time(),
            "environment": stack.environment(),
            "system": place_of(stack.system),
            "control": str(self.path),
            "parts": {name: {"log": str(part.log_path)} for name, part in stack.parts.items()},
        }
        fresh = self.entry.with_suffix(f".{owner.pid}")
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        fresh.replace(self.entry)


def _answer(stack: Controlled, line: bytes, turns: Mapping[str, threading.Lock]) -> dict[str, Any]:
    """Do what ``line`` asks of ``stack``; return the answer, which is ``error`` if it could not be done.

    What harms or mends a process waits for its turn in ``turns``.
    """
    try:
        request = json.loads(line)
        action, name = request["action"], request["part"]
    except (ValueError, KeyError, TypeError):
        return {"error": "not a request: a line of JSON with action and part is expected"}
    try:
        if action in ACTIONS:
            with turns.get(name, contextlib.nullcontext()):
                getattr(stack, action)(name)
        elif action != "pid":
            return {"error": f"unknown action {action!r}: there are pid, {', '.join(sorted(ACTIONS))}"}
        return {"pid": stack.pid(name)}
    except StackError as error:
        return {"error": str(error)}


class RemoteStack:
    """A stack that another process of this user runs."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.id: str = document["id"]
        self.owner: int = document["pid"]
        self.started: float = document["started"]
        self.target: Target = replace(Target.from_environment(document["environment"]), origin="embedded")
        #: Names of its processes and where their logs are.
        self.parts: dict[str, Path] = {name: Path(part["log"]) for name, part in document["parts"].items()}
        #: None: a stack of an older version, whose system nobody noted.
        self._system: str | None = document.get("system")
        self._control: str = document["control"]

    @property
    def system(self) -> type[System]:
        """The system under test."""
        return find_system(self._system)

    @property
    def permission(self) -> Permission:
        """To do anything to it: its processes are this user's."""
        return of_own_stack(self)

    def pid(self, name: str) -> int | None:
        """Return a process id, None while the process is down."""
        found = self._ask("pid", name)["pid"]
        return None if found is None else int(found)

    def kill(self, name: str) -> None:
        self._ask("kill", name)

    def terminate(self, name: str) -> None:
        self._ask("terminate", name)

    def pause(self, name: str) -> None:
        self._ask("pause", name)

    def resume(self, name: str) -> None:
        self._ask("resume", name)

    def restart(self, name: str) -> None:
        self._ask("restart", name)

    def _ask(self, action: str, name: str) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWER_LIMIT_S)
                connection.connect(self._control)
                connection.sendall(json.dumps({"action": action, "part": name}).encode() + b"\n")
                said = json.loads(connection.makefile("rb").readline())
        except (OSError, ValueError) as error:
            raise StackError(f"the stack {self.id} (pid {self.owner}) does not answer: {error}") from error
        if "error" in said:
            raise StackError(said["error"])
        return dict(said)


def stacks_folder() -> Path:
    """Return the folder with one entry for each running stack."""
    return cache_folder("stacks")


def running_stacks() -> list[RemoteStack]:
    """Return the stacks that run now, oldest first; entries of others are removed."""
    found = []
    for path in stacks_folder().glob("*.json"):
        try:
            document = read_json(path)
            alive = psutil.Process(document["pid"]).create_time() == document["created"]
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            alive = False
        if alive:
            found.append(RemoteStack(document))
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda stack: stack.started)


def find_stack(id: str | None = None) -> RemoteStack:
    """Return the running stack ``id``, or the only one.

    Raises
    ------
    StackError
        There is none, or several to choose from.
    """
    stacks = {stack.id: stack for stack in running_stacks()}
    known = ", ".join(stacks)
    if id is None and len(stacks) == 1:
        (id,) = stacks
    if id in stacks:
        return stacks[id]
    if id is not None:
        raise StackError(f"no stack {id!r} is running" + (f": there are {known}" if known else ""))
    if stacks:
        raise StackError(f"{len(stacks)} stacks are running: choose one of {known}")
    raise StackError("no stack is running: start one with `stormwatch up`")
