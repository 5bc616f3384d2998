"""Pure functions from the history of a run to findings. Nothing here writes, waits or asks the system."""

from harness.checks.evidence import Clock, Evidence, FaultWindow, Window, evidence_of
from harness.checks.integrity import INTEGRITY, Finding
from harness.checks.metrics import METRICS, Census, Samples

__all__ = [
    "INTEGRITY",
    "METRICS",
    "Census",
    "Clock",
    "Evidence",
    "FaultWindow",
    "Finding",
    "Samples",
    "Window",
    "evidence_of",
]
