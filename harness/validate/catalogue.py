"""A catalogue of defects: a package of modules, one a defect, which says how the defective system is started.

Processes of a defective system may import this: it needs nothing but Python itself.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

#: Names the defect that a run's system is to have, or several with commas between; without it, it has none.
SETTING: Final = "STORMWATCH_DEFECT"


class CatalogueError(Exception):
    """There is no catalogue, or a defect in it is no defect; the message names the module and the way out."""


@dataclass(frozen=True)
class Load:
    """A run of a load: options of `stormwatch run` after ``--``."""

    options: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(["load", *(option.removeprefix("--") for option in self.options)])

    def arguments(self) -> list[str]:
        """Return what `stormwatch run` is given."""
        return ["--no-failures", "--", *self.options]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the run's own: none."""
        return {}


@dataclass(frozen=True)
class Scenario:
    """A run of one failure scenario: its name, as ``-k`` takes it, and options that pytest has for it."""

    name: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(["scenario", self.name, *(option.removeprefix("--") for option in self.options)])

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the run's own: what pytest adds to its command line."""
        return {"PYTEST_ADDOPTS": " ".join(self.options)} if self.options else {}

    def arguments(self) -> list[str]:
        """Return what `stormwatch run` is given."""
        return ["--no-load", "--scenarios", "all", "-k", self.name, "--workers", "1"]


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a system.

    Parameters
    ----------
    family : what it belongs to: ``timers``.
    run : the smallest run that shows it.
    caught_as : the rows of the report that say so, any of which is enough: ``integrity lost_events``,
        ``objective error_rate``, ``drift memory``, ``expectation health names pubnub in time``; ``*`` stands
        for anything.
    unseen : why it can't be seen from outside; empty: it can.
    name, title : the module's, and the first line of its docstring; set where the catalogue is read.
    """

    family: str
    run: Load | Scenario | None = None
    caught_as: tuple[str, ...] = ()
    unseen: str = ""
    name: str = ""
    title: str = ""


@dataclass(frozen=True)
class Catalogue:
    """Defects of a system.

    Parameters
    ----------
    system : the system's file or class that has the defect which :data:`SETTING` names.
    defects : by name, in the order of their families.
    """

    system: str
    defects: Mapping[str, Defect]


def asked_for() -> str | None:
    """Return the name of the defect that this run's system is to have; None: it is to have none."""
    return os.environ.get(SETTING) or None


def load_catalogue(package: str) -> Catalogue:
    """Return the catalogue that is a Python package.

    It has ``SYSTEM``, and in each module whose name has no leading underscore a ``DEFECT``.

    Raises
    ------
    CatalogueError
        It can't be imported, or one of its modules has no defect.
    """
    try:
        module = importlib.import_module(package)
        names = [one.name for one in pkgutil.iter_modules(module.__path__) if not one.name.startswith("_")]
        found = [_defect(package, name) for name in names if name != "tests"]
        system = str(module.SYSTEM)
    except CatalogueError:
        raise
    except Exception as error:
        raise CatalogueError(
            f"{package!r} is no catalogue of defects: {type(error).__name__}: {error}; give a package with "
            "SYSTEM, and a module with DEFECT for each"
        ) from error
    return Catalogue(system, {one.name: one for one in sorted(found, key=lambda one: one.family)})


def _defect(package: str, name: str) -> Defect:
    module = importlib.import_module(f"{package}.{name}")
    defect = getattr(module, "DEFECT", None)
    if not isinstance(defect, Defect) or bool(defect.unseen) == bool(defect.run and defect.caught_as):
        raise CatalogueError(
            f"{package}.{name} has no DEFECT that says which run catches it, and as what (or why none can)"
        )
    return replace(defect, name=name, title=(module.__doc__ or name).partition("\n")[0].rstrip("."))
