"""Pure functions from the history of a run to findings. Nothing here writes, waits or asks the system."""

from harness.documents.rows import Finding
from harness.judge.evidence import Clock, Evidence, FaultWindow, Window, evidence_of
from harness.judge.findings import Expectation
from harness.judge.integrity import INTEGRITY
from harness.judge.judgement import Judgement, judge
from harness.judge.metrics import METRICS
from harness.judge.samples import Census, Samples

__all__ = [
    "INTEGRITY",
    "METRICS",
    "Census",
    "Clock",
    "Evidence",
    "Expectation",
    "FaultWindow",
    "Finding",
    "Judgement",
    "Samples",
    "Window",
    "evidence_of",
    "judge",
]
