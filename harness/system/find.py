"""Finds the system under test: a file, a setting, a project, or an installed package."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from harness.files import SHIPPED, DocumentError, project_settings
from harness.sla.units import parse_duration
from harness.system.base import System
from harness.system.levers import Levers
from harness.system.lifecycle import LifecycleError
from harness.system.members import half_of
from harness.system.optional import Looks, LooksAtAll
from harness.system.statements import WitnessError
from harness.system.witness import ApiWitness

#: Names the system in the environment.
SETTING: Final = "STORMWATCH_SYSTEM"
#: Packages name systems of theirs in this group.
GROUP: Final = "stormwatch.systems"
#: A class in a module.
_CLASS: Final = re.compile(r"[\w.]+:\w+")


class SystemFileError(Exception):
    """There is no system to put to the test; the message names file, member and way out."""


def find_system(named: str | None = None) -> type[System]:
    """Return the system under test.

    Parameters
    ----------
    named : a file, a class (``package.module:Class``), or the name of an installed system. None: what
        ``STORMWATCH_SYSTEM`` says, else ``system`` in ``[tool.stormwatch]`` of the folder's
        ``pyproject.toml``, else the only one installed, else that of the checkout that the harness runs from.

    Raises
    ------
    SystemFileError
        There is none, or none that can be used.
    """
    installed = _installed()
    named = named or name_of_system()
    if named is None:
        raise SystemFileError(
            f"no system is named: give --system FILE, {SETTING}, or system in [tool.stormwatch] of "
            f"pyproject.toml{_or(installed)}; `stormwatch init` writes one to begin with"
        )
    if named in installed or _CLASS.fullmatch(named):
        point = installed.get(named) or EntryPoint(named, named, GROUP)
        try:
            return _usable(point.load(), named)
        except Exception as error:
            raise SystemFileError(f"the system {named!r} can't be loaded: {_said(error)}") from error
    path = Path(named)
    if not path.is_file():
        raise SystemFileError(f"{named}: no such file{_or(installed)}")
    return _of_file(path.absolute())


def name_of_system() -> str | None:
    """Return how the system under test is named where no option does; None: it is not.

    Raises
    ------
    SystemFileError
        The project's file can't be read.
    """
    named = os.environ.get(SETTING) or _of_project(Path())
    if named is None:
        installed = _installed()
        named = next(iter(installed)) if len(installed) == 1 else _of_project(SHIPPED)
    return named


def place_of(system: type[System]) -> str:
    """Return where :func:`find_system` finds ``system`` again, also from another folder."""
    return str(Path(inspect.getfile(system)).absolute())


def failure_of(system: type[System], member: str, error: Exception) -> str:
    """Return what is wrong with ``member`` of a system that raised ``error``: one line with file and line."""
    path = Path(inspect.getfile(system))
    return f"{path}{_line(error, path)}: {member}: {_said(error)}"


@contextmanager
def step_of(system: System, step: str, *foreseen: type[Exception]) -> Iterator[None]:
    """Have an error of the system's own code name its file, its line and the step that was taken.

    Parameters
    ----------
    step : the method that is called.
    foreseen : what it may raise.

    Raises
    ------
    SystemFileError
        In the place of all other errors.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (SystemFileError, *foreseen)):
            raise
        raise SystemFileError(failure_of(type(system), step, error)) from error


@cache
def _installed() -> dict[str, EntryPoint]:
    """Return the installed systems by name. Looking through all packages takes some milliseconds."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _of_file(path: Path) -> type[System]:
    # An installed system is loaded under a name of its own.
    known = (one for one in list(sys.modules.values()) if getattr(one, "__file__", None) == str(path))
    module: Any = next(known, None)
    if module is None:
        name = f"stormwatch_system_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise SystemFileError(f"{path} is no Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):
                raise SystemFileError(f"{path}{_line(error, path)}: {_said(error)}") from error
            raise
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, System) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found)
        raise SystemFileError(
            f"{path} has {len(found) or 'no'} systems{f' ({names})' if found else ''}: "
            "write one class that derives from harness.system.System"
        )
    return _usable(found[0], str(path))


def _usable(system: Any, where: str) -> type[System]:
    if not (isinstance(system, type) and issubclass(system, System)):
        raise SystemFileError(f"{where}: {system!r} does not derive from harness.system.System")
    missing = sorted(system.__abstractmethods__)
    missing += [name for name in ("name", "lifecycle", "witness") if not hasattr(system, name)]
    if not (hasattr(system, "channel") or hasattr(system, "listener")):
        missing.append("channel or listener")
    if missing:
        raise SystemFileError(f"{where}: {system.__name__} lacks {', '.join(missing)}")
    if half := half_of(system):
        raise SystemFileError(f"{where}: {system.__name__} has {half}; one is of no use without the other")
    if isinstance(system.witness, ApiWitness) and not issubclass(system, (Looks, LooksAtAll)):
        raise SystemFileError(
            f"{where}: {system.__name__} lacks look(item) or look_at_all(), and seen(body): "
            "its witness is its API"
        )
    if unknown := sorted(set(system.announced or ()) - set(system.lifecycle.moves)):
        raise SystemFileError(f"{where}: {system.__name__}.announced: no move is called {unknown[0]!r}")
    if system.ticks_every is not None:
        try:
            parse_duration(system.ticks_every)
        except ValueError as error:
            raise SystemFileError(f"{where}: {system.__name__}.ticks_every: {error}") from error
    levers = getattr(system, "levers", Levers())
    if not isinstance(levers, Levers):
        raise SystemFileError(f"{where}: levers is {levers!r}, it must be harness.system.Levers(...)")
    return system


def _of_project(folder: Path) -> str | None:
    """Return what the project in ``folder`` names; a file's name counts from there."""
    try:
        path, _, settings = project_settings(folder)
    except DocumentError as error:
        raise SystemFileError(str(error)) from error
    named = settings.get("system")
    if named is not None and not isinstance(named, str):
        raise SystemFileError(f"{path}: system in [tool.stormwatch] is {named!r}, it must be a file's name")
    beside = folder / named if named else None
    return str(beside) if beside is not None and beside.is_file() else named


def _line(error: Exception, path: Path) -> str:
    """Return ``:n`` of the last line of ``path`` that the error came through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _said(error: Exception) -> str:
    if isinstance(error, (LifecycleError, WitnessError)):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return f"{type(error).__name__}: {error}"


def _or(installed: Any) -> str:
    return f"; installed: {', '.join(sorted(installed))}" if installed else ""
