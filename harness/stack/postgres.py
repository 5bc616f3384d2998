"""A real Postgres for one run: its own data folder, TCP on 127.0.0.1, gone without a trace afterwards.

A data folder is copied from a template that `initdb` made once; ``fsync`` stays on, so that no figure is
flattered.
"""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from harness.process import ProcessSpec, Reaper, remove
from harness.stack.errors import PortTakenError, StackError
from harness.stack.folders import scratch_folder
from harness.stack.ports import PortBlock
from harness.stack.postgres_files import (
    ADMIN,
    DATABASE,
    OWNER,
    WAY_OUT,
    bare_environment,
    find_installation,
    find_template,
)
from harness.stack.process import StackProcess

_READY_S: Final = 20.0

#: What every server of ours is started with. `mmap` keeps shared memory in the data folder, where it
#: goes away with it, also after SIGKILL.
_SETTINGS: Final = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "track_commit_timestamp": "on",
        "dynamic_shared_memory_type": "mmap",
        "log_line_prefix": "%m [%p] %u ",
        "timezone": "UTC",
    }
)


class Postgres:
    """A Postgres server, to be used in a ``with`` or between :meth:`start` and :meth:`stop`.

    Parameters
    ----------
    max_connections : how many it takes at a time, three of them kept for superusers.
    settings : further settings of ``postgresql.conf``.
    log_path : where its log goes; by default a temporary file that goes away with the server.
    port : where it listens on 127.0.0.1; by default a free port.
    reaper : ends it if this process is killed; by default one of its own.

    Raises
    ------
    StackError
        There are no binaries.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        port: int | None = None,
        reaper: Reaper | None = None,
    ) -> None:
        self.installation = find_installation()
        self.port = port or 0
        self._settings = {**_SETTINGS, "max_connections": str(max_connections), **(settings or {})}
        self._log_path = log_path
        self._reaper = reaper
        #: Its own reaper and its own block of ports, if none were given.
        self._own = ExitStack()
        self._block: PortBlock | None = None
        self._given_port = port is not None
        self._folder: Path | None = None
        self._process: StackProcess | None = None
        self._password = ""

    @property
    def process(self) -> StackProcess:
        """The server's process.

        Raises
        ------
        StackError
            It was not started.
        """
        if self._process is None:
            raise StackError("postgres was not started")
        return self._process

    @property
    def folder(self) -> Path:
        """Its folder, with its data in ``data``; the server's user may write there.

        Raises
        ------
        StackError
            It was not started.
        """
        if self._folder is None:
            raise StackError("postgres was not started")
        return self._folder

    @property
    def url(self) -> str:
        """Address for the harness: straight to the server, as a superuser. Holds the password."""
        return self.url_for(ADMIN, "127.0.0.1", self.port)

    @property
    def service_url(self) -> str:
        """Address for a service: straight to the server, as the ordinary user that owns the database."""
        return self.url_for(OWNER, "127.0.0.1", self.port)

    def url_for(self, user: str, host: str, port: int) -> str:
        """Return the database's address for ``user``, spoken to at ``host:port`` (a proxy, say)."""
        return f"postgresql://{user}:{self._password}@{host}:{port}/{DATABASE}"

    def start(self) -> Self:
        """Start the server and wait until it takes connections.

        Raises
        ------
        StackError
            It does not come up; the message has the end of its log.
        """
        try:
            while True:
                try:
                    self.launch().wait_until_ready(_READY_S)
                except PortTakenError:
                    if self._given_port:
                        raise
                    self.process.wait(_READY_S)
                else:
                    return self
        except BaseException:
            self.stop()
            raise

    def launch(self) -> StackProcess:
        """Start the server without waiting for it.

        Raises
        ------
        StackError
            It can't be started.
        """
        if self._reaper is None:
            self._reaper = self._own.enter_context(Reaper())
        if self._folder is None:
            self._folder = self._make_data(self._reaper)
        if not self._given_port:
            self._block = self._block or self._own.enter_context(PortBlock())
            self.port = self._block.take()
        self._process = StackProcess(self._spec(self._folder, self.port), self._reaper)
        return self._process.start()

    def stop(self) -> None:
        """End the server at once, as its data are thrown away, and remove its folder."""
        if self._process is not None:
            self._process.stop(grace_s=1.5)
        if self._folder is not None and self._reaper is not None:
            remove(self._folder)
            if not self._folder.exists():  # else the reaper tries again
                self._reaper.forget(self._folder)
            self._folder = None
        self._own.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_data(self, reaper: Reaper) -> Path:
        """Return a folder with data of its own in ``data``."""
        template = find_template(self.installation, reaper)
        self._password = template.password
        folder = scratch_folder(reaper, self.installation.user)
        self.installation.run(
            ["cp", "-R", "-p", str(template.data), str(folder / "data")],
            what=f"copy its template to {folder}",
            further=reaper.environment,
        )
        return folder

    def _spec(self, folder: Path, port: int) -> ProcessSpec:
        command = [str(self.installation.bin / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return ProcessSpec(
            name="postgres",
            command=command,
            address=("127.0.0.1", port),
            log_path=self._log_path or folder / "postgres.log",
            is_ready=lambda: takes_connections(port),
            environment=bare_environment(),
            way_out=f"see its log; if the binaries are to blame, {WAY_OUT}",
            end_signal=signal.SIGINT,  # Postgres' "fast shutdown"
            stop_signal=signal.SIGQUIT,  # and its "immediate" one
            folder=Path("/"),
            user=self.installation.user,
        )


def takes_connections(port: int) -> bool:
    """Tell whether a Postgres on 127.0.0.1 is past its start-up and recovery.

    It says so by what it answers a start-up message with: a request to authenticate (``R``), not an
    error (``E``, "the database system is starting up").
    """
    words = b"".join(word.encode() + b"\0" for word in ("user", ADMIN, "database", DATABASE)) + b"\0"
    message = struct.pack("!ii", 8 + len(words), 3 << 16) + words
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(message)
            return connection.recv(1) == b"R"
    except OSError:
        return False
