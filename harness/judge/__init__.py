"""Pure functions from the history of a run to findings. Nothing here writes, waits or asks the system."""

from harness.judge.evidence import Evidence, FaultWindow, Window, evidence_of
from harness.judge.findings import Expectation
from harness.judge.integrity import INTEGRITY
from harness.judge.judgement import judge
from harness.judge.metrics import METRICS
from harness.judge.samples import Samples

__all__ = [
    "INTEGRITY",
    "METRICS",
    "Evidence",
    "Expectation",
    "FaultWindow",
    "Samples",
    "Window",
    "evidence_of",
    "judge",
]
