"""Where the stack keeps what outlives a run: binaries, the database template, the list of running stacks."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from harness.files import CACHE_VARIABLE, user_cache
from harness.process import Reaper, run_as
from harness.stack.errors import StackError

if TYPE_CHECKING:
    from pwd import struct_passwd

#: The longest path of a Unix socket that every system takes (Linux 107, macOS 103).
_SOCKET_PATH_BYTES: Final = 103


def cache_folder(name: str) -> Path:
    """Return the folder ``name`` in this user's cache, made if missing.

    Raises
    ------
    StackError
        It can't be made.
    """
    return _make(user_cache() / name, 0o700)


def shared_folder(name: str, user: struct_passwd) -> Path:
    """Return a folder ``name`` in a cache that ``user`` can read too; only root has use for it.

    Raises
    ------
    StackError
        There is none.
    """
    given = os.environ.get(CACHE_VARIABLE)
    bases = [Path(given).absolute()] if given else []
    bases += [platformdirs.site_cache_path("stormwatch"), Path("/var/tmp/stormwatch-root")]  # noqa: S108  # made 0755, owned by root, checked below
    for base in bases:
        try:
            folder = _make(base / name, 0o755)
        except StackError:
            continue
        status = base.stat()
        if status.st_uid == 0 and not status.st_mode & stat.S_IWOTH and can_enter(folder, user):
            return folder
    raise StackError(
        f"no folder that user {user.pw_name!r} can read (looked at {', '.join(map(str, bases))}): "
        f"set {CACHE_VARIABLE} to one, or run as another user than root"
    )


def scratch_folder(reaper: Reaper, user: struct_passwd | None = None, *, for_socket: str = "") -> Path:
    """Make a new temporary folder, owned by ``user`` if given, that ``reaper`` removes if we can't.

    Parameters
    ----------
    reaper : told of it.
    user : who has to get at it, if not only this process's user.
    for_socket : name of a Unix socket to be made in it, whose path may not be long.

    Raises
    ------
    StackError
        No temporary folder can be written, ``user`` can't get at it, or its path is too long for the socket.
    """
    # Root's TMPDIR may lie where another user can't go.
    parents = dict.fromkeys([*_temporary(), Path("/tmp"), Path("/var/tmp")])  # noqa: S108  # for a private folder
    for parent in parents:
        if user is not None and not can_enter(parent, user):
            continue
        folder = parent.resolve() / f"stormwatch-{secrets.token_hex(8)}"
        if for_socket and len(os.fsencode(folder / for_socket)) > _SOCKET_PATH_BYTES:
            continue
        reaper.watch_path(folder)  # before it is there: we may be killed at any moment
        try:
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
        except OSError:
            reaper.forget(folder)
            continue
        return folder
    raise StackError(
        f"no temporary folder can be written (tried {', '.join(map(str, parents))}): make room, or set TMPDIR"
        + (f" to a path of at most {_SOCKET_PATH_BYTES - 40} bytes" if for_socket else "")
    )


def can_enter(folder: Path, user: struct_passwd) -> bool:
    """Tell whether ``user`` can walk down to ``folder``."""
    command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)]
    return subprocess.run(command, cwd="/", check=False, **run_as(user)).returncode == 0


def _temporary() -> list[Path]:
    """Return where temporary files go, if anywhere."""
    try:
        return [Path(tempfile.gettempdir())]
    except FileNotFoundError:
        return []


def _make(folder: Path, mode: int) -> Path:
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            if mode == 0o755 and path.stat().st_uid == os.geteuid():
                path.chmod(mode | stat.S_IMODE(path.stat().st_mode))
    except OSError as error:
        raise StackError(
            f"can't make the cache folder {folder}: {error.strerror}; set {CACHE_VARIABLE} to another place"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StackError(f"can't write to the cache folder {folder}: set {CACHE_VARIABLE} to another place")
    return folder
