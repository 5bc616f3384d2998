"""PubNub keeps the last 100 messages of a connection: an outage of more costs what is older, and no more."""

from harness.experiment import CatchesUp, Experiment, MonitorP95, NobodyFails, Silence
from harness.faults.network import Down
from scenarios.drawing_game.operator import Operator
from scenarios.systems.drawing_game import DrawingGame


def test_outage_longer_than_memory(experiment: Experiment) -> None:
    """Players are cut off while 150 messages are sent to each: they catch up on the newest 100, in order."""
    # A game's own event must not be among the old ones, which are lost: its phase ends after the flood, while
    # the players are still away.
    with experiment.games(needs=[DrawingGame], count=2, players=2, drawing="7s", voting="3s", alone=True):
        experiment.steady()
        with Operator.of(experiment).flooding(messages=150, ends_in_s=(3.5, 5)):
            experiment.inject(
                Down("players-pubnub"),
                "5500ms",
                CatchesUp(newest=100),
                Silence(),
                MonitorP95(),
                NobodyFails(),
                when_due=False,
            )
        experiment.recovered()
