"""What can be broken on purpose, one file per place where it breaks."""

from harness.faults.base import (
    Deployment,
    Fault,
    FaultError,
    MissingPartError,
    NotExercisedError,
    System,
    find_kind,
    kinds,
)

__all__ = [
    "Deployment",
    "Fault",
    "FaultError",
    "MissingPartError",
    "NotExercisedError",
    "System",
    "find_kind",
    "kinds",
]
