"""The truth about an item's moves, read from the system's database by statements of the system's file."""

from __future__ import annotations

from dataclasses import dataclass

from harness.system.statements import Statements


@dataclass(frozen=True)
class SqlWitness(Statements):
    """Statements that read a system's own log of moves. A run's items have ids that begin with its prefix.

    Parameters
    ----------
    moves : moves after the row ``$1`` of items with the prefix ``$2``: ``id, item, seq, event_id, from_state,
        to_state, due_at, moved_at, committed_at, trigger_ms``. ``due_at`` is null for a move that no timer
        makes, ``committed_at`` where the commit's time is not kept.
    overdue : items with the prefix ``$1`` whose timer is past due: ``id, state, due_at, looked_at``.
    due_soon : how many items with the prefix ``$1`` fall due in ``$2`` to ``$3`` seconds from now.
    others_overdue : how many items without the prefix ``$1`` have been past due for over a second.
    published : events after the row ``$1`` of items with the prefix ``$2``, with ``$3`` only published ones:
        ``id, item, seq, event_id, created_at, first_attempt_at, published_at, attempts, dead``.
    backlog : ``depth, age_s`` of the events that wait to be published.
    """

    moves: str
    overdue: str
    due_soon: str
    others_overdue: str | None = None
    published: str | None = None
    backlog: str | None = None
