"""The seam: what a system under test is. One file of its own team describes it, by a subclass of `System`."""

from __future__ import annotations

from harness.system.base import (
    Acts,
    Answer,
    Call,
    CallOptions,
    Check,
    CleansUp,
    FindsLeftovers,
    HasCleaning,
    HasHealth,
    HasMetrics,
    HasTimer,
    Heard,
    Item,
    Refused,
    Session,
    SqlCleaning,
    System,
    Ticked,
    Ticks,
    Unreadable,
)
from harness.system.find import SystemFileError, find_system
from harness.system.lifecycle import Lifecycle, LifecycleError, Timed
from harness.system.processes import HasProcesses, Local, Part, Program
from harness.system.statements import WitnessError
from harness.system.witness import SqlWitness

__all__ = [
    "Acts",
    "Answer",
    "Call",
    "CallOptions",
    "Check",
    "CleansUp",
    "FindsLeftovers",
    "HasCleaning",
    "HasHealth",
    "HasMetrics",
    "HasProcesses",
    "HasTimer",
    "Heard",
    "Item",
    "Lifecycle",
    "LifecycleError",
    "Local",
    "Part",
    "Program",
    "Refused",
    "Session",
    "SqlCleaning",
    "SqlWitness",
    "System",
    "SystemFileError",
    "Ticked",
    "Ticks",
    "Timed",
    "Unreadable",
    "WitnessError",
    "find_system",
]
