"""Files as the harness reads and writes them: within bounds, all at once, for their owner alone."""

from __future__ import annotations

import errno
import json
import os
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import platformdirs

_BUNDLED: Final = Path(__file__).with_name("_bundled")
#: Where what comes along with the harness lies (scenarios, policy, emulator): in its wheel, or the checkout.
SHIPPED: Final = _BUNDLED if _BUNDLED.is_dir() else Path(__file__).parents[1]

#: No document of ours comes near these.
MAX_BYTES: Final = 32 << 20
MAX_DEPTH: Final = 64
#: Parts of a dotted key; the time to read a TOML key grows with the square of them.
_MAX_DOTS: Final = 100

#: Octal umask of the files of runs.
UMASK_VARIABLE: Final = "STORMWATCH_REPORTS_UMASK"

#: Overrides where caches are kept.
CACHE_VARIABLE: Final = "STORMWATCH_CACHE"


class DocumentError(ValueError):
    """A document or a folder can't be read or written: ``path: reason; way out``."""

    def __init__(self, reason: str, path: Path | None = None, way_out: str = "") -> None:
        place = "" if path is None else f"{path}: "
        super().__init__(f"{place}{reason}{f'; {way_out}' if way_out else ''}")
        self.reason = reason


def read_json(path: Path) -> Any:
    """Return the JSON document at ``path``: UTF-8, with or without a byte-order mark.

    Raises
    ------
    FileNotFoundError
        There is none.
    DocumentError
        It can't be read or is not JSON, or is larger or nested deeper than any document of ours.
    """
    text = read_text(path)
    return _parsed(path, "JSON", lambda: json.loads(text, parse_constant=_no_constant))


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text at ``path`` and the TOML document that it is; raises what :func:`read_json` raises."""
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _MAX_DOTS:
            why = f"line {number} has a key of too many parts (or over {_MAX_DOTS} dots)"
            raise DocumentError(f"can't be read: {why}", path)
    document: dict[str, Any] = _parsed(path, "TOML", lambda: tomllib.loads(text))
    return text, document


def project_settings(folder: Path) -> tuple[Path, str, dict[str, Any]]:
    """Return the file with the settings of the project in ``folder``, its text, and what it sets.

    It is ``stormwatch.toml``, else ``[tool.stormwatch]`` of ``pyproject.toml``; nothing is set where there is
    neither.

    Raises
    ------
    DocumentError
        It can't be read, or both say something.
    """
    path, own = folder / "pyproject.toml", folder / "stormwatch.toml"
    text: str = ""
    said: Any = {}
    with suppress(FileNotFoundError):
        text, said = read_toml(path)
    for name in ("tool", "stormwatch"):
        said = said.get(name, {})
        if not isinstance(said, dict):
            raise DocumentError("[tool.stormwatch] is no table", path)
    with suppress(FileNotFoundError):
        found = read_toml(own)
        if said:
            raise DocumentError(f"has [tool.stormwatch], and there is {own.name}", path, "keep one of them")
        return own, *found
    return path, text, said


def read_text(path: Path) -> str:
    """Return the text at ``path``, without a byte-order mark; raises what :func:`read_json` raises."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DocumentError(f"can't be read: it is larger than {MAX_BYTES >> 20} MiB", path)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DocumentError("can't be read: it is UTF-16", path, "save it as UTF-8")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DocumentError(f"can't be read: {why}", path) from error


def user_cache() -> Path:
    """Return where this user's caches are kept; it may not be there yet."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).absolute() if given else platformdirs.user_cache_path("stormwatch")


def _parsed(path: Path, kind: str, parse: Callable[[], Any]) -> Any:
    try:
        document = parse()
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError as error:
        raise DocumentError(f"can't be read: not {kind}: {error}", path) from error
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return document
    raise _too_deep(path)


def _too_deep(path: Path) -> DocumentError:
    return DocumentError(f"can't be read: it is nested deeper than {MAX_DEPTH} levels", path)


def _parts(value: Any) -> list[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in parts if isinstance(part, dict | list)]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


# --- writing -------------------------------------------------------------------------------------------


def umask() -> int:
    """Return what is taken from others of files of runs: 0o077, or what ``STORMWATCH_REPORTS_UMASK`` says.

    Raises
    ------
    OSError
        The variable is no umask.
    """
    given = os.environ.get(UMASK_VARIABLE, "").strip() or "077"
    if not re.fullmatch("0?0[0-7]{2}", given):
        raise OSError(0, f"{UMASK_VARIABLE}={given!r} is not an octal umask such as 077 or 027")
    return int(given, 8)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder of a run, and those above it, for who may see runs."""
    if not path.parent.exists():
        make_folder(path.parent, exist_ok=True)
    mode = 0o777 & ~umask()
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not (exist_ok and path.is_dir()):
            raise
    else:
        path.chmod(mode)  # whatever the process's own umask


def create(path: Path, flags: int = 0) -> int:
    """Open a file of a run to be written, made for who may see runs, and return its descriptor."""
    mode = 0o666 & ~umask()
    flags |= os.O_WRONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags)  # as it is: it may be another's, or a device
    os.fchmod(descriptor, mode)  # whatever the process's own umask
    return descriptor


def open_log(path: Path) -> BinaryIO:
    """Open a log of a run to be appended to, its folder made."""
    make_folder(path.parent, exist_ok=True)
    return os.fdopen(create(path, os.O_APPEND), "ab")


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    write_together({path: text})


def write_together(texts: dict[Path, str]) -> None:
    """Write files so that a failure leaves all of the old ones: none is replaced before all are written.

    They are replaced in the order given, each at once.
    """
    for path in texts:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    suffix = f"{os.getpid()}.{os.urandom(4).hex()}"
    fresh = {path: path.with_name(f".{path.name}.{suffix}") for path in texts}
    try:
        for path, text in texts.items():
            with os.fdopen(create(fresh[path], os.O_EXCL), "w", encoding="utf-8") as file:
                file.write(text)
        for path, written in fresh.items():
            written.replace(path)
    finally:
        for written in fresh.values():
            written.unlink(missing_ok=True)
