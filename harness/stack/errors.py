"""What goes wrong with a stack."""

from __future__ import annotations

from harness.process.errors import ProcessError


class StackError(ProcessError):
    """A process of the stack can't be had, started or reached; the message names it, why, and what to do."""


class PortTakenError(StackError):
    """A process found its port taken by a stranger; another try on other ports may work."""
