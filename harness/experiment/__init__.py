"""Failure experiments: steady state, a fault while games are played, expectations, recovery."""

from harness.documents.rows import Finding
from harness.experiment.expect_memory import CatchesUp
from harness.experiment.expect_ticks import (
    DueTogetherServed,
    InFlightAnswered,
    MovesAgain,
    OthersSkip,
    SentAgainUnderSameId,
)
from harness.experiment.expect_unauthorised import (
    NoSecretTold,
    UnauthorisedCallsMadeNothing,
    UnauthorisedCallsRefused,
)
from harness.experiment.expectations import (
    EveryoneHears,
    FailsClearly,
    HealthNames,
    HealthyThroughout,
    Intact,
    MonitorP95,
    NobodyFails,
    QuickAnswers,
    ReadingReaches,
    ReadingReturns,
    RefusesClearly,
    Silence,
    TimersOnTime,
)
from harness.experiment.experiment import Experiment
from harness.experiment.injection import Injection
from harness.experiment.results import ExpectationsFailed, Inconclusive
from harness.experiment.secret_scan import search_for_secrets
from harness.experiment.setup import Setup
from harness.experiment.testbed import Testbed, Testbeds
from harness.judge.findings import Expectation
from harness.judge.recovery import BacklogDrained, HealthyAgain, ServesAgain

__all__ = [
    "BacklogDrained",
    "CatchesUp",
    "DueTogetherServed",
    "EveryoneHears",
    "Expectation",
    "ExpectationsFailed",
    "Experiment",
    "FailsClearly",
    "Finding",
    "HealthNames",
    "HealthyAgain",
    "HealthyThroughout",
    "InFlightAnswered",
    "Inconclusive",
    "Injection",
    "Intact",
    "MonitorP95",
    "MovesAgain",
    "NoSecretTold",
    "NobodyFails",
    "OthersSkip",
    "QuickAnswers",
    "ReadingReaches",
    "ReadingReturns",
    "RefusesClearly",
    "SentAgainUnderSameId",
    "ServesAgain",
    "Setup",
    "Silence",
    "Testbed",
    "Testbeds",
    "TimersOnTime",
    "UnauthorisedCallsMadeNothing",
    "UnauthorisedCallsRefused",
    "search_for_secrets",
]
