"""Pure functions from the history of a run to findings. Nothing here writes, waits or asks the system."""

from harness.checks.evidence import Clock, Evidence, FaultWindow, Window, evidence_of
from harness.checks.findings import Expectation, Finding
from harness.checks.integrity import INTEGRITY
from harness.checks.metrics import METRICS, Census, Samples

__all__ = [
    "INTEGRITY",
    "METRICS",
    "Census",
    "Clock",
    "Evidence",
    "Expectation",
    "FaultWindow",
    "Finding",
    "Samples",
    "Window",
    "evidence_of",
]
