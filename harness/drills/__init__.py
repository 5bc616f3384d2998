"""Drills: what a team hopes never to need, practised on a stack of our own and timed."""

from harness.drills.practice import practise
from harness.drills.recovery import recover

__all__ = ["practise", "recover"]
