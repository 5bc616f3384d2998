"""The truth about an item's moves: where it is read, and how finely. By falling trust:

:class:`SqlWitness`
    the system's own log of moves.
:class:`WatchWitness`
    a table with the states of items, on which the harness puts a watch and takes it away again.
:class:`PollWitness`
    a statement that tells the states of items, asked again and again.
:class:`ApiWitness`
    calls that tell the states of items, asked again and again.

Nothing finer than its resolution is proved by a witness.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from harness.sla.units import parse_duration
from harness.system.lifecycle import Lifecycle
from harness.system.statements import Statements, WitnessError
from harness.target.sql import named_statements

#: How the schemas begin that watches are made of.
WATCH_MARK: Final = "stormwatch_watch_"
_WATCH: Final = named_statements(Path(__file__).parent / "sql" / "watch.sql")
#: A column; a table may have its schema in front.
_COLUMN: Final = re.compile(r"[A-Za-z_]\w*")
_TABLE: Final = re.compile(rf"{_COLUMN.pattern}(\.{_COLUMN.pattern})?")


@dataclass(frozen=True)
class SqlWitness(Statements):
    """Statements that read a system's own log of moves. A run's items have marks that begin with its prefix.

    Parameters
    ----------
    moves : moves after the row ``$1`` of items with the prefix ``$2``: ``id, item, from_state, to_state,
        moved_at``; and, where the log has them, ``seq, event_id``, ``due_at`` (null for a move that no timer
        makes), ``committed_at`` (null where the commit's time is not kept), ``trigger_ms``, ``ends_at``, when
        the timer ends that the move sets (null: it sets none), and ``told``: what messages of the move must
        tell, as a JSON object of the fields that ``read`` has in ``told``.
    overdue : items with the prefix ``$1`` whose timer is past due: ``id, state, due_at, looked_at``.
    due_soon : how many items with the prefix ``$1`` fall due in ``$2`` to ``$3`` seconds from now.
    others_overdue : how many items without the prefix ``$1`` have been past due for over a second.
    published : events after the row ``$1`` of items with the prefix ``$2``, with ``$3`` only published ones:
        ``id, item, seq, event_id, created_at, first_attempt_at, published_at, attempts, dead``.
    backlog : ``depth, age_s`` of the events that wait to be published.
    """

    moves: str
    overdue: str | None = None
    due_soon: str | None = None
    others_overdue: str | None = None
    published: str | None = None
    backlog: str | None = None

    kind: ClassVar[str] = "log"
    needs_database: ClassVar[bool] = True
    resolution_s: ClassVar[float] = 0.0

    @cached_property
    def tells_triggers(self) -> bool:
        """Whether the log has the times of triggers."""
        return self._tells("trigger_ms")

    @cached_property
    def tells_ids(self) -> bool:
        """Whether the log has the ids of events."""
        return self._tells("event_id")

    def _tells(self, column: str) -> bool:
        return re.search(rf"\b{column}\b|\*", re.sub(r"--.*", "", self.moves)) is not None


@dataclass(frozen=True)
class PollWitness:
    """A statement that tells the states of items, asked again and again.

    Parameters
    ----------
    states : items with the prefix ``$1``: ``item, state``; and, where the system keeps them, ``due_at``
        (null: no timer runs) and ``entered_at``, since when it is in its state.
    every : how often it is asked: a duration with its unit.
    by_hand : states that something other than a timer may bring about: a withdrawal, the last answer.
    """

    states: str
    _: KW_ONLY
    every: str = "500ms"
    by_hand: frozenset[str] = frozenset()

    kind: ClassVar[str] = "poll"
    tells_ids: ClassVar[bool] = False
    needs_database: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_every(self.every)

    @property
    def resolution_s(self) -> float:
        """Between two looks, in seconds."""
        return parse_duration(self.every)

    def statements(self) -> dict[str, str]:
        """Return name -> statement."""
        return {"states": self.states}


@dataclass(frozen=True)
class WatchWitness:
    """A table with the states of items, on which the harness puts a watch: a trigger that notes each move.

    It takes consent: ``STORMWATCH_MAY_WATCH`` names the address. Without it, the table is read again and
    again.

    Parameters
    ----------
    table : its name, with its schema if it needs one.
    item, state : its columns with an item's id and state.
    due_at : its column with the time at which the state's timer ends; None: it has none.
    mark : its column with what begins with the run's prefix; None: the id does.
    by_hand : states that something other than a timer may bring about: a withdrawal, the last answer.
    every : how often it is read where it may not be watched.

    Raises
    ------
    WitnessError
        A name is none.
    """

    table: str
    item: str = "id"
    state: str = "state"
    due_at: str | None = None
    mark: str | None = None
    _: KW_ONLY
    by_hand: frozenset[str] = frozenset()
    every: str = "500ms"

    kind: ClassVar[str] = "watch"
    tells_ids: ClassVar[bool] = False
    needs_database: ClassVar[bool] = True
    resolution_s: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        _check_every(self.every)
        if not _TABLE.fullmatch(self.table):
            raise WitnessError(f"table of the watch: {self.table!r} is no name of a table")
        for name in ("item", "state", "due_at", "mark"):
            column = getattr(self, name)
            if column is not None and not _COLUMN.fullmatch(column):
                raise WitnessError(f"{name} of the watch: {column!r} is no name of a column")

    def put(self, lifecycle: Lifecycle, prefix: str) -> Watch:
        """Return the statements of a new watch for the items with a prefix."""
        names = self._names(lifecycle) | {
            "schema": f"{WATCH_MARK}{secrets.token_hex(4)}",
            "prefix": _listed([prefix]),
            "by_hand": _listed(self.by_hand),
            "old_due_at": f"OLD.{_quoted(self.due_at)}" if self.due_at else "NULL",
        }
        asked = ["moves"] + (["overdue", "due_soon", "others_overdue"] if self.due_at else [])
        return Watch(
            put=_WATCH["put"].format(**names),
            take_away=_WATCH["take_away"].format(**names),
            missed=_WATCH["missed"].format(**names),
            witness=SqlWitness(**{name: _WATCH[name].format(**names) for name in asked}),
        )

    def polled(self, lifecycle: Lifecycle) -> PollWitness:
        """Return what reads the table again and again instead."""
        states = _WATCH["states"].format(**self._names(lifecycle))
        return PollWitness(states, every=self.every, by_hand=self.by_hand)

    def _names(self, lifecycle: Lifecycle) -> dict[str, str]:
        return {
            "table": ".".join(map(_quoted, self.table.split("."))),
            "item": _quoted(self.item),
            "state": _quoted(self.state),
            "mark": _quoted(self.mark or self.item),
            "due_at": _quoted(self.due_at) if self.due_at else "NULL::timestamptz",
            "timed": _listed(lifecycle.timed),
        }


@dataclass(frozen=True)
class Watch:
    """The statements of one watch: what puts it on its table, takes it away, and reads it."""

    put: str
    take_away: str
    #: How many moves it could not note.
    missed: str
    witness: SqlWitness


@dataclass(frozen=True)
class ApiWitness:
    """Calls that tell the states of items: the system's ``look(item)``, and what ``seen(body)`` reads of it.

    Parameters
    ----------
    every : how often an item is looked at: a duration with its unit.
    by_hand : states that something other than a timer may bring about: a withdrawal, the last answer.
    """

    _: KW_ONLY
    every: str = "500ms"
    by_hand: frozenset[str] = frozenset()

    kind: ClassVar[str] = "api"
    tells_ids: ClassVar[bool] = False
    needs_database: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_every(self.every)

    @property
    def resolution_s(self) -> float:
        """Between two looks, in seconds."""
        return parse_duration(self.every)


#: Where the truth about moves can be read.
Witness = SqlWitness | WatchWitness | PollWitness | ApiWitness


def entry_of(witness: Witness, *, may_watch: bool) -> dict[str, Any]:
    """Return what ``run.json`` keeps of a witness: its kind, and its resolution in seconds.

    Parameters
    ----------
    may_watch : whether there is consent to a watch.
    """
    if isinstance(witness, WatchWitness) and not may_watch:
        return {"kind": PollWitness.kind, "resolution_s": parse_duration(witness.every)}
    return {"kind": witness.kind, "resolution_s": witness.resolution_s}


def _quoted(name: str) -> str:
    return f'"{name}"'


def _listed(texts: Collection[str]) -> str:
    """Return texts as SQL lists them; where there are none, the empty one: no state is called so."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in sorted(texts)) or "''"


def _check_every(every: str) -> None:
    try:
        seconds = parse_duration(every)
    except ValueError as error:
        raise WitnessError(f"every of the witness: {error}") from error
    if seconds <= 0:
        raise WitnessError(f"every of the witness: {every!r} must be longer than nothing")
