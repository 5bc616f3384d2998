"""What can be broken on purpose, one file per place where it breaks."""

from harness.faults.base import Exercised, Fault
from harness.faults.errors import FaultError, MissingPartError, NotExercisedError
from harness.faults.registry import find_kind, kinds, places
from harness.faults.system import Deployment, System

__all__ = [
    "Deployment",
    "Exercised",
    "Fault",
    "FaultError",
    "MissingPartError",
    "NotExercisedError",
    "System",
    "find_kind",
    "kinds",
    "places",
]
