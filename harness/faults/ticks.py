"""Ticks broken on purpose: slow ones, and whoever holds their lock struck down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from harness.faults import Exercised, Fault, FaultTarget
from harness.faults.held_ticks import HeldTicks, TickFault
from harness.faults.network import Down
from harness.faults.parameters import duration
from harness.faults.process import ended, paused, running
from harness.sla.units import parse_duration
from harness.stack.proxies import SERVICE_POSTGRES

#: How long the statement takes that a tick is caught in. It ends meanwhile where its process can't see it.
_HOLD_S: Final = 1.5


@dataclass(frozen=True)
class SlowTicks(TickFault):
    """Ticks take longer, and hold their lock that long; nothing else does.

    At its end, ticks are quick again; one that is being held up ends late.
    """

    name = "slow"

    delay: str = duration("2s", "how much longer each of a tick's statements takes")

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.sessions(on) as sessions, self.held(on, sessions, parse_duration(self.delay)) as held:
            yield held.missing


@dataclass(frozen=True)
class _AtTick(TickFault):
    """Something done in the middle of a tick. Somebody has to make it tick: it is not drawn at random."""

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        return ()


@dataclass(frozen=True)
class _ReplicaAtTick(_AtTick):
    """Something done to one replica in the middle of its tick."""

    target: str = "service-1"

    needs = (*TickFault.needs, "sessions_name_pid")

    def check_target(self) -> None:
        """Take any name: :func:`running` refuses those that no process has."""

    @contextmanager
    def caught(self, on: FaultTarget) -> Iterator[tuple[int, HeldTicks]]:
        """Catch the replica in the middle of a tick, its lock in hand; gives its process id too."""
        pid = running(self, on)
        with self.sessions(on) as sessions, self.held(on, sessions, _HOLD_S, pid) as held:
            held.wait_for_one(pid)
            yield pid, held


@dataclass(frozen=True)
class KillAtTick(_ReplicaAtTick):
    """Kill a replica (SIGKILL) in the middle of its tick, and start it again when the fault ends.

    At its end, the replica is started again.
    """

    name = "kill"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.caught(on), ended(self, on, on.kill) as exercised:
            yield exercised


@dataclass(frozen=True)
class PauseAtTick(_ReplicaAtTick):
    """Stop a replica in its tracks (SIGSTOP) in the middle of its tick, and let it go on afterwards.

    At its end, the replica goes on with what it was at.
    """

    name = "pause"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.caught(on) as (pid, held), paused(self, on) as exercised:
            missed = f"{self.target} had left its tick already" if held.left_by(pid) else None
            yield lambda: missed or exercised()


@dataclass(frozen=True)
class CrashAtTick(_AtTick):
    """Kill the database server (SIGKILL) in the middle of a tick; crash recovery when the fault ends.

    At its end, the server is started again and goes through crash recovery.
    """

    name = "crash"

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        running(self, on)
        with self.sessions(on) as sessions, self.held(on, sessions, _HOLD_S) as held:
            held.wait_for_one()
            with ended(self, on, on.kill) as exercised:
                yield exercised


@dataclass(frozen=True)
class ResetAtCommit(_AtTick):
    """Cut the service off from its database in the middle of a tick's COMMIT, and until the fault ends.

    The server commits, and the answer is lost: whether the items were moved, the service can't know.

    At its end, the service can reach its database again.
    """

    name = "reset-at-commit"
    needs = (*TickFault.needs, "state")

    CUT: ClassVar[Down] = Down(SERVICE_POSTGRES)

    @property
    def occupies(self) -> frozenset[str]:
        return frozenset({self.target, SERVICE_POSTGRES})

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        self.CUT.proxies(on)  # where there is none, no tick need be held up
        with self.sessions(on) as sessions, ExitStack() as cut:
            with self.held(on, sessions, _HOLD_S, at="commits") as held:
                session = held.wait_for_one()
                cut.enter_context(self.CUT.applied(on))
                missed = held.answered(session)
            yield lambda: missed
