"""The first failure scenario of `mine`: copy it, and break something else (`stormwatch fault --list`)."""

import pytest

from harness.experiment import Experiment
from harness.faults.network import Latency


@pytest.mark.main
def test_slow_network(experiment: Experiment) -> None:
    """Calls take half a second longer: rounds move on time, and all is heard once it is over."""
    with experiment.games(count=6, players=2):
        experiment.steady()
        experiment.inject(Latency("load-service", latency="500ms"), "4s")
        experiment.recovered()
