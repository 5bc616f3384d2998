"""Each alert is raised in time under what it is about, told on its channels, resolved once, else silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.experiment import Experiment, RefusesClearly
from harness.faults.network import Down
from harness.faults.ticks import SlowTicks
from harness.faults.unauthorised import WrongSecrets
from scenarios.drawing_game.alerting import Alerting
from scenarios.drawing_game.expect_alerts import AlertsSilent
from scenarios.systems.drawing_game import DrawingGame

RULES = Path(__file__).parents[2] / "service" / "alerts.yml"
#: A tick over its limit is over the rule's threshold. Grace periods would only prolong the recovery.
SETTINGS = {"MONITOR_LIMIT": "1500ms", "ENABLE_GRACE_PERIOD": "false"}
#: The rules are like the real ones, but for their times.
CHANGES = {
    "High Error Rate": {"window": "6s"},
    "Timer Monitoring Timeout": {"window": "5s", "condition": "execution_time > 1500"},
    "PubNub API Failures": {"window": "6s"},
    "Unauthorised Calls": {"window": "6s"},
}


@pytest.fixture(scope="module")
def alerting() -> Iterator[Alerting]:
    """The service's rules over short windows, and stand-ins for Slack, PagerDuty and a mail server."""
    with Alerting(RULES, CHANGES) as alerting:
        yield alerting


def test_pubnub_api_failures(experiment: Experiment, alerting: Alerting) -> None:
    """PubNub is away: its failures are told to Slack, and nothing else is alarming."""
    rule = alerting.rules["PubNub API Failures"]
    with (
        experiment.games(needs=[DrawingGame], service=SETTINGS | alerting.environment),
        alerting.heard(experiment),
    ):
        experiment.steady()
        silent = AlertsSilent(alerting.others(rule.name))
        experiment.inject(Down("service-pubnub"), "4s", *rule.told(), silent)
        experiment.recovered()


def test_high_error_rate(experiment: Experiment, alerting: Alerting) -> None:
    """The database is away, requests fail: told to Slack and by mail."""
    rule = alerting.rules["High Error Rate"]
    with (
        experiment.games(needs=[DrawingGame], service=SETTINGS | alerting.environment),
        alerting.heard(experiment),
    ):
        experiment.steady()
        experiment.inject(Down("service-postgres"), "4s", *rule.told(), RefusesClearly(("http 503",)))
        experiment.recovered()


def test_timer_monitoring_timeout(experiment: Experiment, alerting: Alerting) -> None:
    """Ticks take longer than their limit: told to Slack and PagerDuty."""
    rule = alerting.rules["Timer Monitoring Timeout"]
    with (
        experiment.games(needs=[DrawingGame], service=SETTINGS | alerting.environment),
        alerting.heard(experiment),
    ):
        experiment.steady()
        experiment.inject(SlowTicks(delay="3s"), "5s", *rule.told())
        experiment.recovered()


def test_unauthorised_calls(experiment: Experiment, alerting: Alerting) -> None:
    """Somebody without the right secret calls and calls: told to Slack, and nothing else is alarming."""
    rule = alerting.rules["Unauthorised Calls"]
    with (
        experiment.games(needs=[DrawingGame], service=SETTINGS | alerting.environment),
        alerting.heard(experiment),
    ):
        experiment.steady()
        silent = AlertsSilent(alerting.others(rule.name))
        experiment.inject(WrongSecrets(), "4s", *rule.told(), silent)
        experiment.recovered()
