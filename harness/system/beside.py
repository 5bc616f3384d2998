"""What a team keeps beside its system's file, in the place of what comes along with the harness.

``<the file's name>.toml``, else ``sla.toml``
    the policy; without it the example that `stormwatch init` writes.
``locustfile.py``
    the load.
``failure/``
    failure scenarios, besides those that come along.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.files import SHIPPED
from harness.sla.policy import DEFAULT_POLICY, EXAMPLE_POLICY
from harness.sla.policy import SETTING as POLICY_SETTING
from harness.system.base import System
from harness.system.find import SETTING, find_system, place_of


def load_of(system: type[System]) -> Path:
    """Return the Locust file that plays items of ``system``."""
    own = Path(place_of(system)).with_name("locustfile.py")
    return own if own.is_file() else SHIPPED / "scenarios" / "concurrent_games.py"


def scenarios_of(system: type[System]) -> list[Path]:
    """Return the folders of the failure scenarios of ``system``."""
    own = Path(place_of(system)).with_name("failure")
    return [SHIPPED / "scenarios" / "failure", *([own] if own.is_dir() else [])]


def put_to_the_test(named: str | None) -> type[System]:
    """Return the system under test; name it and its policy to all that this process does and starts.

    Parameters
    ----------
    named : as :func:`find_system` takes it.

    Raises
    ------
    SystemFileError
        There is none, or none that can be used.
    """
    system = find_system(named)
    place = Path(place_of(system))
    if named is not None:
        os.environ[SETTING] = str(place)
    policies = [place.with_suffix(".toml"), place.with_name("sla.toml")]
    if not _is_shipped(system):  # the default has options of the shipped one's load
        policies.append(EXAMPLE_POLICY)
    for policy in policies:
        if policy.is_file():
            os.environ.setdefault(POLICY_SETTING, str(policy))
    return system


def _is_shipped(system: type[System]) -> bool:
    """Whether a system comes along with the harness, or derives from one that does."""
    kinds = [kind for kind in system.mro() if issubclass(kind, System) and kind is not System]
    return any(Path(place_of(kind)).is_relative_to(DEFAULT_POLICY.parent) for kind in kinds)
