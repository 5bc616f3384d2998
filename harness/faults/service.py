"""What is done to the service as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults import Fault, FaultError


@dataclass(frozen=True)
class ServiceFault(Fault):
    """Something done to the service by those who run it, or by those who call it."""

    target: str = "service"

    place: ClassVar[str] = "service"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target != ServiceFault.target:
            raise FaultError(f"{self}: no service {self.target!r}; there is {ServiceFault.target}")
