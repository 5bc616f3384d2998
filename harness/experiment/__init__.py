"""Failure experiments: steady state, a fault while games are played, expectations, recovery."""

from harness.experiment.expectations import (
    BacklogDrained,
    Expectation,
    Finding,
    HealthNames,
    HealthyAgain,
    HealthyThroughout,
    Intact,
    MonitorP95,
    NobodyFails,
    QuickAnswers,
    ReadingReturns,
    RefusesClearly,
    ServesAgain,
    Silence,
    TimersOnTime,
)
from harness.experiment.experiment import ExpectationsFailed, Experiment, Inconclusive, Injection

__all__ = [
    "BacklogDrained",
    "Expectation",
    "ExpectationsFailed",
    "Experiment",
    "Finding",
    "HealthNames",
    "HealthyAgain",
    "HealthyThroughout",
    "Inconclusive",
    "Injection",
    "Intact",
    "MonitorP95",
    "NobodyFails",
    "QuickAnswers",
    "ReadingReturns",
    "RefusesClearly",
    "ServesAgain",
    "Silence",
    "TimersOnTime",
]
