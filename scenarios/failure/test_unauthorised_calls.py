"""Whoever lacks the right secret is kept out, under load too, and nobody is told a secret."""

from harness.experiment import (
    Experiment,
    HealthyThroughout,
    MonitorP95,
    NobodyFails,
    NoSecretTold,
    TimersOnTime,
    UnauthorisedCallsMadeNothing,
    UnauthorisedCallsRefused,
    search_for_secrets,
)
from harness.faults.unauthorised import WrongSecrets


def test_wrong_and_missing_secrets(experiment: Experiment) -> None:
    """Unauthorised calls to every function and table: all are refused, nothing changes, players play on.

    The service lets few of such calls through a second, so it takes a while until each was tried.
    """
    fault = WrongSecrets(callers=4, every="20ms")
    with experiment.games(count=12, players=2, extensions=False, needs=[fault]):
        experiment.steady()
        experiment.inject(
            fault,
            "6s",
            UnauthorisedCallsRefused(at_least=100),
            UnauthorisedCallsMadeNothing(),
            NoSecretTold(),
            NobodyFails(),
            MonitorP95(under_s=5),
            TimersOnTime(late_s=1),
            HealthyThroughout(),
        )
        experiment.recovered()
        search_for_secrets(experiment.run, experiment.stack.target, experiment.history)
