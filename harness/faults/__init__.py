"""What can be broken on purpose, one file per place where it breaks."""

from harness.faults.base import Exercised, Fault
from harness.faults.errors import FaultError, MissingPartError, NotExercisedError
from harness.faults.registry import find_kind, kinds, places
from harness.faults.target import Deployment, FaultTarget

__all__ = [
    "Deployment",
    "Exercised",
    "Fault",
    "FaultError",
    "FaultTarget",
    "MissingPartError",
    "NotExercisedError",
    "find_kind",
    "kinds",
    "places",
]
