"""The database runs out, slows down or goes away: refused clearly, made up for, nothing lost."""

import pytest

from harness.experiment import (
    Expectation,
    Experiment,
    HealthNames,
    MonitorP95,
    OthersSkip,
    RefusesClearly,
    TimersOnTime,
)
from harness.experiment.expect_ticks import TimersStand
from harness.faults import Fault
from harness.faults.database import (
    AdvisoryLock,
    Connections,
    Crash,
    IdleInTransaction,
    Restart,
    RowLocks,
    SlowStatements,
    TerminateBackends,
)
from harness.faults.network import BlackHole, Down, Latency, Stall
from harness.faults.ticks import ResetAtCommit


def test_server_connections_exhausted(experiment: Experiment) -> None:
    """Outsiders hold all of the server's connections: calls get 503, and all is well once they are gone."""
    fault = Connections()
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", RefusesClearly(("http 503",)), HealthNames("database"))
        experiment.recovered()


@pytest.mark.parametrize(
    ("fault", "duration"),
    [
        pytest.param(Down("service-postgres"), "10s", id="refused_for_10_s"),
        pytest.param(BlackHole("service-postgres"), "12s", id="silent_for_12_s"),
        pytest.param(Stall("service-postgres"), "12s", id="stalled_for_12_s"),
        pytest.param(Crash(), "5s", id="killed_with_crash_recovery"),
        pytest.param(ResetAtCommit(), "4s", id="reset_during_commit"),
    ],
)
def test_away(experiment: Experiment, fault: Fault, duration: str) -> None:
    """The database is gone for a while: refused with 503, back by itself, everything exactly once."""
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, duration, RefusesClearly(("http 503",)), HealthNames("database"))
        experiment.recovered()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Restart(), id="restarted"),
        pytest.param(TerminateBackends(), id="backends_terminated"),
    ],
)
def test_connections_lost(experiment: Experiment, fault: Fault) -> None:
    """All connections end in order, and new ones can be had: at most a few calls get 503, nothing is lost."""
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "4s")
        experiment.recovered()


@pytest.mark.parametrize(
    ("fault", "duration", "felt"),
    [
        pytest.param(
            Latency("service-postgres", latency="500ms"),
            "6s",
            (MonitorP95(under_s=10),),
            id="latency_500_ms",
        ),
        pytest.param(
            Latency("service-postgres", latency="2s"), "5s", (HealthNames("database"),), id="latency_2_s"
        ),
        pytest.param(RowLocks(), "8s", (MonitorP95(),), id="row_locks_for_8_s"),
        pytest.param(
            SlowStatements(delay="500ms"), "5s", (MonitorP95(), TimersOnTime(late_s=2.5)), id="slow_trigger"
        ),
        pytest.param(AdvisoryLock(), "5s", (OthersSkip(within_s=2), TimersStand()), id="advisory_lock_stuck"),
    ],
)
def test_held_up(experiment: Experiment, fault: Fault, duration: str, felt: tuple[Expectation, ...]) -> None:
    """The database is slow, or somebody sits on what is needed: late, but nothing is lost or doubled."""
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, duration, *felt)
        experiment.recovered()


def test_idle_in_transaction(experiment: Experiment) -> None:
    """Sessions idle in a transaction hold snapshots, not games: timers keep their time."""
    fault = IdleInTransaction()
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", TimersOnTime(late_s=1))
        experiment.recovered()
