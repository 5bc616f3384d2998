"""Ticks meet, drag on and die, and thousands of games fall due at once: each game moves exactly once.

Four replicas all tick by themselves in the same second, besides cron. Players call the first.
"""

from harness.experiment import Experiment, MonitorP95, NobodyFails, TimersOnTime
from harness.experiment.expect_ticks import DueTogetherServed, MovesAgain, OthersSkip
from harness.faults.concurrent_ticks import ConcurrentTicks, DueTogether
from harness.faults.ticks import CrashAtTick, KillAtTick, PauseAtTick, SlowTicks


def test_four_in_the_same_second(experiment: Experiment) -> None:
    """Four replicas tick in the same instant: one works, the others skip, no game moves twice."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[ConcurrentTicks]):
        experiment.steady()
        experiment.inject(
            ConcurrentTicks(hold="400ms"),
            "5s",
            OthersSkip(within_s=1),
            TimersOnTime(within_s=3),
            NobodyFails(),
        )
        experiment.recovered()


def test_slower_than_the_interval(experiment: Experiment) -> None:
    """A tick lasts for several intervals: those that come meanwhile skip, games are late and not lost."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[SlowTicks]):
        experiment.steady()
        experiment.inject(
            SlowTicks(delay="1.5s"), "8s", OthersSkip(within_s=1), TimersOnTime(within_s=5), NobodyFails()
        )
        experiment.recovered()


def test_holder_killed_in_mid_tick(experiment: Experiment) -> None:
    """The replica that holds the ticks' lock is killed: the lock is free at once, another one goes on."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[KillAtTick]):
        experiment.steady()
        experiment.inject(KillAtTick("service-3"), "5s", MovesAgain(within_s=3.5), NobodyFails())
        experiment.recovered()


def test_holder_paused_and_continued(experiment: Experiment) -> None:
    """The holder stands still for 15 s: Postgres frees the lock after 10 s; it moves nothing afterwards."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[PauseAtTick]):
        experiment.steady()
        experiment.inject(
            PauseAtTick("service-3"), "15s", MovesAgain(within_s=13), MonitorP95(), NobodyFails()
        )
        experiment.recovered()


def test_database_killed_in_mid_tick(experiment: Experiment) -> None:
    """Postgres is killed under a tick: what the tick did is undone by recovery, and done again once."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[CrashAtTick]):
        experiment.steady()
        experiment.inject(CrashAtTick(), "3s")
        experiment.recovered()


def test_games_due_together(experiment: Experiment) -> None:
    """5,000 games fall due in the same instant while others are played: all move once, nobody is held up."""
    with experiment.games(replicas=4, own_ticks=True, extensions=False, needs=[DueTogether]):
        experiment.steady()
        experiment.inject(
            DueTogether(),
            "6s",
            DueTogetherServed(games=5000, within_s=15),
            TimersOnTime(within_s=3),
            MonitorP95(),
            NobodyFails(),
        )
        experiment.recovered()
