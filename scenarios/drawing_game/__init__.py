"""What scenarios of the drawing game share: its operator, its alerts, and what may be expected of both."""

from scenarios.drawing_game.alerting import Alerting, AlertRule
from scenarios.drawing_game.expect_alerts import (
    AlertOnce,
    AlertRaised,
    AlertResolved,
    AlertsSilent,
    AlertsSilentBefore,
)
from scenarios.drawing_game.expect_dead_letters import DeadLetters, LeftAlone, NoRetryStorm, ReplayHeard
from scenarios.drawing_game.expect_rollback import (
    MakesNoEvents,
    MovedByHand,
    NoGrace,
    RolledBack,
    TicksSkip,
    TimersStand,
)
from scenarios.drawing_game.operator import Operator

__all__ = [
    "AlertOnce",
    "AlertRaised",
    "AlertResolved",
    "AlertRule",
    "Alerting",
    "AlertsSilent",
    "AlertsSilentBefore",
    "DeadLetters",
    "LeftAlone",
    "MakesNoEvents",
    "MovedByHand",
    "NoGrace",
    "NoRetryStorm",
    "Operator",
    "ReplayHeard",
    "RolledBack",
    "TicksSkip",
    "TimersStand",
]
