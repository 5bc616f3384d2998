"""What goes wrong with a stack."""

from __future__ import annotations


class StackError(Exception):
    """A part can't be had, started or reached; the message names it, why, and the way out."""


class PortTakenError(StackError):
    """A part found its port taken by a stranger; another try on other ports may work."""
