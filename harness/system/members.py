"""What a system need not have, and what a run does without where it has it not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.system.base import System
from harness.system.levers import HasLevers
from harness.system.optional import (
    Acts,
    Broadcasts,
    CleansUp,
    HasAlerts,
    HasCleaning,
    HasHealth,
    HasMetrics,
    HasSecrets,
    HasTimer,
    Ticks,
    UsesPool,
)
from harness.system.processes import HasProcesses


@dataclass(frozen=True)
class Member:
    """An optional member of a system.

    Parameters
    ----------
    name : as it stands in reports.
    kinds : the system has it if it is one of them.
    without : what is so where it has not.
    """

    name: str
    kinds: tuple[type, ...]
    without: str


MEMBERS: Final = (
    Member("act", (Acts,), "players listen and do nothing"),
    Member("ask_timer", (HasTimer,), "nobody asks how much time is left"),
    Member("tick", (Ticks,), "it ticks by itself"),
    Member("health", (HasHealth,), "players tell whether it is well"),
    Member("metrics", (HasMetrics,), "no readings of its own"),
    Member("processes", (HasProcesses,), "it is not started here: it runs on deployments only"),
    Member("levers", (HasLevers,), "network, processes and the database as a whole can be broken"),
    Member("use_pool", (UsesPool,), "what a fault took of its pool is only counted"),
    Member("clean_up", (HasCleaning, CleansUp), "what a run makes stays where it is"),
)


def members_of(system: type[System]) -> list[str]:
    """Return the names of the optional members that ``system`` has."""
    return [member.name for member in MEMBERS if any(_is(system, kind) for kind in member.kinds)]


def half_of(system: type[System]) -> str | None:
    """Return a member of ``system`` that is there in part only and would not count; None: there is none."""
    for kind in (*(kind for member in MEMBERS for kind in member.kinds), HasAlerts, HasSecrets, Broadcasts):
        names = _names(kind)
        lacks = [name for name in names if not hasattr(system, name)]
        if 0 < len(lacks) < len(names):
            has = [name for name in names if name not in lacks]
            return f"{', '.join(has)} without {', '.join(lacks)}"
    return None


def _is(system: type[System], kind: type) -> bool:
    """Whether a class has what a protocol asks for; :func:`issubclass` can't tell where that is a value."""
    return all(hasattr(system, name) for name in _names(kind))


def _names(kind: type) -> list[str]:
    """Return the names that a protocol asks for."""
    return sorted({name for name in (*vars(kind), *kind.__annotations__) if not name.startswith("_")})
