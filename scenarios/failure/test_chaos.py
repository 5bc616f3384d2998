"""All of it at once: faults of every kind at random times, over each other, drawn from a seed."""

from collections.abc import Callable
from typing import Protocol

from harness.experiment import Experiment
from harness.experiment.shrink import Cut
from harness.faults import FaultTarget
from harness.faults.schedule import Schedule


class Chaos(Protocol):
    """What `--chaos-seed`, `--chaos-seconds` and their like ask for; see conftest.py."""

    def options(self, cut: Cut) -> str: ...

    def draw(self, on: FaultTarget) -> Schedule: ...

    def explained(self, experiment: Experiment, play: Callable[[Experiment, Cut], None]) -> None: ...


def test_chaos(experiment: Experiment, chaos: Chaos) -> None:
    """Whatever breaks at once and in whatever order: once it is over, all recovers and nothing is lost."""

    def play(experiment: Experiment, cut: Cut) -> None:
        experiment.command += f" {chaos.options(cut)}"
        with experiment.games(count=cut.games, players=2, extensions=False) as stack:
            schedule = cut.of(chaos.draw(stack))
            print(schedule)
            experiment.steady()
            experiment.run_schedule(schedule, every=False)
            experiment.recovered()

    chaos.explained(experiment, play)
