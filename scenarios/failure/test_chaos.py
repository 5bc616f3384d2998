"""All of it at once: faults of every kind at random times, over each other, drawn from a seed."""

from typing import Protocol

from harness.experiment import Experiment
from harness.faults import FaultTarget
from harness.faults.schedule import Schedule


class Chaos(Protocol):
    """What `--chaos-seed` and `--chaos-seconds` ask for; see conftest.py."""

    options: str

    def draw(self, on: FaultTarget) -> Schedule: ...


def test_chaos(experiment: Experiment, chaos: Chaos) -> None:
    """Whatever breaks at once and in whatever order: once it is over, all recovers and nothing is lost."""
    experiment.command += f" {chaos.options}"
    with experiment.games(count=12, players=2, extensions=False) as stack:
        schedule = chaos.draw(stack)
        print(schedule)
        experiment.steady()
        experiment.run_schedule(schedule, every=False)
        experiment.recovered()
