"""Ticks meet, drag on and die, and thousands of games fall due at once: each game moves exactly once.

Four replicas all tick by themselves in the same second, besides cron. Players call the first.
"""

from harness.experiment import Experiment, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.expect_ticks import DueTogetherServed, MovesAgain, OthersSkip
from harness.faults.concurrent_ticks import ConcurrentTicks, DueTogether
from harness.faults.ticks import CrashAtTick, KillAtTick, PauseAtTick, SlowTicks


def test_four_in_the_same_second(experiment: Experiment) -> None:
    """Four replicas tick in the same instant: one works, the others skip, no game moves twice."""
    fault = ConcurrentTicks(hold="400ms")
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(
            fault,
            "5s",
            OthersSkip(within_s=1),
            TimersOnTime(late_s=2.5),
            NobodyFails(),
        )
        experiment.recovered()


def test_slower_than_the_interval(experiment: Experiment) -> None:
    """A tick lasts for several intervals: those that come meanwhile skip, games are late and not lost."""
    fault = SlowTicks(delay="1.5s")
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "8s", OthersSkip(within_s=1), TimersOnTime(late_s=4.5), NobodyFails())
        experiment.recovered()


def test_holder_killed_in_mid_tick(experiment: Experiment) -> None:
    """The replica that holds the ticks' lock is killed: the lock is free at once, another one goes on."""
    fault = KillAtTick("service-3")
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "5s", MovesAgain(within_s=3.5), NobodyFails())
        experiment.recovered()


def test_holder_paused_and_continued(experiment: Experiment) -> None:
    """The holder stands still for 15 s: Postgres frees the lock after 10 s; it moves nothing afterwards."""
    fault = PauseAtTick("service-3")
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "15s", MovesAgain(within_s=13), MonitorP95(), NobodyFails())
        experiment.recovered()


def test_database_killed_in_mid_tick(experiment: Experiment) -> None:
    """Postgres is killed under a tick: what the tick did is undone by recovery, and done again once."""
    fault = CrashAtTick()
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(fault, "3s")
        experiment.recovered()


def test_games_due_together(experiment: Experiment) -> None:
    """5,000 games fall due in the same instant while others are played: all move once, nobody is held up."""
    fault = DueTogether()
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(
            fault,
            "6s",
            DueTogetherServed(games=5000, within_s=15),
            TimersOnTime(late_s=2.5),
            MonitorP95(),
            NobodyFails(),
        )
        experiment.recovered()
