"""Failure experiments: steady state, a fault while games are played, expectations, recovery."""

from harness.checks.findings import Expectation, Finding
from harness.checks.recovery import BacklogDrained, HealthyAgain, ServesAgain
from harness.experiment.alerting import Alerting, AlertRule
from harness.experiment.arena import Arena, Arenas, Setup
from harness.experiment.expect_access import NoSecretTold, StrangersMadeNothing, StrangersRefused
from harness.experiment.expect_alerts import (
    AlertOnce,
    AlertRaised,
    AlertResolved,
    AlertsSilent,
    AlertsSilentBefore,
)
from harness.experiment.expect_dead_letters import DeadLetters, LeftAlone, NoRetryStorm, ReplayHeard
from harness.experiment.expect_memory import CatchesUp
from harness.experiment.expect_rollback import (
    MakesNoEvents,
    MovedByHand,
    NoGrace,
    RolledBack,
    TicksSkip,
    TimersStand,
)
from harness.experiment.expect_ticks import (
    HerdServed,
    InFlightAnswered,
    MovesAgain,
    OthersSkip,
    SentAgainUnderSameId,
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
from harness.experiment.experiment import ExpectationsFailed, Experiment, Inconclusive, Injection
from harness.experiment.operator import Operator
from harness.experiment.search import search_for_secrets

__all__ = [
    "AlertOnce",
    "AlertRaised",
    "AlertResolved",
    "AlertRule",
    "Alerting",
    "AlertsSilent",
    "AlertsSilentBefore",
    "Arena",
    "Arenas",
    "BacklogDrained",
    "CatchesUp",
    "DeadLetters",
    "EveryoneHears",
    "Expectation",
    "ExpectationsFailed",
    "Experiment",
    "FailsClearly",
    "Finding",
    "HealthNames",
    "HealthyAgain",
    "HealthyThroughout",
    "HerdServed",
    "InFlightAnswered",
    "Inconclusive",
    "Injection",
    "Intact",
    "LeftAlone",
    "MakesNoEvents",
    "MonitorP95",
    "MovedByHand",
    "MovesAgain",
    "NoGrace",
    "NoRetryStorm",
    "NoSecretTold",
    "NobodyFails",
    "Operator",
    "OthersSkip",
    "QuickAnswers",
    "ReadingReaches",
    "ReadingReturns",
    "RefusesClearly",
    "ReplayHeard",
    "RolledBack",
    "SentAgainUnderSameId",
    "ServesAgain",
    "Setup",
    "Silence",
    "StrangersMadeNothing",
    "StrangersRefused",
    "TicksSkip",
    "TimersOnTime",
    "TimersStand",
    "search_for_secrets",
]
