"""PubNub denies the service access: refused for good, told of, and made up for once the keys are right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.experiment import Experiment, HealthNames, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.expect_publishes import NoRetryStorm
from harness.faults.pubnub import Status
from harness.observe.publish_log import record_attempts
from scenarios.drawing_game.alerting import Alerting
from scenarios.drawing_game.expect_dead_letters import DeadLetters, ReplayHeard
from scenarios.drawing_game.operator import Operator
from scenarios.systems.drawing_game import DrawingGame

RULES = Path(__file__).parents[2] / "service" / "alerts.yml"


@pytest.fixture(scope="module")
def alerting() -> Iterator[Alerting]:
    """The service's rules, that about PubNub over a short window."""
    with Alerting(RULES, {"PubNub API Failures": {"window": "6s"}}) as alerting:
        yield alerting


def test_403(experiment: Experiment, alerting: Alerting) -> None:
    """Every publish is answered 403: dead letters and an alert, no storm; replayed, everybody hears them."""
    with (
        experiment.games(needs=[DrawingGame], service=alerting.environment, alone=True),
        alerting.heard(experiment),
    ):
        experiment.steady()
        experiment.inject(
            Status("publish", status=403),
            "5s",
            DeadLetters(reason="http 403"),
            NoRetryStorm(per_event=1, per_second=10),
            ReplayHeard(within_s=10),
            *alerting.rules["PubNub API Failures"].told(),
            HealthNames("pubnub"),
            MonitorP95(under_s=5),
            TimersOnTime(late_s=1),
            NobodyFails(),
        )
        Operator.of(experiment).replay_dead_letters()
        experiment.recovered()
        record_attempts(experiment.system, experiment.history)
