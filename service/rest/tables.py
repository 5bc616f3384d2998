"""The tables and functions that the API shows, column by column: what is not here can't be named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

#: Postgres types -> Python's.
_TYPES: Final[dict[str, Any]] = {
    "text": str,
    "uuid": UUID,
    "integer": Annotated[int, Field(ge=-(2**31), le=2**31 - 1)],
    "bigint": int,
    "numeric": float,
    "boolean": bool,
    "timestamptz": datetime,
    "jsonb": Any,
}


@dataclass(frozen=True)
class Table:
    """A table: its columns with their Postgres types, and those that callers may write."""

    name: str
    columns: Mapping[str, str]
    insertable: frozenset[str]
    updatable: frozenset[str]

    def model(self, of: str, columns: Iterable[str] | None = None) -> type[BaseModel]:
        """Return the model of a row that has any of ``columns`` (default: all); ``of`` what it is one."""
        return _model(f"{of}_{self.name}", {name: self.columns[name] for name in columns or self.columns}, ())


@dataclass(frozen=True)
class Function:
    """A function: its parameters with their types, those that are required, and what it returns."""

    name: str
    parameters: Mapping[str, str]
    required: frozenset[str]
    #: ``row``, ``rows`` or ``void``.
    returns: str
    #: The parameter that is given the request's id.
    request_id: str | None = None

    def model(self) -> type[BaseModel]:
        """Return the model of its parameters."""
        return _model(self.name, self.parameters, self.required)


def _model(name: str, fields: Mapping[str, str], required: Iterable[str]) -> type[BaseModel]:
    described: dict[str, Any] = {
        field: (_TYPES[kind], ...) if field in required else (_TYPES[kind] | None, None)
        for field, kind in fields.items()
    }
    return create_model(name, __config__=ConfigDict(extra="forbid"), **described)


_SETTINGS: Final = (
    "prompt",
    "max_players",
    "briefing_duration_s",
    "drawing_duration_s",
    "voting_duration_s",
    "status",
    "phase_expires_at",
)

GAMES: Final = Table(
    "games",
    {
        "id": "text",
        "status": "text",
        "prompt": "text",
        "max_players": "integer",
        "briefing_duration_s": "numeric",
        "drawing_duration_s": "numeric",
        "voting_duration_s": "numeric",
        "phase_started_at": "timestamptz",
        "phase_expires_at": "timestamptz",
        "grace_used": "boolean",
        "grace_until": "timestamptz",
        "due_at": "timestamptz",
        "previous_status": "text",
        "event_seq": "bigint",
        "last_event_id": "uuid",
        "transitioned_at": "timestamptz",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    },
    insertable=frozenset({"id", *_SETTINGS}),
    updatable=frozenset(_SETTINGS),
)
PARTICIPANTS: Final = Table(
    "game_participants",
    {"game_id": "text", "user_id": "text", "joined_at": "timestamptz"},
    insertable=frozenset({"game_id", "user_id"}),
    updatable=frozenset(),
)
SUBMISSIONS: Final = Table(
    "submissions",
    {"id": "uuid", "game_id": "text", "user_id": "text", "content": "jsonb", "submitted_at": "timestamptz"},
    insertable=frozenset({"id", "game_id", "user_id", "content"}),
    updatable=frozenset({"content"}),
)
TABLES: Final = (GAMES, PARTICIPANTS, SUBMISSIONS)

FUNCTIONS: Final = (
    Function(
        "transition_game_status",
        {"p_game_id": "text", "p_new_status": "text", "p_expected_status": "text"},
        frozenset({"p_game_id", "p_new_status"}),
        "row",
        request_id="p_request_id",
    ),
    Function("find_expired_games", {"p_limit": "integer"}, frozenset(), "rows"),
    Function("setup_test_data", {}, frozenset(), "void"),
)
