"""What is turned off or rolled back stands still, the rest goes on, and all of it comes back as promised."""

from harness.experiment import Experiment, MonitorP95, NobodyFails, Silence, TimersOnTime
from harness.experiment.expect_ticks import TimersStand
from scenarios.drawing_game.expect_rollback import (
    MakesNoEvents,
    MovedByHand,
    NoGrace,
    RolledBack,
    TicksSkip,
)
from scenarios.drawing_game.faults.flags import FlagOff
from scenarios.drawing_game.faults.rollback import EmergencyRollback
from scenarios.drawing_game.faults.trigger import TriggerDropped
from scenarios.drawing_game.operator import Operator
from scenarios.systems.drawing_game import DrawingGame

#: Timers keep their time, and players play on.
UNDISTURBED = (MonitorP95(under_s=5), TimersOnTime(late_s=1), NobodyFails())
#: Whoever does not hear of a phase in time may hand in late; the grace period is not to prolong it all.
SHORT_GRACE = {"GRACE_PERIOD": "1s"}


def test_timer_monitoring_off_and_on(experiment: Experiment) -> None:
    """Monitoring is off: ticks skip and no timer moves a game; on again, all that fell due is picked up."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        experiment.steady()
        experiment.inject(
            FlagOff("ENABLE_TIMER_MONITORING"), "5s", TicksSkip(), TimersStand(), MonitorP95(), NobodyFails()
        )
        experiment.recovered()


def test_moved_by_hand_while_monitoring_is_off(experiment: Experiment) -> None:
    """Monitoring is off and an operator moves the games: they go on, by hand alone, and are heard of."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        experiment.steady()
        with Operator.of(experiment).moving_games():
            experiment.inject(
                FlagOff("ENABLE_TIMER_MONITORING"), "6s", MovedByHand(), TimersStand(), NobodyFails()
            )
        experiment.recovered()


def test_broadcasting_off_and_on(experiment: Experiment) -> None:
    """Broadcasting is off: games go on in the database, and all is heard, in order, once it is on again."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        experiment.steady()
        experiment.inject(FlagOff("ENABLE_PUBNUB_BROADCASTING"), "5s", *UNDISTURBED, Silence())
        experiment.recovered()


def test_grace_period_off_and_on(experiment: Experiment) -> None:
    """Grace periods are off: whoever dawdles gets none; before and after, everyone who dawdles gets one."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        operator = Operator.of(experiment)
        with operator.dawdling_games():
            experiment.steady()
            experiment.watch.wait(operator.drawing_s + 2.0)  # until somebody has dawdled
            experiment.inject(FlagOff("ENABLE_GRACE_PERIOD"), "5s", *UNDISTURBED, NoGrace())
        experiment.recovered()


def test_trigger_dropped_and_restored(experiment: Experiment) -> None:
    """The trigger is dropped: games go on without events; put back, events are made and heard again."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        experiment.steady()
        experiment.inject(TriggerDropped(), "5s", *UNDISTURBED, MakesNoEvents(), Silence())
        experiment.recovered()


def test_emergency_rollback(experiment: Experiment) -> None:
    """The whole emergency rollback is done in time: games go on by hand alone; then all is rolled forward."""
    with experiment.games(needs=[DrawingGame], count=12, players=2, service=SHORT_GRACE):
        experiment.steady()
        with Operator.of(experiment).moving_games():
            experiment.inject(
                EmergencyRollback(),
                "5s",
                RolledBack(within_s=300),
                TicksSkip(),
                TimersStand(),
                MovedByHand(),
                MakesNoEvents(),
                Silence(),
            )
        experiment.recovered()
