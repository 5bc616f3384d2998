"""PubNub fails the service in every way it can: timers keep their time, and all is heard afterwards."""

import pytest

from harness.experiment import (
    Expectation,
    Experiment,
    HealthNames,
    MonitorP95,
    NobodyFails,
    ReadingReaches,
    SentAgainUnderSameId,
    Silence,
    TimersOnTime,
)
from harness.experiment.expect_publishes import LeftAlone
from harness.faults import Fault
from harness.faults.network import Bandwidth, BlackHole, Down, Flapping, Latency, ResetPeer, Stall
from harness.faults.pubnub import Cut, Malformed, Status
from harness.observe.publish_log import record_attempts

#: A tick never waits for PubNub, and players play on.
UNDISTURBED = (MonitorP95(under_s=5), TimersOnTime(late_s=1), NobodyFails())
#: The service takes note: /health says so, and the breaker opens.
NOTICED = (HealthNames("pubnub"), ReadingReaches("breaker_state", 2))


@pytest.mark.main
def test_refused(experiment: Experiment) -> None:
    """PubNub refuses every connection: games go on in the database, and all is heard once it is back."""
    fault = Down("service-pubnub")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, Silence(), HealthNames("pubnub"))
        experiment.recovered()


def test_black_hole(experiment: Experiment) -> None:
    """PubNub takes every request and answers none: calls to it time out, games go on."""
    fault = BlackHole("service-pubnub")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, Silence(grace_s=2), HealthNames("pubnub"))
        experiment.recovered()


def test_stall(experiment: Experiment) -> None:
    """Connections to PubNub stall, then go on: what comes twice or late then harms no order, games go on."""
    fault = Stall("service-pubnub")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, Silence(grace_s=2), HealthNames("pubnub"))
        experiment.recovered()


@pytest.mark.parametrize(
    ("fault", "felt"),
    [
        pytest.param(ResetPeer("service-pubnub", after="5ms"), NOTICED, id="reset_in_mid_answer"),
        pytest.param(Bandwidth("service-pubnub", kilobytes=1), (), id="trickle"),
        pytest.param(
            Flapping("service-pubnub", down="700ms", up="700ms"), (HealthNames("pubnub"),), id="flapping"
        ),
        pytest.param(Latency("service-pubnub", latency="3s"), (HealthNames("pubnub"),), id="slow_by_3_s"),
        pytest.param(Status("publish", status=500), NOTICED, id="status_500"),
        pytest.param(Status("publish", status=503), NOTICED, id="status_503"),
        pytest.param(Malformed("publish"), NOTICED, id="malformed_answers"),
    ],
)
def test_ill(experiment: Experiment, fault: Fault, felt: tuple[Expectation, ...]) -> None:
    """PubNub is ill in one of its ways: games go on, nothing is lost, order is kept."""
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, *felt)
        experiment.recovered()


def test_status_429_retry_after(experiment: Experiment) -> None:
    """PubNub asks to be left alone for 2 s: it is, and all is heard afterwards."""
    fault = Status("publish", status=429, retry_after="2s")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, LeftAlone(status=429, for_s=2))
        experiment.recovered()
        record_attempts(experiment.system, experiment.history)


def test_answer_lost_after_acceptance(experiment: Experiment) -> None:
    """PubNub accepts events and its answers are lost: they are sent again under the same event id."""
    fault = Cut("publish", stage="after", probability="50%")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, SentAgainUnderSameId())
        experiment.recovered()


def test_players_cut_off(experiment: Experiment) -> None:
    """Every player loses PubNub for a while: each one catches up, and misses nothing."""
    fault = Down("players-pubnub")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, Silence())
        experiment.recovered()


def test_players_stalled(experiment: Experiment) -> None:
    """Every player's connection stalls for a while: each one hears it all afterwards."""
    fault = Stall("players-pubnub")
    with experiment.games(count=12, players=2, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", *UNDISTURBED, Silence())
        experiment.recovered()


def test_outage_longer_than_patience(experiment: Experiment) -> None:
    """An outage long past the breaker's patience: hundreds of events wait in the outbox, in order."""
    fault = Down("service-pubnub")
    with experiment.games(count=40, players=1, needs=[fault]):
        experiment.steady()
        waiting = ReadingReaches("outbox_depth", 100, actor="database")
        experiment.inject(fault, "10s", *UNDISTURBED, *NOTICED, Silence(), waiting, until_due=100)
        experiment.recovered()
