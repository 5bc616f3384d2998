"""Processes die, pause and come back: no event is lost, no move is made twice."""

import pytest

from harness.experiment import Experiment
from harness.faults import Fault
from harness.faults.process import Kill, Pause, Terminate


@pytest.mark.parametrize(
    ("fault", "duration"),
    [
        pytest.param(Kill("service-1"), "3s", id="killed"),
        pytest.param(Terminate("service-1"), "3s", id="graceful_stop"),
        pytest.param(Pause("service-1"), "10s", id="paused"),
        pytest.param(Pause("postgres"), "6s", id="database_paused"),
    ],
)
def test_one_replica(experiment: Experiment, fault: Fault, duration: str) -> None:
    """The only replica, or its database, is gone for a while: all of its work is taken up again."""
    with experiment.games(count=12, players=2, service={"ENABLE_GRACE_PERIOD": "false"}):
        experiment.steady("4s")
        experiment.inject(fault, duration)
        experiment.recovered(within="20s")


def test_relay_owner_killed_with_others_alive(experiment: Experiment) -> None:
    """One of three replicas is killed: the others publish on, each move is made once and heard."""
    with experiment.games(
        count=12, players=2, replicas=3, service={"ENABLE_SCHEDULE": "true", "SCHEDULE": "*/1 * * * * *"}
    ):
        experiment.steady("4s")
        experiment.inject(Kill("service-2"), "5s")
        experiment.recovered(within="15s")
