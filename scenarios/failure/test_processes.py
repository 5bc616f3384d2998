"""Processes die, pause and come back: no event is lost, no move is made twice."""

import pytest

from harness.experiment import (
    Expectation,
    Experiment,
    HealthNames,
    NobodyFails,
    RefusesClearly,
    TimersOnTime,
)
from harness.experiment.expect_ticks import InFlightAnswered, SentAgainUnderSameId
from harness.faults import Fault
from harness.faults.database import TableLock
from harness.faults.process import Kill, Pause, Terminate
from harness.faults.pubnub import NoAnswer
from harness.faults.schedule import Entry, Schedule

#: What callers see of a service that is not there.
NO_ANSWER = ("connection refused", "connection reset", "http 503")
FINISHES_ITS_WORK = (InFlightAnswered("process:terminate service-1"), RefusesClearly(NO_ANSWER))


def told_to_end(replica: str) -> Schedule:
    """Return a replica's orderly end while a table is locked: requests are under way as it is told to."""
    return Schedule(
        (
            Entry(0.0, 3.0, TableLock()),
            Entry(1.5, 3.0, Terminate(replica)),
        )
    )


@pytest.mark.parametrize(
    ("fault", "duration", "felt"),
    [
        pytest.param(Kill("service-1"), "3s", RefusesClearly(NO_ANSWER), id="killed"),
        pytest.param(Pause("service-1"), "6s", HealthNames("edgeFunctions", within_s=8), id="paused"),
        pytest.param(Pause("postgres"), "5s", HealthNames("database"), id="database_paused"),
    ],
)
def test_one_replica(experiment: Experiment, fault: Fault, duration: str, felt: Expectation) -> None:
    """The only replica, or its database, is gone for a while: all of its work is taken up again."""
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, duration, felt)
        experiment.recovered()


def test_graceful_stop(experiment: Experiment) -> None:
    """The only replica is told to end: what it has begun is answered, the rest is taken up by the next."""
    schedule = told_to_end("service-1")
    with experiment.games(count=12, players=2, extensions=False, needs=schedule.faults):
        experiment.steady()
        experiment.run_schedule(schedule, *FINISHES_ITS_WORK)
        experiment.recovered()


def test_killed_in_mid_broadcast(experiment: Experiment) -> None:
    """The service dies over messages that PubNub has accepted: they are sent again under the same id."""
    # No answer comes, and the service dies before it would try again by itself.
    schedule = Schedule(
        (
            Entry(0.0, 3.0, NoAnswer("publish", stage="after")),
            Entry(2.8, 2.0, Kill("service-1")),
        )
    )
    with experiment.games(count=12, players=2, extensions=False, needs=schedule.faults):
        experiment.steady()
        experiment.run_schedule(schedule, SentAgainUnderSameId())
        experiment.recovered()


def test_relay_owner_killed_with_others_alive(experiment: Experiment) -> None:
    """One of three replicas is killed: the others publish on, each move is made once and heard."""
    fault = Kill("service-2")
    with experiment.games(count=12, players=2, replicas=3, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s")
        experiment.recovered()


def test_rolling_restart(experiment: Experiment) -> None:
    """Three replicas are restarted in turn: timers keep their time, and what is begun is finished.

    Nobody notices as replicas go that others stand in for. Who calls one address alone is refused while that
    replica is away, and has to try again; but no request is cut off that was under way.
    """
    last = told_to_end("service-1")
    with experiment.games(
        count=12, players=2, replicas=3, own_ticks=True, extensions=False, needs=last.faults
    ):
        experiment.steady()
        for replica in ("service-3", "service-2"):
            experiment.inject(Terminate(replica), "4.5s", NobodyFails(), TimersOnTime(late_s=1))
        experiment.run_schedule(last, *FINISHES_ITS_WORK)
        experiment.recovered()
