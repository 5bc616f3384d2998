"""The pool of connections runs out: refused clearly, made up for, nothing lost."""

import pytest

from harness.experiment import Experiment, HealthNames, ReadingReaches, RefusesClearly
from harness.faults.database import TableLock
from scenarios.drawing_game.operator import Operator
from scenarios.systems.drawing_game import DrawingGame


@pytest.mark.main
def test_pool_exhausted(experiment: Experiment) -> None:
    """Statements hang and hold all 20 connections: calls get 503 in time, and no game is lost."""
    with experiment.games(count=12, players=2, extensions=False, needs=[DrawingGame]):
        experiment.steady()
        with Operator.of(experiment).people_looking_on(people=30):
            experiment.inject(
                TableLock(),
                "12s",
                ReadingReaches("pool_in_use", 20),
                RefusesClearly(("http 503",)),
                HealthNames("database"),
            )
        experiment.recovered()
