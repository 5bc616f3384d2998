"""The emergency rollback of the requirements, step by step and timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from harness.faults import Exercised, FaultTarget, MissingPartError
from harness.faults.service import ServiceFault
from harness.faults.steps import timed
from harness.history import HistoryWriter
from scenarios.drawing_game.faults.flags import FlagOff
from scenarios.drawing_game.faults.trigger import TriggerDropped


@dataclass(frozen=True)
class EmergencyRollback(ServiceFault):
    """Roll back as the requirements say: no more ticks, the functions redeployed, the trigger dropped.

    Each step is recorded, from its begin until it has taken effect. Afterwards each is taken back, the
    last one first.

    At its end, all of it is rolled forward again, the last step first.
    """

    name = "emergency-rollback"
    silences = True

    STEPS: ClassVar[tuple[str, ...]] = (
        "1 disable timer monitoring",
        "2 redeploy the functions",
        "3 drop the trigger",
    )

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        monitoring, redeploy, trigger = self.STEPS
        with ExitStack() as steps:
            with timed(history, monitoring):
                steps.enter_context(FlagOff("ENABLE_TIMER_MONITORING").applied(on))
            with timed(history, redeploy):
                steps.enter_context(self._redeployed(on))
            with timed(history, trigger):
                steps.enter_context(TriggerDropped().applied(on))
            # Taken, each has had its effect; whether a game moves meanwhile is up to who moves it.
            yield lambda: None

    @contextmanager
    def _redeployed(self, on: FaultTarget) -> Iterator[None]:
        """Have other processes in the place of the service's, as when another version is deployed."""
        replicas = [name for name in on.parts if name.startswith("service-")]
        if not replicas:
            raise MissingPartError(f"{self}: the target has no process of the service within our reach")
        try:
            self._restart(on, replicas)
            yield
        finally:
            self._restart(on, replicas)

    def _restart(self, on: FaultTarget, replicas: Sequence[str]) -> None:
        for replica in replicas:
            with self.named():
                on.restart(replica)
