"""How the processes of a system are started on a local stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

from harness.target import Target

#: What a local stack has for processes that need it.
Part = Literal["postgres", "pubnub"]


@dataclass(frozen=True)
class Local:
    """What a replica is told on a local stack.

    Parameters
    ----------
    port : where it is to listen, on 127.0.0.1.
    target : its keys, its own address, and PubNub and Postgres as it is to reach them: through their proxies.
    """

    port: int
    target: Target


@dataclass(frozen=True)
class Program:
    """How one process is run.

    Parameters
    ----------
    command : program and arguments.
    environment : variables, secrets included; of the starter's own it sees few (``PATH``, ``HOME`` ...).
    ready : path on ``Local.port`` that answers, whatever it answers, once it serves. None: it does not
        listen, and is ready once it runs.
    name : what the part of the stack is called, before its number.
    folder : where it is run. None: in the folder of the system's file.
    way_out : what to do when it does not start.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: str | None = None
    name: str = "service"
    folder: Path | None = None
    way_out: str = "see its log"


@runtime_checkable
class HasProcesses(Protocol):
    """Its processes can be started here: it runs on a local stack."""

    def processes(self, local: Local) -> Sequence[Program]:
        """Return the processes of one replica, the one that listens on ``local.port`` first."""


@runtime_checkable
class HasDefects(Protocol):
    """Defective versions of it are known, which the harness must catch: `stormwatch validate` tries them."""

    #: Python package with a module for each: see :mod:`harness.validate.catalogue`.
    defects: ClassVar[str]


__all__ = ["HasDefects", "HasProcesses", "Local", "Part", "Program"]
