"""What goes wrong with a fault."""

from __future__ import annotations


class FaultError(Exception):
    """A fault can't be described, applied or undone: the harness's failure, not the service's."""


class MissingPartError(FaultError):
    """The target has no such part to break: a real deployment has no process to kill. Skip the scenario."""


class NotExercisedError(AssertionError):
    """The fault was applied and undone, but nothing came across it: what was seen proves nothing."""
