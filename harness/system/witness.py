"""The truth about an item's moves, read from the system's database by statements of the system's file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self


class WitnessError(ValueError):
    """The statements of a witness are not what they must be; the message names them."""


@dataclass(frozen=True)
class SqlWitness:
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

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read each statement from ``folder/<name>.sql``.

        Raises
        ------
        WitnessError
            One that must be there is missing or can't be read.
        """
        found = {}
        for field in fields(cls):
            path = folder / f"{field.name}.sql"
            try:
                found[field.name] = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                if field.default is None:
                    continue
                raise WitnessError(f"{path} is missing: the statement that tells {field.name}") from None
            except (OSError, UnicodeDecodeError) as error:
                raise WitnessError(f"{path} can't be read: {error}") from error
        return cls(**found)

    def statements(self) -> dict[str, str]:
        """Return name -> statement, of those that are there."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: sql for name, sql in named.items() if sql is not None}
