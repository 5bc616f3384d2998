"""The service's PubNub token is revoked in mid-game: refused for good, and made up for with a new one."""

from pathlib import Path

from harness.experiment import Experiment, HealthNames, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.expect_publishes import NoRetryStorm
from harness.observe.publish_log import record_attempts
from scenarios.drawing_game.access_manager import AccessManager, TokenRevoked
from scenarios.drawing_game.expect_dead_letters import DeadLetters, ReplayHeard
from scenarios.drawing_game.operator import Operator
from scenarios.systems.drawing_game import DrawingGame


def test_token_revoked(experiment: Experiment, tmp_path: Path) -> None:
    """A token revoked for 5 s makes dead letters and no storm; with a new one, replayed, everybody hears."""
    access = AccessManager(tmp_path / "token")
    with experiment.games(needs=[DrawingGame], service=access.environment, alone=True):
        access.turn_on(experiment.stack.target)
        experiment.steady()
        experiment.inject(
            TokenRevoked("service", access=access),
            "5s",
            DeadLetters(reason="http 403"),
            NoRetryStorm(per_event=1, per_second=10),
            ReplayHeard(within_s=10),
            HealthNames("pubnub"),
            MonitorP95(under_s=5),
            TimersOnTime(late_s=1),
            NobodyFails(),
        )
        Operator.of(experiment).replay_dead_letters()
        experiment.recovered()
        record_attempts(experiment.system, experiment.history)
