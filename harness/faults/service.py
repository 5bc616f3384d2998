"""What is done to the service as a whole."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from harness.faults import Exercised, Fault, FaultError, FaultTarget
from harness.history import HistoryWriter


@dataclass(frozen=True)
class ServiceFault(Fault):
    """Something done to the service by those who run it, or by those who call it."""

    target: str = "service"

    place: ClassVar[str] = "service"

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return self.observed(on, None)

    @abstractmethod
    def observed(
        self, on: FaultTarget, history: HistoryWriter | None
    ) -> AbstractContextManager[Exercised]: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target != ServiceFault.target:
            raise FaultError(f"{self}: no service {self.target!r}; there is {ServiceFault.target}")
