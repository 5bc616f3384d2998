"""A running stack's ear for other processes: harm a part, mend it, tell its pid.

Only the process that started the parts can restart them in their place. It listens on a Unix socket in
a folder that only its user can enter; one line of JSON asks, one answers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.stack.advertisement import running
from harness.stack.errors import StackError
from harness.target import Permission, Target
from harness.target.consent import of_own_stack

if TYPE_CHECKING:
    from harness.stack.stack import Stack

ACTIONS: Final = frozenset({"kill", "terminate", "pause", "resume", "restart"})
#: A restart waits for the part to serve again.
_ANSWER_LIMIT_S: Final = 60.0
#: As long as a restart may take that goes well.
_CLOSE_LIMIT_S: Final = 20.0


class ControlServer:
    """Listens at ``path`` for what others want of ``stack``, on threads of its own."""

    def __init__(self, stack: Stack, path: Path) -> None:
        self.path = path
        #: By part: whoever hung up in the middle of a restart may ask for the next one already.
        self._turns: dict[str, threading.Lock] = {name: threading.Lock() for name in stack.parts}
        turns = self._turns

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # they hung up
                    for line in self.rfile:
                        self.wfile.write(json.dumps(answer(stack, line, turns)).encode() + b"\n")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="stack-control",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what is being done to a part is finished first, and no more begins after that."""
        self._server.shutdown()
        self._server.server_close()
        for turn in self._turns.values():
            turn.acquire(timeout=_CLOSE_LIMIT_S)
        self.path.unlink(missing_ok=True)


def answer(stack: Stack, line: bytes, turns: Mapping[str, threading.Lock]) -> dict[str, Any]:
    """Do what ``line`` asks of ``stack``; return the answer, which is ``error`` if it could not be done.

    What harms or mends a part waits for its turn in ``turns``.
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
        #: Names of its parts and where their logs are.
        self.parts: dict[str, Path] = {name: Path(part["log"]) for name, part in document["parts"].items()}
        self._control: str = document["control"]

    @property
    def permission(self) -> Permission:
        """To do anything to it: its processes are this user's."""
        return of_own_stack(self)

    def pid(self, name: str) -> int | None:
        """Return the process id of a part, None while it is down."""
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
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
                connection.settimeout(_ANSWER_LIMIT_S)
                connection.connect(self._control)
                connection.sendall(json.dumps({"action": action, "part": name}).encode() + b"\n")
                said = json.loads(connection.makefile("rb").readline())
        except (OSError, ValueError) as error:
            raise StackError(f"the stack {self.id} (pid {self.owner}) does not answer: {error}") from error
        if "error" in said:
            raise StackError(said["error"])
        return dict(said)


def running_stacks() -> list[RemoteStack]:
    """Return the stacks that run now, oldest first."""
    return [RemoteStack(document) for document in running()]


def find_stack(id: str | None = None) -> RemoteStack:
    """Return the running stack ``id``, or the only one.

    Raises
    ------
    StackError
        There is none, or several to choose from.
    """
    stacks = running_stacks()
    known = ", ".join(stack.id for stack in stacks)
    if id is not None:
        for stack in stacks:
            if stack.id == id:
                return stack
        raise StackError(f"no stack {id!r} is running" + (f": there are {known}" if known else ""))
    if not stacks:
        raise StackError("no stack is running: start one with `stormwatch up`")
    if len(stacks) > 1:
        raise StackError(f"{len(stacks)} stacks are running: choose one of {known}")
    return stacks[0]
