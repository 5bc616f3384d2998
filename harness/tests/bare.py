"""A system of which nothing is within reach but its network and its processes."""

from __future__ import annotations

from typing import Any

from harness.system import Item, Lifecycle, Session, SqlWitness, System, Timed


class Bare(System):
    """Lots that are open until they are sold."""

    name = "bare"
    lifecycle = Lifecycle("open", ("open->sold",), {"open": Timed("2s")}, frozenset({"sold"}))
    witness = SqlWitness(moves="SELECT 1", overdue="SELECT 1", due_soon="SELECT 1")

    def start(self, session: Session, item: Item) -> None: ...

    def channel(self, item: str, player: str) -> str:
        return item

    def read(self, message: Any) -> None: ...
